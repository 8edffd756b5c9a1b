//! Key and availability to an instance, with the reason why.
//!
//! Must not: know why an instance is not usable, change a counter.

mod balance;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::affinity::ClientKey;
use crate::affinity::ip_hash::{self, InstanceHash};
use crate::config::model::{Balance, IpHash, StickyKey};

/// One instance as placement sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its identity for rendezvous hashing.
    pub hash: InstanceHash,
    /// 1 to 1000
    pub weight: u32,
    /// May be given this exchange now (not yet tried in vain, later: up, not draining, not full).
    pub usable: bool,
    /// Tunnels and exchanges that it carries.
    pub load: u64,
}

/// What is known of the client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The instance that a valid cookie of the client names (index), if it still exists.
    pub bound: Option<usize>,
}

/// Where the client goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index of the instance.
    pub instance: usize,
    /// What decided.
    pub by: By,
}

/// What decided: the values of `stickyd_sticky_decisions_total{by}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The cookie's binding.
    Cookie,
    /// The address.
    IpHash,
    /// `balance`: no key placed the client.
    Balance,
}

impl By {
    /// The metric label and the access log's `sticky_key`.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Cookie => "cookie",
            By::IpHash => "ip_hash",
            By::Balance => "balance",
        }
    }
}

/// The policy of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'c> {
    /// `sticky.by`
    pub by: &'c [StickyKey],
    /// `sticky.ip_hash`
    pub ip_hash: IpHash,
    /// `balance`
    pub balance: Balance,
}

/// Places a client: the keys in their order, then `balance`. A bound instance that is not usable is passed over.
/// `random` is a fresh random number; `turn` counts up by one with every call that ends in `balance` (round robin, weighted).
/// `None`: no candidate is usable. Allocates nothing.
pub fn pick(
    policy: Policy<'_>,
    client: Client,
    candidates: &[Candidate],
    random: u64,
    turn: u64,
) -> Option<Choice> {
    for key in policy.by {
        let (instance, by) = match key {
            StickyKey::Cookie => (bound(client, candidates), By::Cookie),
            StickyKey::Sid | StickyKey::Header(_) | StickyKey::Query(_) => continue,
            StickyKey::IpHash => (hashed(policy.ip_hash, client.address, candidates), By::IpHash),
        };
        if let Some(instance) = instance {
            return Some(Choice { instance, by });
        }
    }
    let instance = balance::choose(policy.balance, candidates, random, turn)?;
    Some(Choice { instance, by: By::Balance })
}

fn bound(client: Client, candidates: &[Candidate]) -> Option<usize> {
    client.bound.filter(|index| candidates.get(*index).is_some_and(|candidate| candidate.usable))
}

fn hashed(algorithm: IpHash, address: IpAddr, candidates: &[Candidate]) -> Option<usize> {
    match algorithm {
        IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, .. } => ip_hash::rendezvous(
            ClientKey::of(address, ipv4_prefix, ipv6_prefix),
            usable(candidates).map(|(index, candidate)| (index, candidate.hash, candidate.weight.max(1))),
        ),
        IpHash::Nginx => {
            let weights = candidates.iter().map(|candidate| candidate.weight.max(1));
            ip_hash::nginx(address, &weights, |index| candidates[index].usable)
        }
    }
}

fn usable(candidates: &[Candidate]) -> impl Iterator<Item = (usize, &Candidate)> + Clone {
    candidates.iter().enumerate().filter(|(_, candidate)| candidate.usable)
}
