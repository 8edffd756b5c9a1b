//! `[timeouts]` and `[upstream.NAME.timeouts]`.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::super::model::Timeouts;
use super::super::raw::{Table, duration, off_or};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Anything longer is no time-out; anything shorter than the clock's tick cannot be kept.
const ANY: RangeInclusive<Duration> = MS..=DAY;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const DEFAULTS: Timeouts = Timeouts {
    first_byte: s(10),
    request_head: s(10),
    request_body: s(30),
    tls_handshake: s(10),
    connect: s(3),
    upgrade: s(10),
    response_head: s(60),
    body_idle: s(300),
    send: s(60),
    keep_alive: s(75),
    upstream_idle: s(4),
    tunnel_idle: s(3600),
    half_close: s(30),
    close_wait: s(2),
    unacked: s(60),
    ping: None,
};

/// `[timeouts]` and where its values stand.
pub(super) struct Read {
    pub(super) timeouts: Timeouts,
    pub(super) spans: Spans,
}

/// Where the values are written that are compared with others.
#[derive(Clone, Default)]
pub(super) struct Spans {
    pub(super) response_head: Option<Range<usize>>,
    pub(super) tunnel_idle: Option<Range<usize>>,
    pub(super) upstream_idle: Option<Range<usize>>,
    pub(super) keep_alive: Option<Range<usize>>,
    pub(super) ping: Option<Range<usize>>,
}

impl Spans {
    fn of(table: &Table<'_>) -> Self {
        Self {
            response_head: table.value_span("response_head"),
            tunnel_idle: table.value_span("tunnel_idle"),
            upstream_idle: table.value_span("upstream_idle"),
            keep_alive: table.value_span("keep_alive"),
            ping: table.value_span("ping"),
        }
    }
}

pub(super) fn read(top: &mut Table<'_>) -> Read {
    let mut table = top.table("timeouts");
    let spans = Spans::of(&table);
    // Before a request is routed, and between requests, there is no upstream whose override could count.
    let client = Timeouts {
        first_byte: table.get("first_byte", DEFAULTS.first_byte, duration(ANY)),
        request_head: table.get("request_head", DEFAULTS.request_head, duration(ANY)),
        tls_handshake: table.get("tls_handshake", DEFAULTS.tls_handshake, duration(ANY)),
        keep_alive: table.get("keep_alive", DEFAULTS.keep_alive, duration(ANY)),
        ..DEFAULTS
    };
    let timeouts = of_upstreams(&mut table, &client);
    table.finish();
    Read { timeouts, spans }
}

/// An upstream's overrides of `base`.
pub(super) fn overrides(upstream: &mut Table<'_>, base: &Timeouts) -> Read {
    let mut table = upstream.table("timeouts");
    let spans = Spans::of(&table);
    let timeouts = of_upstreams(&mut table, base);
    table.finish();
    Read { timeouts, spans }
}

fn of_upstreams(table: &mut Table<'_>, base: &Timeouts) -> Timeouts {
    Timeouts {
        first_byte: base.first_byte,
        request_head: base.request_head,
        tls_handshake: base.tls_handshake,
        keep_alive: base.keep_alive,
        request_body: table.get("request_body", base.request_body, duration(ANY)),
        connect: table.get("connect", base.connect, duration(ANY)),
        upgrade: table.get("upgrade", base.upgrade, duration(ANY)),
        response_head: table.get("response_head", base.response_head, duration(ANY)),
        body_idle: table.get("body_idle", base.body_idle, duration(ANY)),
        send: table.get("send", base.send, duration(ANY)),
        upstream_idle: table.get("upstream_idle", base.upstream_idle, duration(ANY)),
        tunnel_idle: table.get("tunnel_idle", base.tunnel_idle, duration(MS..=30 * DAY)),
        half_close: table.get("half_close", base.half_close, duration(ANY)),
        close_wait: table.get("close_wait", base.close_wait, duration(MS..=s(60))),
        unacked: table.get("unacked", base.unacked, duration(ANY)),
        ping: table.get("ping", base.ping, off_or(duration(s(1)..=HOUR))),
    }
}
