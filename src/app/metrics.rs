//! What one instance counts, and its page in the format of Prometheus. The only place that knows names of metrics.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one instance counts; what its bus counts is there.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Sockets of Socket.IO that are connected.
    pub sockets: Gauge,
    /// Sockets that were connected.
    pub sockets_opened: Counter,
    /// Messages that a client did not get, because its queue was full.
    pub deliveries_dropped: Counter,
    /// Handshakes that were refused for want of an identity.
    pub handshakes_refused: Counter,
    /// Events from clients.
    pub events: Counter,
    /// Events that were refused: wrong arguments, or over a limit.
    pub events_refused: Counter,
    /// Requests that were refused for want of a token.
    pub requests_refused: Counter,
    /// Users that this instance announced as online.
    pub users_came: Counter,
    /// Users that this instance announced as offline.
    pub users_went: Counter,
    /// Those of them whose instance had died.
    pub presence_expired: Counter,
    /// Times that presence could not be written.
    pub presence_away: Counter,
    /// Users that left while Redis was away, and were too many to be kept in mind.
    pub presence_forgotten: Counter,
    /// Streams of events that are open.
    pub feed_streams: Gauge,
    /// Long polls that are held.
    pub feed_polls: Gauge,
    /// Events that were given to those who listen.
    pub feed_events: Counter,
    /// Listeners that were ended because they did not read.
    pub feed_slow: Counter,
    /// Times that events were missing, and were read from the store.
    pub feed_gaps: Counter,
    /// Messages on the channel that are no events.
    pub feed_malformed: Counter,
    /// Events that `/notify` was told.
    pub notifications: Counter,
    /// Messages that `/emit` was told.
    pub emitted: Counter,
    /// Deliveries to webhooks that succeeded.
    pub webhooks_delivered: Counter,
    /// Attempts that failed.
    pub webhooks_failed: Counter,
    /// Deliveries that were given up.
    pub webhooks_abandoned: Counter,
    /// Deliveries that found no room, or nowhere to be kept.
    pub webhooks_dropped: Counter,
    /// Messages of other instances that this one did not understand.
    pub adapter_malformed: Counter,
    /// Questions to other instances that not all have answered in time.
    pub adapter_timeouts: Counter,
}

/// Name, kind, help, value.
type Row = (&'static str, &'static str, &'static str, u64);

/// Of tokens, presence, the feed and webhooks.
fn services(metrics: &Metrics) -> Vec<Row> {
    vec![
        (
            "requests_refused_total",
            "counter",
            "requests refused for want of a token",
            metrics.requests_refused.get(),
        ),
        ("users_came_total", "counter", "users announced as online", metrics.users_came.get()),
        ("users_went_total", "counter", "users announced as offline", metrics.users_went.get()),
        (
            "presence_expired_total",
            "counter",
            "users announced as offline whose instance had died",
            metrics.presence_expired.get(),
        ),
        (
            "presence_away_total",
            "counter",
            "times that presence could not be written",
            metrics.presence_away.get(),
        ),
        (
            "presence_forgotten_total",
            "counter",
            "users that left while Redis was away, too many to be kept in mind",
            metrics.presence_forgotten.get(),
        ),
        ("feed_streams", "gauge", "streams of events that are open", metrics.feed_streams.get()),
        ("feed_polls", "gauge", "long polls that are held", metrics.feed_polls.get()),
        ("feed_events_total", "counter", "events given to those who listen", metrics.feed_events.get()),
        ("feed_slow_total", "counter", "listeners ended because they did not read", metrics.feed_slow.get()),
        (
            "feed_gaps_total",
            "counter",
            "times that missing events were read from the store",
            metrics.feed_gaps.get(),
        ),
        (
            "feed_malformed_total",
            "counter",
            "messages on the channel that are no events",
            metrics.feed_malformed.get(),
        ),
        ("notifications_total", "counter", "events that /notify was told", metrics.notifications.get()),
        ("emitted_total", "counter", "messages that /emit was told", metrics.emitted.get()),
        (
            "webhooks_delivered_total",
            "counter",
            "deliveries to webhooks that succeeded",
            metrics.webhooks_delivered.get(),
        ),
        (
            "webhooks_failed_total",
            "counter",
            "attempts to call a webhook that failed",
            metrics.webhooks_failed.get(),
        ),
        (
            "webhooks_abandoned_total",
            "counter",
            "deliveries to webhooks that were given up",
            metrics.webhooks_abandoned.get(),
        ),
        (
            "webhooks_dropped_total",
            "counter",
            "deliveries to webhooks that found no room",
            metrics.webhooks_dropped.get(),
        ),
    ]
}

/// The page `/metrics`.
pub fn page(context: &Context) -> String {
    let metrics = &context.metrics;
    let bus = context.link.bus();
    let counts = bus.counts();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let rows: &[Row] = &[
        ("ready", "gauge", "1 where new clients are welcome", u64::from(context.is_ready())),
        (
            "bus_connected",
            "gauge",
            "1 where messages of other instances arrive",
            u64::from(bus.is_connected()),
        ),
        ("connections", "gauge", "TCP connections that are open", metrics.connections.get()),
        ("sockets", "gauge", "sockets of Socket.IO that are connected", metrics.sockets.get()),
        ("sockets_opened_total", "counter", "sockets that were connected", metrics.sockets_opened.get()),
        (
            "handshakes_refused_total",
            "counter",
            "handshakes refused for want of an identity",
            metrics.handshakes_refused.get(),
        ),
        ("events_total", "counter", "events from clients", metrics.events.get()),
        ("events_refused_total", "counter", "events with wrong arguments", metrics.events_refused.get()),
        (
            "deliveries_dropped_total",
            "counter",
            "messages that found a client's queue full",
            metrics.deliveries_dropped.get(),
        ),
        (
            "adapter_malformed_total",
            "counter",
            "messages of other instances that were not understood",
            metrics.adapter_malformed.get(),
        ),
        (
            "adapter_timeouts_total",
            "counter",
            "questions that not all instances answered in time",
            metrics.adapter_timeouts.get(),
        ),
        ("bus_published_total", "counter", "messages published for other instances", read(&counts.published)),
        ("bus_received_total", "counter", "messages of instances that arrived", read(&counts.received)),
        (
            "bus_dropped_total",
            "counter",
            "messages that found the queue to Redis full",
            read(&counts.dropped),
        ),
        ("bus_lost_total", "counter", "messages under way when the connection broke", read(&counts.lost)),
        (
            "bus_overrun_total",
            "counter",
            "messages that found a subscriber's queue full",
            read(&counts.overrun),
        ),
        ("bus_connections_total", "counter", "times that the connection was made", read(&counts.connections)),
    ];
    let mut page = String::with_capacity(4096);
    for (name, kind, help, value) in rows.iter().chain(&services(metrics)) {
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "# HELP stickyd_app_{name} {help}.\n# TYPE stickyd_app_{name} {kind}\nstickyd_app_{name} {value}\n"
        );
    }
    page
}
