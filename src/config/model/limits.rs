//! `[limits]`, as the program runs on it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Learned Engine.IO sessions that are remembered, 1000 to 100 000 000.
    pub sids: usize,
    /// Client connections at a time; `None` = from the open-file limit.
    pub max_connections: Option<usize>,
    /// Bytes of a request's or answer's head.
    pub header: usize,
    /// Header fields in a head; 1 to 256.
    pub headers: usize,
    /// Bytes of a request body; `None` = no limit.
    pub body: Option<u64>,
    /// Connections of one address at a time, 1 to 1 000 000; `None` = no limit.
    pub connections_per_ip: Option<u32>,
    /// Tunnels of one address at a time, 1 to 1 000 000; `None` = no limit.
    pub tunnels_per_ip: Option<u32>,
    /// Upgrades and session starts of one address; `None` = no limit.
    pub upgrades_per_ip: Option<RateLimit>,
    /// Whom the limits by address and `deny` do not concern.
    pub exempt: Vec<IpNet>,
    /// Who is not served.
    pub deny: Vec<IpNet>,
    /// The limits by address, `deny`, `origins` and `message` hold; `false`: they are counted and logged only.
    pub enforce: bool,
    /// Payload bytes on the wire of one WebSocket message over its fragments; `None` = no limit.
    pub message: Option<u64>,
    /// Origins that may open sessions, lower-case, without the port that their scheme implies; empty = any.
    pub origins: Vec<String>,
    /// By what addresses are told apart: the shortest prefixes of all `sticky.ip_hash`.
    pub prefixes: Prefixes,
}

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// 1 to 1 000 000 000.
    pub events: u64,
    /// One second, minute or hour.
    pub per: Duration,
    /// How many may come at once, at least 1; as written, or `events`.
    pub burst: u64,
}

/// Leading bits by which addresses are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// 0 to 32
    pub ipv4: u8,
    /// 0 to 128
    pub ipv6: u8,
}

impl Limits {
    /// Something of each address is counted.
    pub fn counts(&self) -> bool {
        self.connections_per_ip.is_some() || self.tunnels_per_ip.is_some() || self.upgrades_per_ip.is_some()
    }

    /// It matters whether a request begins a session.
    pub fn looks_at_starts(&self) -> bool {
        self.upgrades_per_ip.is_some() || !self.origins.is_empty()
    }

    /// Nothing concerns this address, which is not IPv4-mapped.
    pub fn exempts(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(&address))
    }

    /// This address, which is not IPv4-mapped, is not served.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.deny.iter().any(|net| net.contains(&address)) && !self.exempts(address)
    }

    /// The values of a request's `Origin` fields are those of a page that may open sessions. Who says none is no page: browsers
    /// send it with every upgrade, and with what they read across origins.
    pub fn welcomes<'v>(&self, mut origins: impl Iterator<Item = &'v [u8]>) -> bool {
        let known =
            |origin: &[u8]| self.origins.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(origin));
        self.origins.is_empty() || origins.next().is_none_or(known) && origins.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn limits(text: &str) -> Limits {
        let text = format!("listen = \":80\"\n[upstream.a]\ninstances = [\"a:1\"]\n[limits]\n{text}\n");
        config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config.limits
    }

    #[test]
    fn who_is_served() {
        let limits = limits("deny = [\"10.0.0.0/8\", \"2001:db8::/32\"]\nexempt = [\"10.1.0.0/16\"]");
        let check = |address: &str, expected| {
            assert_eq!(limits.denies(address.parse().unwrap()), expected, "{address}");
        };
        check("10.0.0.1", true);
        check("10.1.0.1", false);
        check("192.0.2.1", false);
        check("2001:db8::1", true);
        check("::1", false);
    }

    #[test]
    fn whose_pages_may_open_sessions() {
        let limits = limits("origins = [\"https://App.example.com:443\", \"http://b.example:8080\"]");
        let check = |origins: &[&str], expected| {
            assert_eq!(
                limits.welcomes(origins.iter().map(|origin| origin.as_bytes())),
                expected,
                "{origins:?}"
            );
        };
        check(&[], true);
        check(&["https://app.example.com"], true);
        check(&["HTTPS://app.Example.com"], true);
        check(&["http://b.example:8080"], true);
        check(&["http://app.example.com"], false);
        check(&["https://app.example.com:444"], false);
        check(&["http://b.example"], false);
        check(&["https://app.example.com.evil.example"], false);
        check(&["null"], false);
        check(&[""], false);
        check(&["https://app.example.com", "https://app.example.com"], false);
        check(&["https://app.example.com", "https://evil.example"], false);
        let any = Limits { origins: vec![], ..limits.clone() };
        assert!(any.welcomes([&b"null"[..]].into_iter()));
    }
}
