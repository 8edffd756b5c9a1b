//! Who the client is, and over which scheme it came, when proxies stand in front. Pure: addresses and header values in, an
//! address out.
//!
//! Only one header is believed, and only from a trusted peer. Its elements are read from the right, as each proxy adds
//! its word at the end: the right-most was written by our peer and names the peer's peer, and so on. While the
//! address so named is a trusted proxy too, its word, the next element to the left, is believed as well. So
//!
//! - the client is the right-most address that is not trusted;
//! - the left-most when all are trusted: the chain began inside;
//! - the last good one when an element does not name an address (`unknown`, `_hidden`, garbage): whoever wrote it is the nearest
//!   that is known; what stands to the left of it is not looked at;
//! - the peer when there is nothing to believe.
//!
//! Empty list elements do not count (RFC 9110 section 5.6.1.2). At most the last 64 elements are looked at, one scan each.
//!
//! Must not: resolve names, know sockets, write headers.

mod elements;
mod forwarded;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::model::ClientIpHeader;

/// Elements of the believed header that are looked at, from the right. Real chains have fewer than ten.
pub const HOPS_MAX: usize = 64;

/// The other end of the client's connection, or what the PROXY protocol said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Ip(IpAddr),
    /// The far end of a unix socket. It is trusted without being listed: it can only be a process of this machine
    /// that the socket's permissions let in. It has no address; where none is named the loopback address stands for it.
    Unix,
}

/// What was found out about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The client's address; never IPv4-mapped.
    pub address: IpAddr,
    /// Whether the peer's headers may be believed, and be passed on with our word added rather than replaced.
    pub peer_trusted: bool,
    /// How many elements of the header were believed: `address` is the one so far from the right; 0: it is the peer's.
    pub hops: usize,
}

/// How a client reached the proxy that it spoke to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http` or `ws`
    Http,
    /// `https` or `wss`
    Https,
}

/// The client's address. `values` are those of the `header` fields of the request, in their order; `trusted` are
/// `trusted_proxies` (an IPv4 network there covers IPv4-mapped peers; a mapped network covers nothing).
pub fn resolve<'v>(
    peer: Peer,
    header: ClientIpHeader,
    values: impl DoubleEndedIterator<Item = &'v [u8]>,
    trusted: &[IpNet],
) -> Resolved {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let (address, peer_trusted) = match peer {
        Peer::Ip(address) => (address.to_canonical(), is_trusted(address.to_canonical())),
        Peer::Unix => (Ipv4Addr::LOCALHOST.into(), true),
    };
    let mut resolved = Resolved { address, peer_trusted, hops: 0 };
    if !peer_trusted {
        return resolved;
    }
    elements::from_the_right(header, values, |element| {
        let named = match header {
            ClientIpHeader::XForwardedFor => address_of(element),
            ClientIpHeader::Forwarded => forwarded::client(element),
        };
        let Some(address) = named else { return false };
        resolved.address = address.to_canonical();
        resolved.hops += 1;
        is_trusted(resolved.address)
    });
    resolved
}

/// How the client came, by the word of the proxy that named it; `None`: nobody who is believed says, so what the listener
/// itself knows decides. `values` are those of the `X-Forwarded-Proto` fields when `header` is `X-Forwarded-For`, those of the
/// `Forwarded` fields when it is `Forwarded`.
///
/// A proxy either adds its word to `X-Forwarded-Proto`, so that elements pair with those of `X-Forwarded-For` from the
/// right, or replaces the value, so that there are fewer. So of as many elements as were believed for the address (with no address
/// named: the one of the peer) the left-most that says anything counts: it was said nearest to the client.
pub fn scheme<'v>(
    resolved: &Resolved,
    header: ClientIpHeader,
    values: impl DoubleEndedIterator<Item = &'v [u8]>,
) -> Option<Scheme> {
    if !resolved.peer_trusted {
        return None;
    }
    let mut scheme = None;
    let mut left = resolved.hops.max(1);
    elements::from_the_right(header, values, |element| {
        let said = match header {
            ClientIpHeader::XForwardedFor => scheme_of(element),
            ClientIpHeader::Forwarded => forwarded::scheme(element),
        };
        scheme = said.or(scheme);
        left -= 1;
        left > 0
    });
    scheme
}

fn scheme_of(word: &[u8]) -> Option<Scheme> {
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    // Some proxies write ws and wss for an upgrade.
    if is("https") || is("wss") {
        Some(Scheme::Https)
    } else if is("http") || is("ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`: what proxies write.
fn address_of(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node).ok()?;
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Some(bare) = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    node.parse::<SocketAddr>().ok().map(|socket| socket.ip())
}
