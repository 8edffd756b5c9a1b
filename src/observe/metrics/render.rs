//! The counters of all workers, summed, as one text. Runs at scrape time; knows no configuration.

mod tls;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::counters::{
    CHECK_BOUNDS, CONNECT_BOUNDS, HealthCounters, InstanceCounters, ListenerCounters, REQUEST_BOUNDS,
    TUNNEL_BOUNDS, UPGRADE_BOUNDS, UpstreamCounters,
};
use super::labels::{
    AnsweredBy, CheckResult, CodeClass, ConnectError, CookieRejection, DecisionBy, Direction, Kind, Limit,
    Origin, RebindReason, Refused, State,
};
use super::process::ProcessStats;
use super::table;
use super::text::Text;
use crate::observe::count::{Histogram, HistogramTotal};

pub use tls::CertificatesView;

/// All that a scrape shows. In each list the names are unique; the references are one for each worker.
#[derive(Debug)]
pub struct Exposition<'c> {
    /// Listeners by address.
    pub listeners: Vec<(String, Vec<&'c ListenerCounters>)>,
    /// Of listeners that have certificates.
    pub certificates: Vec<CertificatesView>,
    /// Upstreams with their instances.
    pub upstreams: Vec<UpstreamView<'c>>,
    /// What there is once.
    pub process: ProcessView,
}

/// One upstream.
#[derive(Debug)]
pub struct UpstreamView<'c> {
    /// Its name.
    pub name: String,
    /// One for each worker.
    pub shards: Vec<&'c UpstreamCounters>,
    /// Its checks are not believed.
    pub panic: bool,
    /// Lookups of its names that failed, so far.
    pub dns_failures: u64,
    /// Its instances.
    pub instances: Vec<InstanceView<'c>>,
}

/// One instance.
#[derive(Debug)]
pub struct InstanceView<'c> {
    /// Its name.
    pub name: String,
    /// One for each worker.
    pub shards: Vec<&'c InstanceCounters>,
    /// Its checks pass, or it is not checked.
    pub up: bool,
    /// It answers its checks, but not as it should.
    pub degraded: bool,
    /// Its checks.
    pub checks: &'c HealthCounters,
    /// What the administrator wants of it.
    pub state: State,
    /// Handshakes that wait for their turn.
    pub queued: u64,
    /// Handshakes that it has not answered yet.
    pub in_flight: u64,
    /// Handshakes that were turned away, so far.
    pub shed: u64,
    /// Learned sids.
    pub sids: u64,
    /// Learned sids that had to make room, so far.
    pub sids_evicted: u64,
}

/// What there is once in a process.
#[derive(Clone, Debug)]
pub struct ProcessView {
    /// Most client connections at a time.
    pub connections_limit: u64,
    /// Access lines lost.
    pub log_lines_dropped: u64,
    /// Panics so far.
    pub panics: u64,
    /// Processes of this proxy, with those that linger.
    pub processes: u64,
    /// When this process started.
    pub started: SystemTime,
    /// How reloads went.
    pub reloads: ReloadsView,
    /// What the kernel says.
    pub stats: ProcessStats,
}

/// How reloads of the configuration went so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReloadsView {
    /// Put in force.
    pub done: u64,
    /// Refused.
    pub refused: u64,
    /// The last was put in force.
    pub last_successful: bool,
    /// When it was, in seconds since the epoch.
    pub last_at: u64,
}

/// The text of a scrape, of type [`super::CONTENT_TYPE`].
pub fn render(exposition: &Exposition<'_>) -> String {
    let mut text = Text::default();
    listeners(&mut text, &exposition.listeners);
    tls::show(&mut text, exposition);
    requests(&mut text, exposition);
    tunnels(&mut text, &exposition.upstreams);
    sticky(&mut text, &exposition.upstreams);
    sessions(&mut text, &exposition.upstreams);
    handshakes(&mut text, &exposition.upstreams);
    health(&mut text, &exposition.upstreams);
    process(&mut text, &exposition.process);
    text.finish()
}

/// What clients do before they have a route.
fn listeners(text: &mut Text, listeners: &[(String, Vec<&ListenerCounters>)]) {
    // HTTP/2 will have counters of its own; today every connection speaks this.
    const PROTOCOL: &str = "http1";
    let mut samples = text.family(table::CONNECTIONS);
    for (name, shards) in listeners {
        samples.int(&[name, PROTOCOL], sum(shards, |shard| shard.connections.get()));
    }
    let mut samples = text.family(table::CONNECTIONS_OPEN);
    for (name, shards) in listeners {
        samples.int(&[name, PROTOCOL], level(shards, |shard| shard.connections_open.get()));
    }
    let all: Vec<&ListenerCounters> =
        listeners.iter().flat_map(|(_, shards)| shards.iter().copied()).collect();
    let mut samples = text.family(table::REFUSED);
    for reason in Refused::ALL {
        samples.int(&[reason.as_str()], sum(&all, |shard| shard.refusals(*reason)));
    }
    let mut samples = text.family(table::LIMIT_HITS);
    for limit in Limit::ALL {
        samples.int(&[limit.as_str()], sum(&all, |shard| shard.limit_hits(*limit)));
    }
}

fn requests(text: &mut Text, exposition: &Exposition<'_>) {
    let proxy = Origin::Proxy.as_str();
    let mut samples = text.family(table::REQUESTS);
    for class in CodeClass::ALL {
        let shards = exposition.listeners.iter().flat_map(|(_, shards)| shards);
        let count = shards.map(|shard| shard.requests_unrouted(*class)).sum();
        samples.int(&["", "", class.as_str(), proxy], count);
    }
    for upstream in &exposition.upstreams {
        for class in CodeClass::ALL {
            let count = sum(&upstream.shards, |shard| shard.requests_unplaced(*class));
            samples.int(&[&upstream.name, "", class.as_str(), proxy], count);
        }
        for InstanceView { name, shards, .. } in &upstream.instances {
            for origin in Origin::ALL {
                for class in CodeClass::ALL {
                    let count = sum(shards, |shard| shard.requests(*origin, *class));
                    samples.int(&[&upstream.name, name, class.as_str(), origin.as_str()], count);
                }
            }
        }
    }
    let upstreams = &exposition.upstreams;
    histogram(text, table::REQUEST_SECONDS, upstreams, REQUEST_BOUNDS, |shard| &shard.request_seconds);
    histogram(text, table::CONNECT_SECONDS, upstreams, CONNECT_BOUNDS, |shard| &shard.connect_seconds);
    histogram(text, table::UPGRADE_SECONDS, upstreams, UPGRADE_BOUNDS, |shard| &shard.upgrade_seconds);
    let mut samples = text.family(table::REQUESTS_OPEN);
    for (upstream, InstanceView { name: instance, shards, .. }) in instances(upstreams) {
        for kind in Kind::ALL {
            let open = level(shards, |shard| shard.requests_open(*kind).get());
            samples.int(&[upstream, instance, kind.as_str()], open);
        }
    }
    let mut samples = text.family(table::CONNECT_ERRORS);
    for (upstream, InstanceView { name: instance, shards, .. }) in instances(upstreams) {
        for kind in ConnectError::ALL {
            let count = sum(shards, |shard| shard.connect_errors(*kind));
            samples.int(&[upstream, instance, kind.as_str()], count);
        }
    }
    let mut samples = text.family(table::DNS_FAILURES);
    for upstream in upstreams {
        samples.int(&[&upstream.name], upstream.dns_failures);
    }
}

/// Tunnels of one instance over all workers, read together so that opened = open + closed in one scrape.
struct Tunnels<'c> {
    upstream: &'c str,
    instance: &'c str,
    opened: u64,
    closed: BTreeMap<super::counters::ClosedBy, u64>,
}

fn tunnels(text: &mut Text, upstreams: &[UpstreamView<'_>]) {
    let mut all = Vec::new();
    for (upstream, InstanceView { name: instance, shards, .. }) in instances(upstreams) {
        let mut tunnels = Tunnels { upstream, instance, opened: 0, closed: BTreeMap::new() };
        for shard in shards {
            let (opened, closed) = shard.tunnels();
            tunnels.opened += opened;
            for (by, count) in closed {
                *tunnels.closed.entry(by).or_default() += count;
            }
        }
        all.push(tunnels);
    }

    let mut samples = text.family(table::TUNNELS_OPEN);
    for tunnels in &all {
        let open = tunnels.opened.saturating_sub(tunnels.closed.values().sum());
        samples.int(&[tunnels.upstream, tunnels.instance], open);
    }
    let mut samples = text.family(table::TUNNELS_OPENED);
    for tunnels in &all {
        samples.int(&[tunnels.upstream, tunnels.instance], tunnels.opened);
    }
    let mut samples = text.family(table::TUNNELS_CLOSED);
    for tunnels in &all {
        for ((reason, code), count) in &tunnels.closed {
            samples.int(&[tunnels.upstream, tunnels.instance, reason, code], *count);
        }
    }
    histogram(text, table::TUNNEL_SECONDS, upstreams, TUNNEL_BOUNDS, |shard| &shard.tunnel_seconds);
    let mut samples = text.family(table::TUNNEL_BYTES);
    for (upstream, InstanceView { name: instance, shards, .. }) in instances(upstreams) {
        for direction in Direction::ALL {
            let bytes = sum(shards, |shard| shard.bytes(*direction));
            samples.int(&[upstream, instance, direction.as_str()], bytes);
        }
    }
    let mut samples = text.family(table::TUNNEL_FRAMES);
    for (upstream, InstanceView { name: instance, shards, .. }) in instances(upstreams) {
        for direction in Direction::ALL {
            let frames = sum(shards, |shard| shard.frames(*direction));
            samples.int(&[upstream, instance, direction.as_str()], frames);
        }
    }
}

fn sticky(text: &mut Text, upstreams: &[UpstreamView<'_>]) {
    let mut samples = text.family(table::STICKY_DECISIONS);
    for upstream in upstreams {
        for by in DecisionBy::ALL {
            samples.int(&[&upstream.name, by.as_str()], sum(&upstream.shards, |shard| shard.decisions(*by)));
        }
    }
    let mut samples = text.family(table::STICKY_REBINDS);
    for upstream in upstreams {
        for reason in RebindReason::ALL {
            let count = sum(&upstream.shards, |shard| shard.rebinds(*reason));
            samples.int(&[&upstream.name, reason.as_str()], count);
        }
    }
    let mut samples = text.family(table::STICKY_COOKIES_REJECTED);
    for upstream in upstreams {
        for reason in CookieRejection::ALL {
            let count = sum(&upstream.shards, |shard| shard.cookies_rejected(*reason));
            samples.int(&[&upstream.name, reason.as_str()], count);
        }
    }
}

/// A number of each instance, summed for the upstream.
fn of_instances(upstream: &UpstreamView<'_>, of: fn(&InstanceView<'_>) -> u64) -> u64 {
    upstream.instances.iter().map(of).sum()
}

fn sessions(text: &mut Text, upstreams: &[UpstreamView<'_>]) {
    let mut samples = text.family(table::SIDS);
    for upstream in upstreams {
        samples.int(&[&upstream.name], of_instances(upstream, |instance| instance.sids));
    }
    let mut samples = text.family(table::SIDS_EVICTED);
    for upstream in upstreams {
        samples.int(&[&upstream.name], of_instances(upstream, |instance| instance.sids_evicted));
    }
    let mut samples = text.family(table::SIDS_UNREADABLE);
    for upstream in upstreams {
        samples.int(&[&upstream.name], sum(&upstream.shards, |shard| shard.sids_unreadable.get()));
    }
    let mut samples = text.family(table::UNKNOWN_SESSIONS);
    for upstream in upstreams {
        for by in AnsweredBy::ALL {
            let count = sum(&upstream.shards, |shard| shard.unknown_sessions(*by));
            samples.int(&[&upstream.name, by.as_str()], count);
        }
    }
}

fn handshakes(text: &mut Text, upstreams: &[UpstreamView<'_>]) {
    let mut samples = text.family(table::UPGRADES_QUEUED);
    for (upstream, instance) in instances(upstreams) {
        samples.int(&[upstream, &instance.name], instance.queued);
    }
    let mut samples = text.family(table::UPGRADES_IN_FLIGHT);
    for (upstream, instance) in instances(upstreams) {
        samples.int(&[upstream, &instance.name], instance.in_flight);
    }
    let mut samples = text.family(table::UPGRADES_SHED);
    for (upstream, instance) in instances(upstreams) {
        samples.int(&[upstream, &instance.name], instance.shed);
    }
}

fn health(text: &mut Text, upstreams: &[UpstreamView<'_>]) {
    let mut samples = text.family(table::INSTANCE_UP);
    for (upstream, instance) in instances(upstreams) {
        samples.int(&[upstream, &instance.name], instance.up.into());
    }
    let mut samples = text.family(table::INSTANCE_DEGRADED);
    for (upstream, instance) in instances(upstreams) {
        samples.int(&[upstream, &instance.name], instance.degraded.into());
    }
    let mut samples = text.family(table::INSTANCE_STATE);
    for (upstream, instance) in instances(upstreams) {
        for state in State::ALL {
            let is = u64::from(*state == instance.state);
            samples.int(&[upstream, &instance.name, state.as_str()], is);
        }
    }
    let mut samples = text.family(table::UPSTREAM_PANIC);
    for upstream in upstreams {
        samples.int(&[&upstream.name], upstream.panic.into());
    }
    let mut samples = text.family(table::HEALTH_CHECKS);
    for (upstream, InstanceView { name: instance, checks, .. }) in instances(upstreams) {
        for result in CheckResult::ALL {
            samples.int(&[upstream, instance, result.as_str()], checks.checks(*result));
        }
    }
    let mut samples = text.family(table::HEALTH_CHECK_SECONDS);
    for (upstream, InstanceView { name: instance, checks, .. }) in instances(upstreams) {
        for result in CheckResult::ALL {
            let mut total = HistogramTotal::new(CHECK_BOUNDS);
            checks.seconds(*result).add_to(&mut total);
            if total.count() > 0 {
                samples.histogram(&[upstream, instance, result.as_str()], &total);
            }
        }
    }
}

fn process(text: &mut Text, process: &ProcessView) {
    text.family(table::CONNECTIONS_LIMIT).int(&[], process.connections_limit);
    text.family(table::LOG_LINES_DROPPED).int(&[], process.log_lines_dropped);
    text.family(table::PANICS).int(&[], process.panics);
    text.family(table::PROCESSES).int(&[], process.processes);
    let reloads = process.reloads;
    let mut samples = text.family(table::CONFIG_RELOADS);
    samples.int(&["done"], reloads.done);
    samples.int(&["refused"], reloads.refused);
    text.family(table::CONFIG_LAST_SUCCESSFUL).int(&[], reloads.last_successful.into());
    text.family(table::CONFIG_LAST_TIMESTAMP).int(&[], reloads.last_at);
    text.family(table::BUILD_INFO).int(&[env!("CARGO_PKG_VERSION")], 1);
    let stats = &process.stats;
    if let Some(seconds) = stats.cpu_seconds {
        text.family(table::PROCESS_CPU).float(&[], seconds);
    }
    for (family, value) in [
        (table::PROCESS_OPEN_FDS, stats.open_fds),
        (table::PROCESS_MAX_FDS, stats.max_fds),
        (table::PROCESS_RESIDENT, stats.resident_bytes),
        (table::PROCESS_VIRTUAL, stats.virtual_bytes),
    ] {
        if let Some(value) = value {
            text.family(family).int(&[], value);
        }
    }
    let started = process.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family(table::PROCESS_START).float(&[], started.as_secs_f64());
}

/// Every instance, with the name of its upstream.
fn instances<'v, 'c>(
    upstreams: &'v [UpstreamView<'c>],
) -> impl Iterator<Item = (&'v str, &'v InstanceView<'c>)> {
    let of = |upstream: &'v UpstreamView<'c>| {
        upstream.instances.iter().map(|instance| (upstream.name.as_str(), instance))
    };
    upstreams.iter().flat_map(of)
}

/// A histogram of each upstream.
fn histogram(
    text: &mut Text,
    family: &'static table::Family,
    upstreams: &[UpstreamView<'_>],
    bounds: &'static [f64],
    of: impl Fn(&UpstreamCounters) -> &Histogram,
) {
    let mut samples = text.family(family);
    for upstream in upstreams {
        let mut total = HistogramTotal::new(bounds);
        for shard in &upstream.shards {
            of(shard).add_to(&mut total);
        }
        samples.histogram(&[&upstream.name], &total);
    }
}

/// A counter over all workers.
fn sum<T>(shards: &[&T], of: impl Fn(&T) -> u64) -> u64 {
    shards.iter().map(|shard| of(shard)).sum()
}

/// A gauge over all workers. Never below 0: what begins on one worker and ends on another may be seen in part.
fn level<T>(shards: &[&T], of: impl Fn(&T) -> i64) -> u64 {
    let level: i64 = shards.iter().map(|shard| of(shard)).sum();
    u64::try_from(level).unwrap_or(0)
}
