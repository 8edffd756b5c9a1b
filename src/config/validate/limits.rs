//! `[limits]`.

use super::super::model::{IpHash, Limits, Prefixes, RateLimit, Upstream};
use super::super::raw::Wrong;
use super::super::raw::{Rate, Table, Value, auto_or, choice, count, list, off_or, rate, size, text};
use super::address;

const TIB: u64 = 1 << 40;

pub(super) fn read(top: &mut Table<'_>) -> Limits {
    let mut table = top.table("limits");
    let limits = Limits {
        sids: table.get("sids", 1_000_000, count::<usize>(1000..=100_000_000)),
        max_connections: table.get("max_connections", None, auto_or(count::<usize>(1..=100_000_000))),
        header: table.get("header", 32 << 10, |value| usize::try_from(size(1 << 10..=64 << 10)(value)?).ok()),
        headers: table.get("headers", 128, count::<usize>(1..=256)),
        body: table.get("body", Some(10 << 20), body()),
        connections_per_ip: table.get("connections_per_ip", None, off_or(count::<u32>(1..=1_000_000))),
        tunnels_per_ip: table.get("tunnels_per_ip", None, off_or(count::<u32>(1..=1_000_000))),
        upgrades_per_ip: table
            .get("upgrades_per_ip", None, off_or(text(|text| rate(text, true))))
            .map(|Rate { events, per, burst }| RateLimit { events, per, burst: burst.unwrap_or(events) }),
        exempt: table.get("exempt", vec![], list(text(address::network))),
        deny: table.get("deny", vec![], list(text(address::network))),
        enforce: table.get("mode", true, choice(&[("enforce", true), ("observe", false)])),
        message: table.get("message", None, off_or(size(1..=TIB))),
        origins: table.get("origins", vec![], list(text(origin))),
        prefixes: Prefixes { ipv4: 32, ipv6: 64 },
    };
    table.finish();
    limits
}

/// By what addresses are told apart. They are counted once for all upstreams, so where these differ, as the one does that tells
/// the fewest apart; nginx's mapping is not meant for that.
pub(super) fn prefixes<'u>(upstreams: impl Iterator<Item = &'u Upstream>) -> Prefixes {
    let of = |upstream: &Upstream| match upstream.sticky.ip_hash {
        IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, .. } => {
            Prefixes { ipv4: ipv4_prefix, ipv6: ipv6_prefix }
        }
        IpHash::Nginx => Prefixes { ipv4: 32, ipv6: 64 },
    };
    let shorter = |a: Prefixes, b: Prefixes| Prefixes { ipv4: a.ipv4.min(b.ipv4), ipv6: a.ipv6.min(b.ipv6) };
    upstreams.map(of).reduce(shorter).unwrap_or(Prefixes { ipv4: 32, ipv6: 64 })
}

/// Largest request body, of `[limits]` and of a route.
pub(super) fn body<'d>() -> impl Fn(&Value<'d>) -> Option<Option<u64>> {
    off_or(size(1..=TIB))
}

/// An origin (RFC 6454): scheme, host, port.
fn origin(text: &str) -> Result<String, Wrong> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let write = if text == "*" {
            "leave the list empty: [] means any".to_owned()
        } else {
            format!("write \"https://{text}\"")
        };
        return Err(Wrong::new("must hold origins", write));
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err(Wrong::new(
            "must hold origins without a path",
            format!("write \"{scheme}://{}\"", &rest[..at]),
        ));
    }
    let good = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '*' | '@' | ',' | ';');
    if rest.is_empty() || !rest.chars().all(good) || !scheme.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Wrong::new("must hold origins", "write for example \"https://app.example.com\""));
    }
    let origin = text.to_ascii_lowercase();
    // As browsers write it.
    let implied = [("http://", ":80"), ("https://", ":443"), ("ws://", ":80"), ("wss://", ":443")];
    let port = implied.iter().find(|(scheme, _)| origin.starts_with(scheme)).map(|(_, port)| *port);
    Ok(port.and_then(|port| origin.strip_suffix(port)).unwrap_or(&origin).to_owned())
}
