//! Counters with one writer: a worker adds without a lock or a shared cache line, a scrape sums over the workers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that exactly one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only from the owning worker's thread (a plain load and store, not a locked instruction).
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn one(&self) {
        self.add(1);
    }

    /// The value now, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
