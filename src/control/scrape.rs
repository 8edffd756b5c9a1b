//! What a scrape of `/metrics` shows.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::certificates::Certificates;
use super::gate::Gate;
use super::handover::Elders;
use super::local_http::{Bounds, Serving};
use super::metrics_listener;
use super::publisher::Publisher;
use super::retire::Rotation;
use super::start::{StartError, unavailable};
use crate::config::model::InstanceState;
use crate::http::Door;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{
    self, Exposition, InstanceView, ProcessStats, ProcessView, State, UpstreamView,
};
use crate::observe::panics;
use crate::upstream::Instance;
use crate::upstream::health::State as Health;

/// What metrics are made of.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) publisher: Arc<Publisher>,
    pub(super) doors: Vec<Arc<Door>>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) connections_limit: usize,
    pub(super) started: SystemTime,
    pub(super) elders: Arc<Elders>,
}

impl Scrape {
    /// Of this process, and of those that have ended.
    pub(super) fn own(&self) -> String {
        self.elders.with_departed(self.alone())
    }

    /// Of all processes of this proxy.
    fn all(&self) -> String {
        self.elders.with_all(&self.alone())
    }

    fn alone(&self) -> String {
        expose(self)
    }
}

/// Shows metrics.
pub(super) fn serve(
    socket: TcpListener,
    scrape: Scrape,
    ready: Arc<AtomicBool>,
    rotation: Arc<Rotation>,
    gate: Gate,
) -> Result<Serving, StartError> {
    let is_ready = move || ready.load(Ordering::Relaxed) && rotation.left().is_none();
    let answers = metrics_listener::answers(move || scrape.all(), is_ready);
    Serving::start(Bounds::LOOK, "metrics", socket, gate, answers).map_err(unavailable)
}

/// The text of a scrape.
fn expose(scrape: &Scrape) -> String {
    let Scrape { publisher, doors, certificates, access_log, connections_limit, started, elders: _ } = scrape;
    let generation = publisher.current();
    let upstreams = generation.all().map(|upstream| UpstreamView {
        name: upstream.config.name.clone(),
        shards: upstream.shards(),
        panic: !upstream.believes_checks(),
        dns_failures: upstream.dns_failures(),
        instances: upstream.instances.iter().map(|instance| view(instance)).collect(),
    });
    metrics::render(&Exposition {
        listeners: doors.iter().map(|door| (door.name.clone(), door.counters.iter().collect())).collect(),
        certificates: certificates.view(),
        upstreams: upstreams.collect(),
        process: ProcessView {
            connections_limit: *connections_limit as u64,
            log_lines_dropped: access_log.dropped(),
            panics: panics::count(),
            processes: 1,
            reloads: publisher.reloads.view(),
            started: *started,
            stats: ProcessStats::read(),
        },
    })
}

fn view(instance: &Instance) -> InstanceView<'_> {
    let load = &instance.load;
    InstanceView {
        name: instance.name.clone(),
        shards: instance.shards(),
        up: instance.vitals.passes(),
        degraded: instance.vitals.state() == Health::Degraded,
        checks: &instance.vitals.counters,
        state: match instance.state() {
            InstanceState::Ready => State::Ready,
            InstanceState::Cordon => State::Cordon,
            InstanceState::Drain => State::Drain,
            InstanceState::Maintain => State::Maintain,
        },
        queued: load.queued().into(),
        in_flight: load.handshakes().into(),
        shed: load.shed(),
        sids: load.sids().into(),
        sids_evicted: load.evicted(),
    }
}
