//! `ip_hash`: an address to an instance, the same answer in every process, version and CPU (golden vectors in the tests).
//!
//! Frozen, as a change would move every client at an upgrade:
//!
//! - identity: `XXH3-64(seed, length of upstream in 8 bytes, little endian + upstream + instance)`
//! - draw of a client at an instance: `XXH3-64(seed, identity in 8 bytes, little endian + address in 16 bytes)`, an IPv4
//!   address in its IPv4-mapped form
//! - cost: `-log2(draw / 2^64) / weight`, in whole numbers (`log2.rs`); the lowest wins, the lower identity on a tie
//!
//! The cost of each instance is an exponential variable of the rate `weight` that depends on nothing but client and
//! instance. The least of several falls on each with probability `weight / sum of weights`, and taking one away, adding one, or
//! changing its weight cannot change the order of the others.
//!
//! Must not: know availability (callers leave out what may not be used), use floating point.

mod log2;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ClientKey;

/// "stickyd1"
pub(super) const SEED: u64 = u64::from_be_bytes(*b"stickyd1");

/// An instance's identity (upstream and instance name) as the hash sees it; computed once per generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceHash(pub u64);

impl InstanceHash {
    /// Of an identity.
    pub fn of(upstream: &str, instance: &str) -> Self {
        let mut identity = Vec::with_capacity(8 + upstream.len() + instance.len());
        identity.extend_from_slice(&(upstream.len() as u64).to_le_bytes());
        identity.extend_from_slice(upstream.as_bytes());
        identity.extend_from_slice(instance.as_bytes());
        Self(xxh3_64_with_seed(&identity, SEED))
    }
}

/// What is mapped to an instance: an address here, a value in `value_hash.rs`.
pub trait Lot: Copy {
    /// Its lot at this instance, evenly spread over all numbers.
    fn draw(self, instance: InstanceHash) -> u64;
}

impl Lot for ClientKey {
    fn draw(self, instance: InstanceHash) -> u64 {
        let mut lot = [0; 24];
        lot[..8].copy_from_slice(&instance.0.to_le_bytes());
        lot[8..].copy_from_slice(&match self.0 {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        });
        xxh3_64_with_seed(&lot, SEED)
    }
}

/// Weighted rendezvous hashing: the index of the candidate with the best score for this key. A change of the set
/// moves only that instance's share. Integer arithmetic only. A weight of 0 is never chosen.
/// Candidates that may not be used are left out by the caller (index = position in the whole list).
pub fn rendezvous(
    key: impl Lot,
    candidates: impl Iterator<Item = (usize, InstanceHash, u32)>,
) -> Option<usize> {
    let mut best: Option<(Score, usize)> = None;
    for (index, hash, weight) in candidates.filter(|(_, _, weight)| *weight > 0) {
        let score = Score { cost: log2::negative_log2(key.draw(hash)), weight, hash };
        if best.as_ref().is_none_or(|(other, _)| score.beats(other)) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

struct Score {
    /// Before it is divided by `weight`.
    cost: u64,
    weight: u32,
    hash: InstanceHash,
}

impl Score {
    /// Compares the quotients without dividing, so that nothing is rounded and the order is total.
    fn beats(&self, other: &Self) -> bool {
        let ours = u128::from(self.cost) * u128::from(other.weight);
        let theirs = u128::from(other.cost) * u128::from(self.weight);
        (ours, self.hash.0) < (theirs, other.hash.0)
    }
}

/// nginx's `ip_hash` (`ngx_http_upstream_ip_hash_module.c`): `weights` are those of all instances in the file's order;
/// `usable` says who may be chosen. After 20 failed tries nginx falls back to round robin: `None`, and the caller's
/// `balance` decides.
///
/// Of an IPv4 address nginx sees the first three octets only, of an IPv6 address all 16. An IPv4-mapped address counts as IPv4,
/// as it does in an nginx that listens on both families with two sockets, its default.
pub fn nginx(
    client: IpAddr,
    weights: &(impl Iterator<Item = u32> + Clone),
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if total == 0 {
        return None;
    }
    let (v4, v6);
    let octets: &[u8] = match client.to_canonical() {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4[..3]
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    let mut hash = 89;
    for _first_and_retries in 0..=20 {
        // Not reset: each try goes on from the last one's hash.
        hash = octets.iter().fold(hash, |hash, octet| (hash * 113 + u64::from(*octet)) % 6271);
        let mut rest = hash % total;
        let chosen = weights.clone().map(u64::from).position(|weight| {
            let here = rest < weight;
            rest = rest.saturating_sub(weight);
            here
        });
        if let Some(index) = chosen.filter(|index| usable(*index)) {
            return Some(index);
        }
    }
    None
}
