//! What is remembered of an exchange or a tunnel: counters, and lines of the access log.

use std::sync::Arc;

use super::Context;
use super::connection::Arrival;
use super::join::{KnownAs, Life};
use super::lease::Placed;
use super::request::{Notes, Request};
use super::respond::Failure;
use crate::affinity::rest::Who;
use crate::local::clock;
use crate::observe::access_log::{Entry, Event};
use crate::observe::metrics::{AnsweredBy, Kind, Origin, RebindReason, UpstreamCounters};
use crate::routing::pick::{Need, Sid};
use crate::tunnel::{Ended, Reason};
use crate::upstream::load::Home;
use crate::upstream::{Instance, Upstream};

/// Counts an exchange among the open ones until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    instance: Arc<Instance>,
    worker: usize,
    kind: Kind,
}

impl Open {
    pub(super) fn begin(instance: &Arc<Instance>, worker: usize, kind: Kind) -> Self {
        instance.counters(worker).requests_open(kind).inc();
        Open { instance: instance.clone(), worker, kind }
    }

    /// Its answer shows what it is.
    pub(super) fn becomes(&mut self, kind: Kind) {
        let counters = self.instance.counters(self.worker);
        counters.requests_open(self.kind).dec();
        counters.requests_open(kind).inc();
        self.kind = kind;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.instance.counters(self.worker).requests_open(self.kind).dec();
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// What the client got.
    pub(super) status: Option<u16>,
    pub(super) origin: Origin,
    pub(super) failure: Option<Failure>,
    /// Bytes of the bodies, up and down.
    pub(super) bytes: (u64, u64),
    pub(super) kind: Kind,
}

impl Outcome {
    /// The instance's answer went to the client.
    pub(super) fn answered(status: u16) -> Self {
        Outcome {
            status: Some(status),
            origin: Origin::Instance,
            failure: None,
            bytes: (0, 0),
            kind: Kind::Request,
        }
    }

    /// The proxy had to answer itself, with this status if there was anybody to hear it.
    pub(super) fn failed(failure: Failure, status: Option<u16>) -> Self {
        Outcome { status, origin: Origin::Proxy, failure: Some(failure), bytes: (0, 0), kind: Kind::Request }
    }
}

/// nginx's number for a client that left before it was answered; only ever counted, never sent.
const CLIENT_LEFT: u16 = 499;

/// An exchange has ended, or has become a tunnel.
pub(super) fn exchange(
    ctx: &Context,
    arrival: &Arrival,
    request: &Request,
    placed: Option<&Placed>,
    outcome: Outcome,
) {
    let counters = request.upstream.counters(ctx.worker);
    let status = outcome.status.unwrap_or(CLIENT_LEFT);
    match placed {
        Some(placed) => placed.instance.counters(ctx.worker).request(status, outcome.origin),
        None => counters.request_unplaced(status),
    }
    if let (Some(failure), Some(placed)) = (outcome.failure, placed)
        && failure.blames_the_instance()
    {
        placed.instance.vitals.suspect();
    }
    count_refused(ctx, arrival, outcome.failure);
    note_session(request, placed, counters, outcome);
    let took = clock::now().since(request.began);
    match (outcome.status, outcome.kind) {
        (Some(101), _) => counters.upgrade_seconds.observe(took.as_secs_f64()),
        (_, Kind::Stream) => {}
        (_, Kind::Request | Kind::Poll) => counters.request_seconds.observe(took.as_secs_f64()),
    }
    let Some(notes) = &request.notes else { return };
    let switched = outcome.status == Some(101);
    ctx.access_log.line(&Entry {
        client: Some(request.client),
        status: outcome.status,
        upstream_status: outcome.status.filter(|_| outcome.origin == Origin::Instance),
        upstream: Some(&request.upstream.config.name),
        instance: placed.map(|placed| placed.instance.name.as_str()),
        left: notes.left.as_ref().map(|left| left.name.as_str()),
        sticky_key: placed.map(|placed| placed.by.as_str()),
        rebind_reason: placed.and_then(|placed| placed.rebind).map(RebindReason::as_str),
        origin: Some(outcome.origin.as_str()),
        reason: outcome.failure.map(Failure::reason),
        duration: Some(took),
        bytes_up: (!switched).then_some(outcome.bytes.0),
        bytes_down: (!switched).then_some(outcome.bytes.1),
        ..entry(if switched { Event::WsOpen } else { Event::Http }, arrival, notes)
    });
}

/// A request that never had an instance to go to.
pub(super) fn refused(
    ctx: &Context,
    arrival: &Arrival,
    failure: Failure,
    upstream: Option<&Upstream>,
    notes: Option<&Notes>,
) {
    let status = failure.status().map_or(CLIENT_LEFT, |(status, _)| status);
    count_refused(ctx, arrival, Some(failure));
    unplaced(ctx, arrival, (status, failure.reason()), upstream, notes);
}

/// A request that was sent to https.
pub(super) fn redirected(ctx: &Context, arrival: &Arrival, notes: Option<&Notes>) {
    unplaced(ctx, arrival, (308, "to https"), None, notes);
}

fn unplaced(
    ctx: &Context,
    arrival: &Arrival,
    (status, reason): (u16, &str),
    upstream: Option<&Upstream>,
    notes: Option<&Notes>,
) {
    match upstream {
        Some(upstream) => upstream.counters(ctx.worker).request_unplaced(status),
        None => arrival.door.counters[ctx.worker].request_unrouted(status),
    }
    if ctx.access_log.is_on() {
        let unknown = Notes::default();
        ctx.access_log.line(&Entry {
            status: Some(status),
            upstream: upstream.map(|upstream| upstream.config.name.as_str()),
            origin: Some(Origin::Proxy.as_str()),
            reason: Some(reason),
            ..entry(Event::Http, arrival, notes.unwrap_or(&unknown))
        });
    }
}

/// What the end of an exchange says of its session: that its client believes in it and nobody else, or that its client left.
fn note_session(request: &Request, placed: Option<&Placed>, counters: &UpstreamCounters, outcome: Outcome) {
    let at_home = placed.is_some_and(|placed| request.placing.need == Need::Session(Sid::At(placed.index)));
    match (outcome.origin, outcome.status, outcome.failure) {
        (Origin::Proxy, _, Some(Failure::SessionGone)) => counters.unknown_session(AnsweredBy::Proxy),
        (Origin::Instance, Some(400), _) if request.placing.in_session() => {
            counters.unknown_session(AnsweredBy::Instance);
            // So it carries nothing for it. (One that lives on in a tunnel is answered so too, and needs no sid any more.)
            if let Some(session) = request.placing.held().filter(|_| at_home) {
                session.forget();
            }
        }
        (_, _, Some(Failure::ClientGone)) if request.kind == Kind::Poll => {
            if let Some(session) = request.placing.held() {
                session.edit(Home::left);
            }
        }
        _ => {}
    }
}

fn count_refused(ctx: &Context, arrival: &Arrival, failure: Option<Failure>) {
    let counters = &arrival.door.counters[ctx.worker];
    if let Some(reason) = failure.and_then(Failure::refused) {
        counters.refused(reason);
    }
    if let Some(limit) = failure.and_then(Failure::limit) {
        counters.limit_hit(limit);
    }
}

/// The proxy closes a tunnel: its client may be here again before the other end has said goodbye.
pub(super) fn tunnel_closes(life: &Life, reason: Reason) {
    if reason.sends_away() {
        send_away(&life.ctx, &life.upstream, &life.instance, life.known_as);
    }
}

/// A tunnel has ended.
pub(super) fn tunnel_closed(life: &Life, ended: &Ended) {
    let ctx = &life.ctx;
    if life.broken.get() {
        life.instance.load.broken_one_ended();
    }
    life.instance.counters(ctx.worker).tunnel_closed(ended.reason.as_str(), ended.code);
    let lived = clock::now().since(life.began);
    life.upstream.counters(ctx.worker).tunnel_seconds.observe(lived.as_secs_f64());
    let Some(notes) = &life.notes else { return };
    ctx.access_log.line(&Entry {
        client: Some(life.known_as.address),
        upstream: Some(&life.upstream.config.name),
        instance: Some(&life.instance.name),
        reason: Some(ended.reason.as_str()),
        close_code: ended.code,
        closed_by: Some(ended.reason.closed_by().as_str()),
        duration: Some(lived),
        bytes_up: Some(ended.up.bytes),
        bytes_down: Some(ended.down.bytes),
        frames_up: Some(ended.up.frames),
        frames_down: Some(ended.down.frames),
        ..entry(Event::WsClose, &life.arrival, notes)
    });
}

/// An Engine.IO session is over as far as its client is concerned: it will not use the sid again.
pub(super) fn session_ended(ctx: &Context, request: &Request, placed: Option<&Placed>, failure: Failure) {
    if let Some(session) = request.placing.held() {
        session.forget();
    }
    if let (Failure::Closed(reason), Some(placed)) = (failure, placed)
        && reason.sends_away()
    {
        send_away(ctx, &request.upstream, &placed.instance, KnownAs::of(request, None));
    }
}

/// A client whose tunnel or poll was closed so that it goes elsewhere does not come back for a while.
fn send_away(ctx: &Context, upstream: &Upstream, instance: &Instance, client: KnownAs) {
    let now = clock::coarse().since_boot();
    let send = |who| ctx.rest.send_away(who, instance.id, now, now + upstream.config.rebalance.rest);
    if let Some(binding) = client.binding {
        send(Who::Binding(binding));
    }
    if !client.shows_it {
        send(Who::Address(upstream.client_key(client.address)));
    }
}

/// What every line has.
fn entry<'a>(event: Event, arrival: &'a Arrival, notes: &'a Notes) -> Entry<'a> {
    let known = |text: &'a str| (!text.is_empty()).then_some(text.as_bytes());
    Entry {
        request_id: Some(&notes.request_id[..]).filter(|id| !id.is_empty()),
        peer: arrival.peer.map(Into::into),
        listener: Some(&arrival.door.name),
        method: known(&notes.method),
        host: known(&notes.host),
        target: known(&notes.target),
        protocol: Some("HTTP/1.1"),
        tls: arrival.entrance.tls(),
        referer: notes.referer.as_deref(),
        user_agent: notes.user_agent.as_deref(),
        sid_hash: notes.sid_hash,
        ..Entry::new(event, clock::wall())
    }
}
