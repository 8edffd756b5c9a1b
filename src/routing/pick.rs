//! Key and availability to an instance, with the reason why.

use std::net::IpAddr;

use crate::affinity::ip_hash::InstanceHash;
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
/// `None`: no candidate is usable.
pub fn pick(
    _policy: Policy<'_>,
    _client: Client,
    _candidates: &[Candidate],
    _random: u64,
    _turn: u64,
) -> Option<Choice> {
    todo!()
}
