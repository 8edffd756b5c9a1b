//! The limits by address, `deny` and `origins`: who is let in.
//!
//! A connection of a peer that is not trusted is its client's, so it is counted when it is accepted. One of a trusted proxy is
//! shared by many clients: there each exchange is counted, and each tunnel, as soon as a header names the client.
//! A request of a trusted proxy that names nobody is the proxy's own, and is not counted.
//!
//! Must not: decide what else a client hears of it (`respond` does), touch what is open.

use std::net::IpAddr;
use std::time::Duration;

use super::Context;
use super::respond::{Failure, Wait};
use crate::affinity::ClientKey;
use crate::codec::request::RequestHead;
use crate::config::model::{Config, Limits, RateLimit};
use crate::limits::{Place, Rate, Wanted};
use crate::local::clock;
use crate::observe::events;
use crate::observe::logging::Occasionally;
use crate::observe::metrics::{Limit, ListenerCounters, Refused};

/// What a client hears whose connection is one too many: cheap, and the connection is gone at once.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What a client hears that is not served.
const DENIED: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Each limit is logged once a minute, with the address that met it then.
static SAID: [Occasionally; 6] = [const { Occasionally::new(Duration::from_mins(1)) }; 6];

/// The peer's word on its client is believed: it is one of `trusted_proxies`, or (`None`) at the far end of a unix socket.
pub fn trusts(config: &Config, peer: Option<IpAddr>) -> bool {
    peer.is_none_or(|peer| config.trusted_proxies.iter().any(|net| net.contains(&peer.to_canonical())))
}

/// A connection of a client at `address`, which is not a trusted proxy's: its place, if connections are counted.
///
/// # Errors
/// The client is not let in; the last words to it.
pub fn connection(
    ctx: &Context,
    counters: &ListenerCounters,
    address: IpAddr,
) -> Result<Option<Place>, &'static [u8]> {
    let generation = ctx.generation();
    let limits = &generation.config.limits;
    let address = address.to_canonical();
    if limits.denies(address) && hit(limits, counters, Limit::Deny, address) {
        counters.refused(Refused::Denied);
        return Err(DENIED);
    }
    let Some(most) = limits.connections_per_ip.filter(|_| !limits.exempts(address)) else { return Ok(None) };
    let (place, taken) = ctx.addresses.take(key(limits, address), Wanted { connection: true, tunnel: false });
    if taken.connections > most && hit(limits, counters, Limit::ConnectionsPerIp, address) {
        counters.refused(Refused::PerIp);
        return Err(TOO_MANY);
    }
    Ok(Some(place))
}

/// A request's client, and what it wants.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Asks {
    /// The client's address.
    pub(super) client: IpAddr,
    /// It is known: the peer's, or named by it.
    pub(super) is_known: bool,
    /// The connection is counted where it was accepted, if at all.
    pub(super) is_counted: bool,
    /// A handshake that may become a tunnel.
    pub(super) upgrades: bool,
    /// A session begins.
    pub(super) starts: bool,
}

/// A request: its place until the exchange ends, or the tunnel that it becomes, if anything of it is counted.
///
/// # Errors
/// It is not let in. It is counted among the limits here, among the refused when it is answered.
pub(super) fn exchange(
    ctx: &Context,
    counters: &ListenerCounters,
    limits: &Limits,
    head: &RequestHead<'_, '_>,
    asks: Asks,
) -> Result<Option<Place>, Failure> {
    let address = asks.client;
    if limits.denies(address) && hit(limits, counters, Limit::Deny, address) {
        return Err(Failure::Denied);
    }
    let opens = asks.upgrades || asks.starts;
    if opens && !limits.welcomes(origins(head)) && hit(limits, counters, Limit::Origins, address) {
        return Err(Failure::ForeignOrigin);
    }
    if !asks.is_known || !limits.counts() || limits.exempts(address) {
        return Ok(None);
    }
    let key = key(limits, address);
    if let Some(RateLimit { events, per, burst }) = limits.upgrades_per_ip.filter(|_| opens)
        && let Err(wait) = ctx.addresses.pass(key, Rate::new(events, per, burst), clock::now().since_boot())
        && hit(limits, counters, Limit::UpgradesPerIp, address)
    {
        return Err(Failure::TooFast(Wait::of(wait)));
    }
    let wanted = Wanted {
        connection: limits.connections_per_ip.is_some() && !asks.is_counted,
        tunnel: limits.tunnels_per_ip.is_some() && asks.upgrades,
    };
    if wanted == Wanted::default() {
        return Ok(None);
    }
    let (place, taken) = ctx.addresses.take(key, wanted);
    let beyond =
        |wanted: bool, taken: u32, most: Option<u32>| wanted && most.is_some_and(|most| taken > most);
    if beyond(wanted.connection, taken.connections, limits.connections_per_ip)
        && hit(limits, counters, Limit::ConnectionsPerIp, address)
    {
        return Err(Failure::TooManyConnections);
    }
    if beyond(wanted.tunnel, taken.tunnels, limits.tunnels_per_ip)
        && hit(limits, counters, Limit::TunnelsPerIp, address)
    {
        return Err(Failure::TooManyTunnels);
    }
    Ok(Some(place))
}

/// A message in a tunnel of the client at `address` is too large.
pub(super) fn message(limits: &Limits, counters: &ListenerCounters, address: IpAddr) {
    hit(limits, counters, Limit::Message, address);
}

fn origins<'h>(head: &RequestHead<'h, '_>) -> impl Iterator<Item = &'h [u8]> {
    head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("origin")).map(|header| header.value)
}

fn key(limits: &Limits, address: IpAddr) -> ClientKey {
    ClientKey::of(address, limits.prefixes.ipv4, limits.prefixes.ipv6)
}

/// A limit was met: counts it and says so. `true`: it holds.
fn hit(limits: &Limits, counters: &ListenerCounters, limit: Limit, address: IpAddr) -> bool {
    counters.limit_hit(limit);
    let (said, refuses) = match limit {
        Limit::ConnectionsPerIp => (&SAID[0], "limits.connections_per_ip: connections are turned away"),
        Limit::TunnelsPerIp => (&SAID[1], "limits.tunnels_per_ip: tunnels are turned away"),
        Limit::UpgradesPerIp => (&SAID[2], "limits.upgrades_per_ip: session starts are turned away"),
        Limit::Deny => (&SAID[3], "limits.deny: clients are turned away"),
        Limit::Origins => (&SAID[4], "limits.origins: session starts are turned away"),
        _ => (&SAID[5], "limits.message: tunnels are closed"),
    };
    if let Some(more) = said.pass(clock::instant()) {
        let (limit, client, mode) =
            (limit.as_str(), address, if limits.enforce { "enforce" } else { "observe" });
        if limits.enforce {
            tracing::warn!(target: events::LIMIT, limit, %client, mode, more, "{refuses}");
        } else {
            tracing::warn!(target: events::LIMIT, limit, %client, mode, more, "limits.{limit} was met, and is only observed");
        }
    }
    limits.enforce
}
