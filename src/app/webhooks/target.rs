//! Where webhooks may go: addresses of the internet, and no others, unless somebody allows it.
//!
//! A URL is what somebody gave; what counts is the address that its name resolves to when it is called. Pure. Must not: resolve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

/// Where a webhook goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// With TLS.
    pub is_https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// As it stands in the URL: the field `Host`.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is none.
    NoUrl,
    /// It is not of HTTP.
    Scheme,
    /// It has a user or password, which would be shown.
    User,
    /// It has a fragment, which no request has.
    Fragment,
    /// It is too long.
    Long,
    /// It goes to an address that is not of the internet.
    Private,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoUrl => "this is no URL",
            Self::Scheme => "a webhook is called by https:// or http://",
            Self::User => "a URL with a user or a password: the signature says who calls",
            Self::Fragment => "a URL with a fragment (#)",
            Self::Long => "the URL is too long",
            Self::Private => "this address is not of the internet (--allow-private-webhooks)",
        })
    }
}

impl Target {
    /// Reads a URL. What it resolves to is not known yet; an address that stands in it is checked.
    ///
    /// # Errors
    /// It is refused.
    pub fn parse(url: &str, allow_private: bool) -> Result<Self, Refusal> {
        if url.len() > URL_BYTES_MAX {
            return Err(Refusal::Long);
        }
        if url.contains('#') {
            return Err(Refusal::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_| Refusal::NoUrl)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(Refusal::Scheme),
            None => return Err(Refusal::NoUrl),
        };
        let authority = uri.authority().ok_or(Refusal::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(Refusal::User);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().ends_with(':') {
            return Err(Refusal::NoUrl);
        }
        if let Ok(address) = host.parse::<IpAddr>()
            && !allow_private
            && !is_of_the_internet(address)
        {
            return Err(Refusal::Private);
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_https, host, port, authority: authority.to_string(), path })
    }
}

/// IPv4 that is not of the internet: IANA's registry of special-purpose addresses.
const SPECIAL_4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),           // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // behind a carrier's NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, where clouds keep credentials
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocols
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays of 6to4
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

/// IPv6 within `2000::/3` that is not of the internet. Nothing outside of it is: not `::1`, nor `fe80::`, `fc00::`, `ff00::`, nor
/// what has an IPv4 address in it (`::ffff:0:0/96`, `64:ff9b::/96`).
const SPECIAL_6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols; Teredo, which has an IPv4 address in it
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which has an IPv4 address in it
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether an address is one that anybody on the internet could call, too.
pub fn is_of_the_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let within =
                |&(net, bits): &(Ipv4Addr, u8)| (address.to_bits() ^ net.to_bits()) >> (32 - bits) == 0;
            !SPECIAL_4.iter().any(within)
        }
        IpAddr::V6(address) => {
            let within =
                |&(net, bits): &(Ipv6Addr, u8)| (address.to_bits() ^ net.to_bits()) >> (128 - bits) == 0;
            within(&(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)) && !SPECIAL_6.iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_called() {
        let check = |addresses: &[&str], expected: bool| {
            for address in addresses {
                assert_eq!(is_of_the_internet(address.parse().unwrap()), expected, "{address}");
            }
        };
        check(
            &["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"],
            true,
        );
        check(
            &["128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.1", "223.255.255.255"],
            true,
        );
        check(
            &["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1"],
            false,
        );
        check(
            &["169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.0.0.8", "192.0.2.1"],
            false,
        );
        check(&["192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"], false);
        check(&["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"], false);
        check(&["2606:4700::1111", "2001:200::1", "2a00::1", "3ffe::1"], true);
        check(&["::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:1.1.1.1"], false);
        check(
            &[
                "64:ff9b::7f00:1",
                "64:ff9b::101:101",
                "64:ff9b:1::1",
                "100::1",
                "2002:7f00:1::",
                "2002:a00:1::1",
            ],
            false,
        );
        check(&["2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:db8::1", "3fff:fff::1", "5f00::1"], false);
        check(
            &["fc00::1", "fd00::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ffff::1", "4000::1"],
            false,
        );
    }

    #[test]
    fn a_url_says_where_to() {
        let check = |url: &str, expected: (bool, &str, u16, &str)| {
            let target = Target::parse(url, false).unwrap();
            assert_eq!((target.is_https, &*target.host, target.port, &*target.path), expected, "{url}");
        };
        check("https://example.com/hook?a=b", (true, "example.com", 443, "/hook?a=b"));
        check("http://example.com", (false, "example.com", 80, "/"));
        check("https://example.com:8443/", (true, "example.com", 8443, "/"));
        check("https://1.1.1.1/x", (true, "1.1.1.1", 443, "/x"));
        check("https://[2606:4700::1111]:444/x", (true, "2606:4700::1111", 444, "/x"));
        // What the resolver makes of these is looked at when it has.
        check("http://127.1/", (false, "127.1", 80, "/"));
        check("http://0x7f000001/", (false, "0x7f000001", 80, "/"));
        check("http://localhost/", (false, "localhost", 80, "/"));
    }

    #[test]
    fn a_url_that_cannot_be_called_is_refused() {
        let check =
            |url: &str, expected: Refusal| assert_eq!(Target::parse(url, false), Err(expected), "{url}");
        check("", Refusal::NoUrl);
        check("/hook", Refusal::NoUrl);
        check("example.com", Refusal::NoUrl);
        check("https://", Refusal::NoUrl);
        check("https://example.com:/", Refusal::NoUrl);
        check("https://exa mple.com/", Refusal::NoUrl);
        check("ftp://example.com/", Refusal::Scheme);
        check("file:///etc/passwd", Refusal::NoUrl);
        check("https://user@example.com/", Refusal::User);
        check("https://user:password@example.com/", Refusal::User);
        check("https://example.com/#x", Refusal::Fragment);
        check(&format!("https://example.com/{}", "x".repeat(3000)), Refusal::Long);
        for private in
            ["127.0.0.1", "10.0.0.1:80", "[::1]", "[::ffff:7f00:1]", "[fe80::1]:8080", "169.254.169.254"]
        {
            check(&format!("http://{private}/"), Refusal::Private);
            assert!(Target::parse(&format!("http://{private}/"), true).is_ok(), "{private}");
        }
    }
}
