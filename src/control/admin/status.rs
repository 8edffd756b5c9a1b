//! How everything is, for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::certificates::{Certificates, Known};
use super::super::handover::{self, Elders, Lingering};
use super::super::publisher::Publisher;
use super::super::retire::Rotation;
use super::api;
use crate::certificates::Facts;
use crate::config::model::{Check, InstanceState, Upgrade};
use crate::generation::Generation;
use crate::http::Door;
use crate::local::clock;
use crate::observe::metrics::{DecisionBy, RebindReason, UpstreamCounters};
use crate::upstream::health::State;
use crate::upstream::skew;
use crate::upstream::{Instance, Upstream};

/// What it is read from.
#[derive(Clone, Debug)]
pub(in crate::control) struct View {
    pub(in crate::control) publisher: Arc<Publisher>,
    pub(in crate::control) doors: Vec<Arc<Door>>,
    pub(in crate::control) metrics: Option<String>,
    pub(in crate::control) page: Option<String>,
    pub(in crate::control) connections_limit: usize,
    pub(in crate::control) ready: Arc<AtomicBool>,
    pub(in crate::control) rotation: Arc<Rotation>,
    /// Seconds since the epoch.
    pub(in crate::control) started: u64,
    pub(in crate::control) file: Option<String>,
    pub(in crate::control) certificates: Arc<Certificates>,
    /// Whether another process took over.
    pub(in crate::control) lingering: Arc<Lingering>,
    /// Those from which this one took over.
    pub(in crate::control) elders: Arc<Elders>,
}

impl View {
    /// Everything, now.
    pub(super) fn status(&self) -> api::Status {
        let generation = self.publisher.current();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            now: clock::epoch_seconds(),
            ready: self.ready.load(Ordering::Relaxed),
            lingers: self.lingers(&generation),
            elders: self
                .elders
                .all()
                .into_iter()
                .map(|elder| api::Elder { pid: elder.pid, socket: elder.socket })
                .collect(),
            retired: self.rotation.left().map(|left| left.since),
            config: self.config(),
            listeners: self.doors.iter().map(|door| door.name.clone()).collect(),
            certificates: self.certificates.known().iter().flat_map(certificates).collect(),
            metrics: self.metrics.clone(),
            page: self.page.clone(),
            connections: api::Connections {
                open: handover::open(&self.doors),
                limit: self.connections_limit as u64,
            },
            upstreams: self.upstreams(&generation),
        }
    }

    fn lingers(&self, generation: &Generation) -> Option<api::Lingers> {
        let begun = self.lingering.begun()?;
        let Upgrade { linger, spread } = generation.config.upgrade;
        let left = |until: Duration| {
            let left = until.saturating_sub(clock::now().since(begun.at));
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        };
        let (closes_in, ends_in) = (left(linger.saturating_sub(spread)), left(linger));
        Some(api::Lingers { since: begun.since, closes_in, ends_in, to: begun.to })
    }

    fn upstreams(&self, generation: &Generation) -> Vec<api::Upstream> {
        let mut all = upstreams(generation);
        if self.lingering.begun().is_some() {
            // Whoever serves has them too, and counts them.
            for one in all.iter_mut().flat_map(|upstream| &mut upstream.instances) {
                one.sessions = 0;
                one.empty = one.tunnels == 0 && one.requests == 0 && one.handshakes == 0;
            }
        }
        all
    }

    fn config(&self) -> api::Config {
        let (last, counts) = (self.publisher.reloads.last(), self.publisher.reloads.view());
        api::Config {
            file: self.file.clone(),
            loaded: last.loaded,
            reloads: counts.done,
            refused: counts.refused,
            refusal: last.refusal,
            last: last.at,
        }
    }
}

fn certificates(known: &Known) -> Vec<api::Certificate> {
    let one = |facts: &Facts| api::Certificate {
        listener: known.listener.clone(),
        file: facts.file.display().to_string(),
        names: facts.names.clone(),
        begins: facts.valid.0,
        expires: facts.valid.1,
        refused: known.refused.clone(),
    };
    known.facts.iter().map(one).collect()
}

fn upstreams(generation: &Generation) -> Vec<api::Upstream> {
    let present = generation.upstreams.iter().map(|known| upstream(known, false));
    present.chain(generation.leaving.iter().map(|known| upstream(known, true))).collect()
}

fn upstream(of: &Upstream, removed: bool) -> api::Upstream {
    let sum = |count: &dyn Fn(&UpstreamCounters) -> u64| of.shards().into_iter().map(count).sum::<u64>();
    let decisions = DecisionBy::ALL.iter().map(|by| {
        let count = sum(&|counters| counters.decisions(*by));
        (by.as_str().to_owned(), count)
    });
    let rebinds = RebindReason::ALL.iter().map(|reason| {
        let count = sum(&|counters| counters.rebinds(*reason));
        (reason.as_str().to_owned(), count)
    });
    api::Upstream {
        name: of.config.name.clone(),
        removed,
        sticky: of.config.sticky.by.iter().map(crate::config::model::StickyKey::name).collect(),
        secret: of.keys.as_ref().map(|keys| keys.fingerprint()),
        panic: !of.believes_checks(),
        decisions: decisions.collect(),
        rebinds: rebinds.filter(|(_, count)| *count > 0).collect(),
        rebalance: rebalance(of),
        instances: of.instances.iter().map(|one| instance(of, one)).collect(),
    }
}

fn rebalance(of: &Upstream) -> api::Rebalance {
    let skewed = of.skewed(0);
    let max_skew = of.config.rebalance.max_skew;
    api::Rebalance {
        on: max_skew.is_some(),
        max_skew: max_skew.unwrap_or(skew::ASSUMED),
        beyond: skewed.iter().map(|one| one.beyond).sum(),
        moves: skewed.iter().map(|one| one.moves).sum(),
    }
}

/// One instance, now.
pub(super) fn instance(upstream: &Upstream, of: &Instance) -> api::Instance {
    let load = &of.load;
    let health = match of.vitals.state() {
        // It is not checked: what was known of it is not true for ever.
        _ if of.lifecycle.state() == InstanceState::Maintain => api::Health::Unknown,
        State::Unknown => api::Health::Unknown,
        State::Up => api::Health::Up,
        State::Degraded => api::Health::Degraded,
        State::Down => api::Health::Down,
    };
    let state = of.lifecycle.state();
    let removed = of.lifecycle.is_removed();
    let ready = of.state() == InstanceState::Ready && !removed;
    let believed = upstream.belief().of(of.vitals.state()) == State::Up;
    api::Instance {
        upstream: upstream.config.name.clone(),
        name: of.name.clone(),
        address: of.config.address(),
        state,
        configured: of.config.state,
        removed,
        missing: of.is_missing(),
        checked: upstream.config.health.check != Check::Off && of.state() != InstanceState::Maintain,
        health,
        evidence: of.vitals.evidence(),
        share: of.vitals.share(),
        takes_clients: ready && believed && !of.is_full(),
        tunnels: load.tunnels(),
        sessions: load.sessions(),
        requests: of.requests(),
        handshakes: load.handshakes().saturating_add(load.queued()),
        queued: load.queued(),
        empty: of.is_empty(),
        drain: of.lifecycle.emptying().map(|emptying| {
            let now = clock::now().since_boot();
            let left =
                |moment: Duration| u64::try_from(moment.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
            api::Drain {
                began_with: emptying.began_with,
                closes_in: left(emptying.from),
                told_in: left(emptying.from + emptying.over),
                cut_in: left(emptying.cut),
            }
        }),
    }
}
