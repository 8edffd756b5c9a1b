//! What binds a client to an instance. Pure: no socket, no clock; time and randomness are arguments.

pub mod cookie;
pub mod ip_hash;

use std::net::IpAddr;

/// The part of a client's address by which clients are told apart: IPv4-mapped IPv6 is IPv4, the bits behind the
/// prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub(crate) IpAddr);

impl ClientKey {
    /// The key of `address` under the prefixes of `sticky.ip_hash` (0 to 32, 0 to 128).
    pub fn of(_address: IpAddr, _ipv4_prefix: u8, _ipv6_prefix: u8) -> Self {
        todo!()
    }
}
