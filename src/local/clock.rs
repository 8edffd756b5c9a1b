//! The only place that asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A point in time of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The time from `earlier` to this moment; zero when it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment, later by `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment at which so much time has passed since the clock began.
    pub fn at(since_boot: Duration) -> Moment {
        Moment(0).after(since_boot)
    }

    /// The time since the clock began: for what counts in durations and knows no clock.
    pub fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Whole milliseconds of the clock.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// Now, to the nanosecond: for what is measured.
pub fn now() -> Moment {
    read(ClockId::Monotonic)
}

/// Now, to a few milliseconds and at a fifth of the cost: for deadlines.
pub fn coarse() -> Moment {
    read(ClockId::MonotonicCoarse)
}

/// Now, for those who count in [`Instant`]s.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Seconds since the epoch.
pub fn epoch_seconds() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The wall clock: for what people read.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

fn read(clock: ClockId) -> Moment {
    let time = clock_gettime(clock);
    // The monotonic clock starts at boot: neither field is negative.
    Moment(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}
