//! What an exchange must remember of its request: everything is decided while the head lies in the buffer, then the
//! buffer is given back.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::connection::Arrival;
use super::guard::{self, Asks};
use super::headers::{self, Origin};
use super::placing::{self, Placing};
use super::respond::Failure;
use super::upgrade::Handshake;
use super::{Context, Entrance};
use crate::codec::body::Framing;
use crate::codec::request::{self as head, BadRequest, RequestHead};
use crate::codec::{HeadLimits, Parsed, Version, header_slots};
use crate::config::model::{ClientIpHeader, Config};
use crate::generation::Generation;
use crate::limits::Place;
use crate::listener::client_address::{self, Peer, Scheme};
use crate::local::clock::{self, Moment};
use crate::local::random;
use crate::observe::metrics::Kind;
use crate::routing::route;
use crate::upstream::{Instance, Upstream};

/// A request that has a route.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Request {
    pub(super) began: Moment,
    pub(super) upstream: Arc<Upstream>,
    pub(super) version: Version,
    /// HEAD: the answer has no body.
    pub(super) to_head: bool,
    /// The client wants to keep the connection.
    pub(super) keep_alive: bool,
    pub(super) framing: Framing,
    /// The client waits for 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// What the generation allows of a head, the answer's too: bytes and fields, in less room than [`HeadLimits`] takes.
    limits: (u32, u16),
    /// Bytes that the body may have; `None` = any number.
    pub(super) body_limit: Option<NonZeroU64>,
    /// May be sent once more, on another connection, when a reused one ended before any byte of the answer: idempotent,
    /// without body, and no Engine.IO session's (a poll is a destructive read).
    pub(super) retryable: bool,
    pub(super) kind: Kind,
    /// An upgrade that may become a tunnel.
    pub(super) handshake: Option<Box<Handshake>>,
    /// The head as the instance gets it.
    pub(super) head: Vec<u8>,
    pub(super) client: IpAddr,
    /// The port of its address; 0 when only a header names the client.
    pub(super) client_port: u16,
    pub(super) https: bool,
    /// What it says of where the client belongs.
    pub(super) placing: Placing,
    /// What only the access log wants; `None`: it is off.
    pub(super) notes: Option<Box<Notes>>,
    /// What it takes of its address's share, where that is counted; then the tunnel that it becomes.
    pub(super) place: Option<Place>,
}

impl Request {
    /// What the generation allows of a head, the answer's too.
    pub(super) fn limits(&self) -> HeadLimits {
        HeadLimits { bytes: self.limits.0 as usize, headers: self.limits.1.into() }
    }
}

/// A limit of heads; their ranges are 64 KiB and 256 fields.
fn narrow<T: TryFrom<usize>>(limit: usize) -> T {
    T::try_from(limit).unwrap_or_else(|_| unreachable!("{limit} is out of its range"))
}

/// What only the access log wants to know of a request.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) method: Box<str>,
    pub(super) host: Box<str>,
    pub(super) target: Box<str>,
    pub(super) request_id: Box<[u8]>,
    pub(super) referer: Option<Box<[u8]>>,
    pub(super) user_agent: Option<Box<[u8]>>,
    pub(super) sid_hash: Option<u64>,
    /// The instance that it has left for another one.
    pub(super) left: Option<Arc<Instance>>,
}

/// What a head turned out to be.
#[derive(Debug)]
pub(super) enum Intake {
    /// To be forwarded.
    Request(Box<Request>),
    /// `health_path`: the proxy's own answer.
    Health { keep_alive: bool, to_head: bool },
    /// To be asked over https.
    ToHttps(Box<ToHttps>),
    /// Not to be served.
    Refused {
        failure: Failure,
        to_head: bool,
        keep_alive: bool,
        notes: Option<Box<Notes>>,
        upstream: Option<Arc<Upstream>>,
    },
}

/// A request in the clear where https is wanted. In a box, because an exchange has room for what is usual.
#[derive(Debug)]
pub(super) struct ToHttps {
    /// The same place there.
    pub(super) location: String,
    pub(super) keep_alive: bool,
    pub(super) to_head: bool,
    pub(super) notes: Option<Box<Notes>>,
}

impl Intake {
    /// A head that could not be read: nothing is known of it, and nothing behind it can be trusted.
    pub(super) fn unreadable(failure: Failure) -> Self {
        Intake::Refused { failure, to_head: false, keep_alive: false, notes: None, upstream: None }
    }
}

/// Takes in the head at the start of `unread`; also tells how many bytes it took. `None`: it is not complete.
pub(super) fn take_in(
    ctx: &Context,
    arrival: &Arrival,
    generation: &Generation,
    unread: &[u8],
) -> Option<(Intake, usize)> {
    let config = &generation.config;
    let mut slots = header_slots();
    let (head, len) = match head::parse(unread, &mut slots, head_limits(config)) {
        Ok(Parsed::Partial) => return None,
        Ok(Parsed::Complete { head, len }) => (head, len),
        Err(bad) => return Some((Intake::unreadable(Failure::BadRequest(bad)), 0)),
    };
    if config.health_path.as_deref() == Some(head.path()) && matches!(head.method, "GET" | "HEAD") {
        let keep_alive = keeps_alive(&head);
        return Some((Intake::Health { keep_alive, to_head: head.method == "HEAD" }, len));
    }
    if arrival.entrance == Entrance::Redirected
        && !head.path().starts_with(ACME)
        // Who ends TLS in front of us has done so here.
        && !origin(arrival, config, &head).0.https
    {
        return Some((to_https(ctx, &head), len));
    }
    Some((accept(ctx, arrival, generation, &head), len))
}

/// Whoever signs certificates asks here for what proves that a name is ours (RFC 8555 section 8.3), and always in the clear.
const ACME: &str = "/.well-known/acme-challenge/";

fn to_https(ctx: &Context, head: &RequestHead<'_, '_>) -> Intake {
    let request_id = request_id(head);
    let notes = ctx.access_log.is_on().then(|| Box::new(notes(head, &request_id)));
    if head.host.is_empty() {
        return refuse(head, Failure::BadRequest(BadRequest::MissingHost), None, notes);
    }
    // The port of the clear is not that of https.
    let host = match head.host.rfind(':') {
        Some(at) if !head.host[at..].contains(']') => &head.host[..at],
        _ => head.host,
    };
    let target = if head.target.starts_with('/') { head.target } else { "/" };
    let location = format!("https://{host}{target}");
    let (keep_alive, to_head) = (keeps_alive(head), head.method == "HEAD");
    Intake::ToHttps(Box::new(ToHttps { location, keep_alive, to_head, notes }))
}

/// The limits of a head.
pub(super) fn head_limits(config: &Config) -> HeadLimits {
    HeadLimits { bytes: config.limits.header, headers: config.limits.headers }
}

fn accept(ctx: &Context, arrival: &Arrival, generation: &Generation, head: &RequestHead<'_, '_>) -> Intake {
    let config = &generation.config;
    let request_id = request_id(head);
    let mut notes = ctx.access_log.is_on().then(|| Box::new(notes(head, &request_id)));
    let Some(route) = route::find(&config.routes, head.host, head.path()).map(|index| &config.routes[index])
    else {
        return refuse(head, Failure::NoRoute, None, notes);
    };
    let upstream = &generation.upstreams[route.upstream];
    if matches!((head.framing, route.body), (Framing::Length(length), Some(limit)) if length > limit) {
        return refuse(head, Failure::BodyTooLarge, Some(upstream), notes);
    }
    let began = clock::now();
    let handshake = Handshake::of(head, &config.upgrade_protocols).map(Box::new);
    let (origin, is_known) = origin(arrival, config, head);
    let asks = Asks {
        client: origin.client,
        is_known,
        is_counted: arrival.place.is_some() || !origin.peer_trusted,
        upgrades: handshake.is_some(),
        starts: handshake.is_none()
            && config.limits.looks_at_starts()
            && placing::starts_by_polling(upstream, head),
    };
    // Before anything that costs more.
    let counters = &arrival.door.counters[ctx.worker];
    let place = match guard::exchange(ctx, counters, &config.limits, head, asks) {
        Ok(place) => place,
        Err(failure) => return refuse(head, failure, Some(upstream), notes),
    };
    let placing = Placing::of(ctx, upstream, head, handshake.is_some(), notes.as_deref_mut());
    let origin = Origin {
        request_id: &request_id,
        // A sid must be read from the answer before it is passed on.
        identity: placing.is_learned(upstream),
        cookie: upstream.keys.is_some().then_some(upstream.config.sticky.cookie.name.as_str()),
        ..origin
    };
    let mut out = Vec::with_capacity(1024);
    headers::write_request(head, origin, handshake.as_deref().map(Handshake::protocol), &mut out);
    Intake::Request(Box::new(Request {
        began,
        upstream: upstream.clone(),
        version: head.version,
        to_head: head.method == "HEAD",
        keep_alive: head.keep_alive,
        framing: head.framing,
        expects_continue: head.expects_continue,
        limits: (narrow(config.limits.header), narrow(config.limits.headers)),
        body_limit: route.body.and_then(NonZeroU64::new),
        retryable: !placing.in_session() && head.framing == Framing::None && is_idempotent(head.method),
        kind: if placing.is_poll(head.method) { Kind::Poll } else { Kind::Request },
        handshake,
        head: out,
        client: origin.client,
        client_port: port_of(arrival, origin.client),
        https: origin.https,
        placing,
        notes,
        place,
    }))
}

fn refuse(
    head: &RequestHead<'_, '_>,
    failure: Failure,
    upstream: Option<&Arc<Upstream>>,
    notes: Option<Box<Notes>>,
) -> Intake {
    Intake::Refused {
        failure,
        to_head: head.method == "HEAD",
        keep_alive: keeps_alive(head),
        notes,
        upstream: upstream.cloned(),
    }
}

/// The connection can be kept behind an answer of the proxy's own: there is no body that nobody read, and the client need not
/// be told (as HTTP/1.0 would).
fn keeps_alive(head: &RequestHead<'_, '_>) -> bool {
    head.keep_alive && head.framing == Framing::None && head.version == Version::Http11
}

/// RFC 9110 section 9.2.2
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

/// Who the client is and how it came; and whether anybody said so, or the peer is just taken for it.
fn origin<'a>(arrival: &Arrival, config: &Config, head: &RequestHead<'_, 'a>) -> (Origin<'a>, bool) {
    let peer = arrival.peer.map_or(Peer::Unix, |peer| Peer::Ip(peer.ip));
    let believed = config.client_ip_header;
    let values = |name: &'static str| {
        head.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let (chain, scheme) = match believed {
        ClientIpHeader::XForwardedFor => ("x-forwarded-for", "x-forwarded-proto"),
        ClientIpHeader::Forwarded => ("forwarded", "forwarded"),
    };
    let resolved = client_address::resolve(peer, believed, values(chain), &config.trusted_proxies);
    let named = client_address::scheme(&resolved, believed, values(scheme));
    let https = named.map_or(arrival.entrance.is_tls(), |scheme| scheme == Scheme::Https);
    let origin = Origin {
        client: resolved.address,
        peer: arrival.peer.map(|peer| peer.ip),
        peer_trusted: resolved.peer_trusted,
        believed,
        https,
        request_id: b"",
        identity: false,
        cookie: None,
    };
    (origin, resolved.hops > 0 || !resolved.peer_trusted)
}

/// The port of a client that is the peer itself.
fn port_of(arrival: &Arrival, client: IpAddr) -> u16 {
    let peer = arrival.peer.filter(|peer| peer.ip.to_canonical() == client);
    peer.map_or(0, |peer| peer.port)
}

/// The client's own `X-Request-ID` when it is one, else a new one.
fn request_id(head: &RequestHead<'_, '_>) -> Vec<u8> {
    let sane = |id: &&[u8]| {
        (1..=128).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:/+=@".contains(byte))
    };
    match head.header("x-request-id").filter(sane) {
        Some(id) => id.to_vec(),
        None => new_request_id().to_vec(),
    }
}

fn new_request_id() -> [u8; 32] {
    let mut id = [0; 32];
    let number = u128::from(random::next()) << 64 | u128::from(random::next());
    for (at, digit) in id.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
    }
    id
}

fn notes(head: &RequestHead<'_, '_>, request_id: &[u8]) -> Notes {
    Notes {
        method: head.method.into(),
        host: head.host.into(),
        target: head.target.into(),
        request_id: request_id.into(),
        referer: head.header("referer").map(Into::into),
        user_agent: head.header("user-agent").map(Into::into),
        sid_hash: None,
        left: None,
    }
}
