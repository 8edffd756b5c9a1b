//! The process's own log: lines on standard error through `tracing`.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use crate::config::model::Log;

/// Why logging could not begin.
#[derive(Debug)]
pub enum InitError {
    /// `log.level` is no filter; what is wrong with it.
    Level(String),
    /// Somebody set a subscriber before.
    Twice,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(why) => write!(f, "log.level: {why}"),
            Self::Twice => f.write_str("logging was set up before"),
        }
    }
}

impl std::error::Error for InitError {}

/// Sends `tracing` events to standard error as `[log]` says. Call it once, before any thread starts.
///
/// # Errors
/// [`InitError`]
pub fn init(_log: &Log) -> Result<(), InitError> {
    todo!()
}

/// Lets a repeated line through once in a while: the first at once, then at most one in `every`, which says how many
/// were kept back.
#[derive(Debug)]
pub struct Occasionally {
    every: Duration,
    next: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl Occasionally {
    /// One line in `every` at most.
    pub const fn new(every: Duration) -> Self {
        Self { every, next: Cell::new(None), suppressed: Cell::new(0) }
    }

    /// Whether to log now: `Some` with the number of lines kept back since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        if self.next.get().is_some_and(|next| now < next) {
            self.suppressed.set(self.suppressed.get().saturating_add(1));
            return None;
        }
        self.next.set(Some(now + self.every));
        Some(self.suppressed.take())
    }
}
