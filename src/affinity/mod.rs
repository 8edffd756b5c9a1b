//! What binds a client to an instance. Pure: no socket, no clock; time and randomness are arguments
//! (the one exception is [`cookie::Keys::generate`], which makes a secret).

pub mod cookie;
pub mod engine_io;
pub mod ip_hash;
pub mod rest;
pub mod sid;
pub mod value_hash;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of a client's address by which clients are told apart: IPv4-mapped IPv6 is IPv4, the bits behind the
/// prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub(crate) IpAddr);

impl ClientKey {
    /// The address, its bits behind the prefix zero.
    pub fn address(self) -> IpAddr {
        self.0
    }

    /// The key of `address` under the prefixes of `sticky.ip_hash` (0 to 32, 0 to 128; more counts as all bits).
    pub fn of(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => {
                let behind = 32_u32.saturating_sub(ipv4_prefix.into());
                let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let behind = 128_u32.saturating_sub(ipv6_prefix.into());
                let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        })
    }
}
