//! A connected instance: pick, connect, and re-pick when that fails. The one place that fails over.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::request::Request;
use super::respond::Failure;
use super::wire::Wire;
use crate::config::model::Balance;
use crate::local::clock;
use crate::local::random;
use crate::observe::metrics::{ConnectError, DecisionBy, RebindReason};
use crate::routing::pick::{self, By, Candidate, Choice, Cookie, Health, Need, Outcome, Policy};
use crate::upstream::connect::{self, Failed};
use crate::upstream::{Instance, Upstream};

/// A client waits for at most this many times `timeouts.connect` while instances that say nothing are tried in turn.
const PATIENCE: u32 = 3;

/// A connection to the instance that serves this exchange.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) instance: Arc<Instance>,
    /// Its place in the upstream.
    pub(super) index: usize,
    /// What chose it.
    pub(super) by: By,
    pub(super) wire: Wire,
    /// The connection has served before: the instance may be ending it just now.
    pub(super) reused: bool,
    /// Why a bound client does not get the instance that it was bound to.
    pub(super) rebind: Option<RebindReason>,
}

/// Connects to the instance that the client belongs to, or to the next best while that fails. `fresh`: on no connection
/// that has served before.
pub(super) async fn lease(ctx: &Context, request: &Request, fresh: bool) -> Result<Lease, Failure> {
    let upstream = &request.upstream;
    let began = clock::coarse();
    let patience = upstream.config.timeouts.connect.saturating_mul(PATIENCE);
    let mut tried = Vec::new();
    let mut failure = Failure::NoInstance;
    while let Some(choice) = choose(ctx, request, &tried) {
        let instance = &upstream.instances[choice.instance];
        match reach(ctx, upstream, instance, fresh).await {
            Ok((wire, reused)) => {
                let rebind = request.binding.rebind(choice.instance);
                count(ctx, upstream, choice.by, rebind);
                return Ok(Lease {
                    instance: instance.clone(),
                    index: choice.instance,
                    by: choice.by,
                    wire,
                    reused,
                    rebind,
                });
            }
            Err(failed) => {
                instance.counters(ctx.worker).connect_error(failed.kind);
                tracing::debug!(upstream = upstream.config.name, instance = instance.name, error = %failed.error, "cannot connect");
                match failed.kind {
                    // Another instance would not help.
                    ConnectError::Files => return Err(Failure::NoFiles),
                    ConnectError::NoLocalPort => failure = Failure::NoLocalPort,
                    _ => {}
                }
                tried.push(choice.instance);
            }
        }
        if clock::coarse().since(began) > patience {
            break;
        }
    }
    Err(failure)
}

/// A connection that waits in the pool, or a new one.
async fn reach(
    ctx: &Context,
    upstream: &Upstream,
    instance: &Instance,
    fresh: bool,
) -> Result<(Wire, bool), Failed> {
    let config = &upstream.config;
    if !fresh && let Some(stream) = ctx.pool.take(instance, config.timeouts.upstream_idle) {
        return Ok((Wire::new(stream), true));
    }
    let began = clock::now();
    let connect = || connect::connect(&instance.endpoint, &config.source, ctx.next_turn(), &config.timeouts);
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

fn choose(ctx: &Context, request: &Request, tried: &[usize]) -> Option<Choice> {
    let upstream = &request.upstream;
    let policy = Policy::of(&upstream.config);
    let need = Need::Plain;
    let by_load = policy.looks_at_loads(need);
    let mut candidates = ctx.candidates.borrow_mut();
    candidates.clear();
    candidates.extend(upstream.instances.iter().enumerate().map(|(index, instance)| Candidate {
        health: if tried.contains(&index) { Health::Down } else { Health::Up },
        load: if by_load { u64::from(instance.load.total()) } else { 0 },
        ..Candidate::ready(instance.hash, instance.config.weight)
    }));
    let cookie = request.binding.instance().map_or(Cookie::None, Cookie::To);
    let client = pick::Client { need, address: request.client, cookie, values: &[] };
    let number = |balance| if balance == Balance::RoundRobin { upstream.next_turn() } else { random::next() };
    match pick::pick(policy, client, &candidates, number) {
        Outcome::To(choice) => Some(choice),
        Outcome::SessionGone | Outcome::Fail | Outcome::Nowhere => None,
    }
}

fn count(ctx: &Context, upstream: &Upstream, by: By, rebind: Option<RebindReason>) {
    let counters = upstream.counters(ctx.worker);
    counters.decision(match by {
        By::Sid => DecisionBy::Sid,
        By::Cookie => DecisionBy::Cookie,
        By::IpHash => DecisionBy::IpHash,
        By::Header => DecisionBy::Header,
        By::Query => DecisionBy::Query,
        By::Balance => DecisionBy::Balance,
    });
    if let Some(reason) = rebind {
        counters.rebind(reason);
    }
}
