//! Where workers count: one set per worker and listener, upstream, instance. Knows no metric's name.

use std::sync::{Mutex, PoisonError};

use super::labels::{
    AnsweredBy, CheckResult, CodeClass, ConnectError, CookieRejection, DecisionBy, Direction, Handshake,
    Kind, Limit, Origin, RebindReason, Refused, close_code,
};
use crate::observe::count::{Count, Gauge, Histogram};

/// Seconds of a request: from 1 ms, because an instance next door answers in one, to past a long-poll.
pub(super) const REQUEST_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of a connect: up to `timeouts.connect` as shipped, with the 1 s at which a lost SYN is sent again.
pub(super) const CONNECT_BOUNDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Seconds from a client's upgrade request to the 101: up to `timeouts.upgrade` as shipped.
pub(super) const UPGRADE_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds of a check: up to ten times `health.timeout` as shipped.
pub(super) const CHECK_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds of a tunnel: 1 s to 3 days.
pub(super) const TUNNEL_BOUNDS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 259_200.0,
];

/// What one worker counts of one instance.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InstanceCounters {
    requests: [[Count; CodeClass::COUNT]; Origin::COUNT],
    requests_open: [Gauge; Kind::COUNT],
    /// Tunnels that began: count one at the 101. How many are open follows from [`InstanceCounters::tunnel_closed`].
    pub tunnels_opened: Count,
    /// Wire bytes from client to instance, counted live.
    pub bytes_up: Count,
    /// Wire bytes from instance to client, counted live.
    pub bytes_down: Count,
    /// WebSocket frames from client to instance, counted live.
    pub frames_up: Count,
    /// WebSocket frames from instance to client, counted live.
    pub frames_down: Count,
    connect_errors: [Count; ConnectError::COUNT],
    /// For the events: the metric is the upstream's.
    rebound: [Count; RebindReason::COUNT],
    /// Locked by the owning worker at each close and by a scrape while it copies: never contended for long.
    closed: Mutex<Closed>,
}

/// Tunnels that ended, by reason and code; a short list, searched from the front.
pub(crate) type Closed = Vec<(ClosedBy, u64)>;

/// Reason and code (the words of [`close_code`]) of tunnels that ended.
pub(crate) type ClosedBy = (&'static str, &'static str);

impl InstanceCounters {
    /// One exchange ended with this status. Every exchange counts once, an upgrade with its 101 too.
    #[inline]
    pub fn request(&self, code: u16, origin: Origin) {
        self.requests[origin as usize][CodeClass::of(code) as usize].one();
    }

    /// Exchanges that are open now: `inc` at the begin, `dec` at the end.
    #[inline]
    pub fn requests_open(&self, kind: Kind) -> &Gauge {
        &self.requests_open[kind as usize]
    }

    /// Exchanges of all kinds that are open: this worker's part of the sum, which may be negative.
    pub fn exchanges_open(&self) -> i64 {
        self.requests_open.iter().map(Gauge::get).sum()
    }

    /// A tunnel ended. `reason` is a row of the table of reasons, `code` the close code that went over the wire first.
    pub fn tunnel_closed(&self, reason: &'static str, code: Option<u16>) {
        let by = (reason, close_code(code));
        // A panic while it was held can only have been one of memory running out: the numbers are still good.
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match closed.iter_mut().find(|(known, _)| *known == by) {
            Some((_, count)) => *count += 1,
            None => closed.push((by, 1)),
        }
    }

    /// A connection could not be made.
    #[inline]
    pub fn connect_error(&self, kind: ConnectError) {
        self.connect_errors[kind as usize].one();
    }

    /// A client that is bound to it was given another one.
    #[inline]
    pub fn rebound(&self, reason: RebindReason) {
        self.rebound[reason as usize].one();
    }

    /// How many clients that are bound to it were given another one for this reason.
    pub fn rebinds(&self, reason: RebindReason) -> u64 {
        self.rebound[reason as usize].get()
    }

    pub(super) fn requests(&self, origin: Origin, class: CodeClass) -> u64 {
        self.requests[origin as usize][class as usize].get()
    }

    pub(super) fn connect_errors(&self, kind: ConnectError) -> u64 {
        self.connect_errors[kind as usize].get()
    }

    pub(super) fn bytes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Up => self.bytes_up.get(),
            Direction::Down => self.bytes_down.get(),
        }
    }

    pub(super) fn frames(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Up => self.frames_up.get(),
            Direction::Down => self.frames_down.get(),
        }
    }

    /// How many tunnels were opened, with those closed by reason.
    ///
    /// The closed ones are read first, and the lock orders the two: each tunnel seen closed is also seen opened, so
    /// that opened - closed is never negative.
    pub(crate) fn tunnels(&self) -> (u64, Closed) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.tunnels_opened.get(), closed)
    }

    /// Tunnels open now.
    pub fn tunnels_open(&self) -> u64 {
        let (opened, closed) = self.tunnels();
        opened.saturating_sub(closed.iter().map(|(_, count)| count).sum())
    }
}

/// What the one thread that checks counts of one instance.
#[derive(Debug)]
pub struct HealthCounters {
    checks: [Count; CheckResult::COUNT],
    seconds: [Histogram; CheckResult::COUNT],
}

impl Default for HealthCounters {
    fn default() -> Self {
        Self { checks: Default::default(), seconds: std::array::from_fn(|_| Histogram::new(CHECK_BOUNDS)) }
    }
}

impl HealthCounters {
    /// A check came to this after so many seconds.
    pub fn check(&self, result: CheckResult, seconds: f64) {
        self.checks[result as usize].one();
        self.seconds[result as usize].observe(seconds);
    }

    pub(super) fn checks(&self, result: CheckResult) -> u64 {
        self.checks[result as usize].get()
    }

    pub(super) fn seconds(&self, result: CheckResult) -> &Histogram {
        &self.seconds[result as usize]
    }
}

/// What one worker counts of one upstream.
#[derive(Debug)]
#[repr(align(128))]
pub struct UpstreamCounters {
    decisions: [Count; DecisionBy::COUNT],
    rebinds: [Count; RebindReason::COUNT],
    cookies_rejected: [Count; CookieRejection::COUNT],
    unknown_sessions: [Count; AnsweredBy::COUNT],
    /// Answers to session starts in which no sid could be read.
    pub sids_unreadable: Count,
    unplaced: [Count; CodeClass::COUNT],
    /// Seconds from the end of a request's head to the end of its answer; without upgrades and streams.
    pub request_seconds: Histogram,
    /// Seconds that a successful connect to an instance took.
    pub connect_seconds: Histogram,
    /// Seconds from the end of an upgrade's head to the instance's 101.
    pub upgrade_seconds: Histogram,
    /// Seconds that a tunnel lived.
    pub tunnel_seconds: Histogram,
}

impl Default for UpstreamCounters {
    fn default() -> Self {
        Self {
            decisions: Default::default(),
            rebinds: Default::default(),
            cookies_rejected: Default::default(),
            unknown_sessions: Default::default(),
            sids_unreadable: Count::default(),
            unplaced: Default::default(),
            request_seconds: Histogram::new(REQUEST_BOUNDS),
            connect_seconds: Histogram::new(CONNECT_BOUNDS),
            upgrade_seconds: Histogram::new(UPGRADE_BOUNDS),
            tunnel_seconds: Histogram::new(TUNNEL_BOUNDS),
        }
    }
}

impl UpstreamCounters {
    /// An instance was chosen.
    #[inline]
    pub fn decision(&self, by: DecisionBy) {
        self.decisions[by as usize].one();
    }

    /// A bound client was given another instance.
    #[inline]
    pub fn rebind(&self, reason: RebindReason) {
        self.rebinds[reason as usize].one();
    }

    /// An affinity cookie was ignored.
    #[inline]
    pub fn cookie_rejected(&self, reason: CookieRejection) {
        self.cookies_rejected[reason as usize].one();
    }

    /// A client was told that its Engine.IO session is not known.
    #[inline]
    pub fn unknown_session(&self, by: AnsweredBy) {
        self.unknown_sessions[by as usize].one();
    }

    /// The proxy itself answered an exchange of this upstream without an instance (503: none is usable).
    #[inline]
    pub fn request_unplaced(&self, code: u16) {
        self.unplaced[CodeClass::of(code) as usize].one();
    }

    /// How often an instance was chosen so.
    pub fn decisions(&self, by: DecisionBy) -> u64 {
        self.decisions[by as usize].get()
    }

    /// How many bound clients were given another instance for this reason.
    pub fn rebinds(&self, reason: RebindReason) -> u64 {
        self.rebinds[reason as usize].get()
    }

    pub(super) fn cookies_rejected(&self, reason: CookieRejection) -> u64 {
        self.cookies_rejected[reason as usize].get()
    }

    pub(super) fn unknown_sessions(&self, by: AnsweredBy) -> u64 {
        self.unknown_sessions[by as usize].get()
    }

    pub(super) fn requests_unplaced(&self, class: CodeClass) -> u64 {
        self.unplaced[class as usize].get()
    }
}

/// What one worker counts of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCounters {
    /// Accepted client connections.
    pub connections: Count,
    /// Client connections open now; a tunnel's too.
    pub connections_open: Gauge,
    refused: [Count; Refused::COUNT],
    limit_hits: [Count; Limit::COUNT],
    handshakes: [Count; Handshake::COUNT],
    unrouted: [Count; CodeClass::COUNT],
}

impl ListenerCounters {
    /// A client was turned away.
    #[inline]
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].one();
    }

    /// A limit was reached.
    #[inline]
    pub fn limit_hit(&self, limit: Limit) {
        self.limit_hits[limit as usize].one();
    }

    /// A TLS handshake came to its end.
    #[inline]
    pub fn handshake(&self, result: Handshake) {
        self.handshakes[result as usize].one();
    }

    pub(super) fn handshakes(&self, result: Handshake) -> u64 {
        self.handshakes[result as usize].get()
    }

    /// The proxy itself answered an exchange that had no route: refused, no match. (`health_path` is not counted.)
    #[inline]
    pub fn request_unrouted(&self, code: u16) {
        self.unrouted[CodeClass::of(code) as usize].one();
    }

    pub(super) fn refusals(&self, reason: Refused) -> u64 {
        self.refused[reason as usize].get()
    }

    pub(super) fn limit_hits(&self, limit: Limit) -> u64 {
        self.limit_hits[limit as usize].get()
    }

    pub(super) fn requests_unrouted(&self, class: CodeClass) -> u64 {
        self.unrouted[class as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_side_by_side_share_no_cache_line() {
        fn check<T>() {
            assert_eq!((align_of::<T>(), size_of::<T>() % 128), (128, 0));
        }
        check::<InstanceCounters>();
        check::<UpstreamCounters>();
        check::<ListenerCounters>();
    }

    #[test]
    fn opened_is_open_and_closed() {
        let counters = InstanceCounters::default();
        for _ in 0..5 {
            counters.tunnels_opened.one();
        }
        counters.tunnel_closed("client_closed", Some(1000));
        counters.tunnel_closed("client_closed", Some(1000));
        counters.tunnel_closed("client_closed", Some(4001));
        counters.tunnel_closed("idle", None);
        assert_eq!(counters.tunnels_open(), 1);
        let (opened, closed) = counters.tunnels();
        assert_eq!(opened, 5);
        assert_eq!(
            closed,
            [(("client_closed", "1000"), 2), (("client_closed", "4xxx"), 1), (("idle", "none"), 1)]
        );
    }
}
