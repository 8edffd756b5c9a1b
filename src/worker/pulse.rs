//! A thread's sign of life, for the watchdog: a count that one task of it moves on, so it stands still when the thread hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A thread's sign of life.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    ended: AtomicBool,
}

impl Pulse {
    /// The thread goes on.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread has come to its end, as it should.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// How often it has beaten.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// It has come to its end.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
