//! The header of the PROXY protocol with which a connection to an instance begins
//! (haproxy.org/download/2.9/doc/proxy-protocol.txt). Pure: addresses in, bytes out.
//!
//! Such a connection is one client's. So it is never kept for another request, which may be another client's: each exchange
//! connects anew. To keep one for each client would save a connect to few, and cost every instance a socket for each client.

use std::net::{IpAddr, SocketAddr};

use crate::config::model::SendProxyProtocol;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and the command: the proxy speaks for itself, or for a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The header of a connection for a client at `source`, which had connected to `target`; `None`: for the proxy itself, or nobody
/// knows to what. Empty when there is to be none.
pub fn header(version: SendProxyProtocol, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let client = client.map(|(source, target)| one_family(source, target));
    match version {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => text(client),
        SendProxyProtocol::V2 => binary(client),
    }
}

fn text(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, target)) = client else { return b"PROXY UNKNOWN\r\n".into() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), target.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), target.port()).into_bytes()
}

fn binary(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, target)) = client else { return [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat() };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (family, len) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    [
        &SIGNATURE[..],
        &[PROXY, family, 0, len],
        &octets(source.ip()),
        &octets(target.ip()),
        &source.port().to_be_bytes(),
        &target.port().to_be_bytes(),
    ]
    .concat()
}

/// Both of one family, as there is only one word for it: IPv4 unless one of them is IPv6.
fn one_family(source: SocketAddr, target: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (source, target) = (plain(source), plain(target));
    if source.is_ipv4() == target.is_ipv4() { (source, target) } else { (mapped(source), mapped(target)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, target: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), target.parse().unwrap())
    }

    #[test]
    fn lines() {
        let check = |client, expected: &str| {
            let line = header(SendProxyProtocol::V1, client);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        };
        check(None, "PROXY UNKNOWN\r\n");
        check(Some(pair("192.0.2.1:5", "198.51.100.1:443")), "PROXY TCP4 192.0.2.1 198.51.100.1 5 443\r\n");
        check(Some(pair("[2001:db8::1]:5", "[::1]:443")), "PROXY TCP6 2001:db8::1 ::1 5 443\r\n");
        // A dual-stack socket.
        check(
            Some(pair("[::ffff:192.0.2.1]:5", "[::ffff:10.0.0.1]:80")),
            "PROXY TCP4 192.0.2.1 10.0.0.1 5 80\r\n",
        );
        // A header named another kind of address than that of our socket.
        check(
            Some(pair("[2001:db8::1]:0", "10.0.0.1:80")),
            "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 0 80\r\n",
        );
        check(Some(pair("192.0.2.1:0", "[::1]:80")), "PROXY TCP6 ::ffff:192.0.2.1 ::1 0 80\r\n");
    }

    #[test]
    fn binary_headers() {
        let check = |client, expected: &[u8]| {
            assert_eq!(header(SendProxyProtocol::V2, client), [&SIGNATURE[..], expected].concat());
        };
        check(None, &[0x20, 0, 0, 0]);
        check(
            Some(pair("192.0.2.1:258", "198.51.100.1:443")),
            &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 1, 2, 1, 187],
        );
        let v6 = header(SendProxyProtocol::V2, Some(pair("[2001:db8::1]:258", "[::1]:443")));
        assert_eq!((&v6[12..20], v6.len()), (&[0x21, 0x21, 0, 36, 0x20, 1, 0x0d, 0xb8][..], 52));
        assert_eq!(v6[48..], [1, 2, 1, 187]);
        assert!(header(SendProxyProtocol::Off, None).is_empty());
    }
}
