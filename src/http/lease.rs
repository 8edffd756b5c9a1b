//! A connected instance: pick, wait for a turn, connect, and re-pick when that fails. The one place that fails over.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::candidate;
use super::request::Request;
use super::respond::Failure;
use super::wire::Wire;
use crate::affinity::rest::Who;
use crate::config::model::{Balance, OnDown};
use crate::local::clock;
use crate::local::random;
use crate::local::stream::Stream;
use crate::observe::metrics::{ConnectError, DecisionBy, RebindReason};
use crate::routing::pick::{self, By, Choice, Cookie, Health, Need, Outcome, Passed, Policy};
use crate::upstream::Instance;
use crate::upstream::connect::{self, Failed};
use crate::upstream::load::{Handshake, Shed};

/// A client waits for at most this many times `timeouts.connect` while instances that say nothing are tried in turn.
const PATIENCE: u32 = 3;

/// A connection to the instance that serves this exchange.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) placed: Placed,
    pub(super) wire: Wire,
    /// Its turn among the handshakes of the instance, if it is one. In a box: polls, which wait long, are none.
    pub(super) handshake: Option<Box<Handshake>>,
}

/// The instance that an exchange is sent to, how, and why it is this one.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) instance: Arc<Instance>,
    /// Its place in the upstream.
    pub(super) index: usize,
    /// What chose it.
    pub(super) by: By,
    /// Why a bound client does not get the instance that it was bound to.
    pub(super) rebind: Option<RebindReason>,
    /// By a connection that has served before: the instance may be ending it just now.
    pub(super) reused: bool,
}

/// Where an exchange was sent in vain.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) placed: Placed,
    /// What came of it.
    pub(super) failure: Failure,
    /// It goes elsewhere, and not there again.
    pub(super) is_left: bool,
}

/// What came of an instance that was chosen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// It cannot be reached.
    Unreachable,
    /// It had no room.
    Full,
}

/// Connects to the instance that the client belongs to, or to the next best while that fails. `fresh`: on no connection
/// that has served before. `before`: where this exchange has been sent in vain; it is counted there already.
pub(super) async fn lease(
    ctx: &Context,
    request: &Request,
    client: &Stream,
    fresh: bool,
    before: Option<&Before>,
) -> Result<Lease, Failure> {
    let upstream = &request.upstream;
    let began = clock::coarse();
    let patience = upstream.config.timeouts.connect.saturating_mul(PATIENCE);
    let is_patient = || clock::coarse().since(began) <= patience;
    let fails = upstream.config.sticky.on_down == OnDown::Fail;
    let left = before.filter(|before| before.is_left);
    let mut tried: Vec<_> = left.iter().map(|left| (left.placed.index, Tried::Unreachable)).collect();
    let mut failure = Failure::NoInstance;
    loop {
        let choice = match choose(ctx, request, &tried) {
            // Nobody who was tried is chosen again. Were it otherwise, this must end all the same.
            Outcome::To(choice) if tried.iter().any(|(tried, _)| *tried == choice.instance) => {
                return Err(failure.or_full(upstream));
            }
            Outcome::To(choice) => choice,
            Outcome::SessionGone => return Err(Failure::SessionGone),
            Outcome::Fail => return Err(Failure::BoundDown),
            Outcome::Nowhere => return Err(failure.or_full(upstream)),
        };
        let instance = &upstream.instances[choice.instance];
        let handshake = match begin(request, instance, client).await {
            Ok(handshake) => handshake,
            // Nothing binds it to this one. (To the next by its address it would not find back.)
            Err(Shed::Queue) if choice.by == By::Balance && is_patient() => {
                failure = Failure::QueueFull;
                tried.push((choice.instance, Tried::Full));
                continue;
            }
            Err(Shed::Queue) => return Err(Failure::QueueFull),
            Err(Shed::Left) => return Err(Failure::ClientGone),
            // Nowhere else is its session known, and who is of a session would be sent to the same full instance again and
            // again; it goes on by polling.
            Err(Shed::Full) if request.placing.in_session() => return Err(Failure::Full),
            Err(Shed::Full) => {
                tried.push((choice.instance, Tried::Full));
                continue;
            }
        };
        let is_lost = match candidate::health(upstream, upstream.belief(), instance) {
            Health::Down => true,
            Health::Silent => request.placing.need == Need::Start,
            Health::Up | Health::Degraded => false,
        };
        if handshake.is_some() && is_lost {
            // It was found dead, or to say nothing, while the handshake waited for its turn.
            tried.push((choice.instance, Tried::Unreachable));
            continue;
        }
        match reach(ctx, request, instance, client, fresh).await {
            Ok((wire, reused)) => {
                let instance = instance.clone();
                let Choice { instance: index, by, rebind } = choice;
                let placed = Placed { instance, index, by, rebind: rebind.map(reason), reused };
                count(ctx, request, &placed, before.map(|before| &before.placed));
                return Ok(Lease { placed, wire, handshake });
            }
            Err(failed) => {
                instance.counters(ctx.worker).connect_error(failed.kind);
                tracing::debug!(upstream = upstream.config.name, instance = instance.name, error = %failed.error, "cannot connect");
                if failed.kind.blames_the_instance() {
                    instance.vitals.suspect();
                }
                match failed.kind {
                    // Another instance would not help.
                    ConnectError::Files => return Err(Failure::NoFiles),
                    // That is never a verdict on the instance: whoever must go there is not told that it is gone.
                    ConnectError::NoLocalPort if choice.by == By::Sid || fails => {
                        return Err(Failure::NoLocalPort);
                    }
                    ConnectError::NoLocalPort => failure = Failure::NoLocalPort,
                    _ => {}
                }
                tried.push((choice.instance, Tried::Unreachable));
            }
        }
        if !is_patient() && choice.by != By::Sid {
            return Err(failure);
        }
    }
}

/// Waits for the instance to have room for one more handshake, if this is one.
async fn begin(
    request: &Request,
    instance: &Arc<Instance>,
    client: &Stream,
) -> Result<Option<Box<Handshake>>, Shed> {
    if request.handshake.is_none() && request.placing.need != Need::Start {
        return Ok(None);
    }
    let in_session = request.placing.session.is_some();
    let handshake = Handshake::begin(instance, in_session, client.left()).await?;
    Ok(Some(Box::new(handshake)))
}

/// A connection that waits in the pool, or a new one.
async fn reach(
    ctx: &Context,
    request: &Request,
    instance: &Instance,
    client: &Stream,
    fresh: bool,
) -> Result<(Wire, bool), Failed> {
    let upstream = &request.upstream;
    let config = &upstream.config;
    let first = introduction(request, client);
    if !fresh
        && upstream.keeps_connections()
        && let Some(stream) = ctx.pool.take(instance, config.timeouts.upstream_idle)
    {
        return Ok((Wire::new(stream), true));
    }
    let began = clock::now();
    let (source, timeouts, resolve) = (&config.source, &config.timeouts, config.resolve);
    let connect = || connect::connect(&instance.endpoint, source, ctx.next_turn(), timeouts, resolve, &first);
    // Boxed: an exchange lives long, a connect does not, and a future keeps the size of its largest wait.
    let stream = match Box::pin(connect()).await {
        Err(failed) if failed.kind == ConnectError::Files && !ctx.pool.is_empty() => {
            // Descriptors that nobody uses make room.
            ctx.pool.clear();
            Box::pin(connect()).await?
        }
        other => other?,
    };
    let took: Duration = clock::now().since(began);
    upstream.counters(ctx.worker).connect_seconds.observe(took.as_secs_f64());
    Ok((Wire::new(stream), false))
}

/// What a connection for this request begins with: who the client is, where the instances are told so by the PROXY protocol.
fn introduction(request: &Request, client: &Stream) -> Vec<u8> {
    if request.upstream.keeps_connections() {
        return Vec::new();
    }
    let version = request.upstream.config.send_proxy_protocol;
    // At a unix socket nobody knows where it came to; it is this machine.
    let target = client.local_address().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    connect::proxy_header(version, Some((SocketAddr::new(request.client, request.client_port), target)))
}

fn choose(ctx: &Context, request: &Request, tried: &[(usize, Tried)]) -> Outcome {
    let upstream = &request.upstream;
    let policy = Policy::of(&upstream.config);
    let placing = &request.placing;
    let by_load = policy.looks_at_loads(placing.need);
    let mut candidates = ctx.candidates.borrow_mut();
    candidates.clear();
    candidates.extend(candidate::candidates(upstream, by_load));
    // What this exchange has seen itself is believed in any case.
    for (index, was) in tried {
        match was {
            Tried::Unreachable => candidates[*index].health = Health::Down,
            Tried::Full => candidates[*index].full = true,
        }
    }
    if !placing.in_session() && !ctx.rest.is_empty() {
        let now = clock::coarse().since_boot();
        candidate::mark_away(&mut candidates, upstream, &ctx.rest, who(request), now);
    }
    let client = pick::Client {
        need: placing.need,
        address: request.client,
        cookie: placing.cookie,
        values: &placing.values,
    };
    let number = |balance| if balance == Balance::RoundRobin { upstream.next_turn() } else { random::next() };
    pick::pick(policy, client, &candidates, number)
}

/// This client was moved away from an instance, and rests from that.
pub(super) fn rests(ctx: &Context, request: &Request) -> bool {
    let mut rests = false;
    if !ctx.rest.is_empty() {
        ctx.rest.each_of(who(request), clock::coarse().since_boot(), |_| rests = true);
    }
    rests
}

/// As whom a client is sent away, and is known when it comes again: its binding, or the address of one that has none.
fn who(request: &Request) -> Who {
    candidate::who(&request.upstream, request.placing.bound.map(|bound| bound.id), request.client)
}

fn reason(passed: Passed) -> RebindReason {
    match passed {
        Passed::Removed => RebindReason::Removed,
        Passed::Down => RebindReason::Down,
        Passed::Drain => RebindReason::Drain,
        Passed::Full => RebindReason::Full,
        Passed::Maintenance => RebindReason::Maintenance,
        Passed::Moved => RebindReason::Moved,
    }
}

/// Counts what was decided of a request, once: what was decided of it `before` is counted.
fn count(ctx: &Context, request: &Request, placed: &Placed, before: Option<&Placed>) {
    let upstream = &request.upstream;
    let counters = upstream.counters(ctx.worker);
    if before.is_none() {
        counters.decision(match placed.by {
            By::Sid => DecisionBy::Sid,
            By::Cookie => DecisionBy::Cookie,
            By::IpHash => DecisionBy::IpHash,
            By::Header => DecisionBy::Header,
            By::Query => DecisionBy::Query,
            By::Balance => DecisionBy::Balance,
        });
    }
    if let Some(reason) = placed.rebind.filter(|_| before.is_none_or(|before| before.rebind.is_none())) {
        counters.rebind(reason);
        if let Cookie::To(bound) = request.placing.cookie {
            upstream.instances[bound].counters(ctx.worker).rebound(reason);
        }
    }
}
