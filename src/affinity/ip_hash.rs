//! `ip_hash`: an address to an instance, the same answer in every process, version and CPU (golden vectors in the tests).

use super::ClientKey;

/// An instance's identity (upstream and instance name) as the hash sees it; computed once per generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceHash(pub u64);

impl InstanceHash {
    /// Of an identity.
    pub fn of(_upstream: &str, _instance: &str) -> Self {
        todo!()
    }
}

/// Weighted rendezvous hashing: the index of the candidate with the best score for this client. A change of the set
/// moves only that instance's share. Integer or plain IEEE arithmetic only (no `ln` of the platform's libm).
/// Candidates that may not be used are left out by the caller (index = position in the whole list).
pub fn rendezvous(
    _client: ClientKey,
    _candidates: impl Iterator<Item = (usize, InstanceHash, u32)>,
) -> Option<usize> {
    todo!()
}

/// nginx's `ip_hash` (`ngx_http_upstream_ip_hash_module.c`): `weights` are those of all instances in the file's order;
/// `usable` says who may be chosen. After 20 tries nginx falls back to round robin: `None`, and the caller's `balance` decides.
pub fn nginx(_client: std::net::IpAddr, _weights: &[u32], _usable: impl Fn(usize) -> bool) -> Option<usize> {
    todo!()
}
