//! The values of `[limits]`.

use super::super::super::model::{Limits, RateLimit};
use super::{Keys, bytes, list, or_off, quoted};

pub(super) fn keys(limits: &Limits) -> Keys {
    let Limits {
        sids,
        max_connections,
        header,
        headers,
        body,
        connections_per_ip,
        tunnels_per_ip,
        upgrades_per_ip,
        exempt,
        deny,
        enforce,
        message,
        origins,
        // What upstreams say.
        prefixes: _,
    } = limits;
    let rate = |RateLimit { events, per, burst }: RateLimit| {
        let unit = match per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        let burst = if burst == events { String::new() } else { format!(" burst {burst}") };
        quoted(&format!("{events}/{unit}{burst}"))
    };
    vec![
        ("limits.sids", sids.to_string()),
        ("limits.max_connections", max_connections.map_or_else(|| quoted("auto"), |limit| limit.to_string())),
        ("limits.header", bytes(*header as u64)),
        ("limits.headers", headers.to_string()),
        ("limits.body", or_off(body.map(bytes))),
        ("limits.connections_per_ip", or_off(connections_per_ip.map(|limit| limit.to_string()))),
        ("limits.tunnels_per_ip", or_off(tunnels_per_ip.map(|limit| limit.to_string()))),
        ("limits.upgrades_per_ip", or_off(upgrades_per_ip.map(rate))),
        ("limits.exempt", list(exempt)),
        ("limits.deny", list(deny)),
        ("limits.mode", quoted(if *enforce { "enforce" } else { "observe" })),
        ("limits.message", or_off(message.map(bytes))),
        ("limits.origins", list(origins)),
    ]
}
