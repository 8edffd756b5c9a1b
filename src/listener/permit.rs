//! `limits.max_connections`: every client connection holds a permit, also after it became a tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The process's client connections.
#[derive(Debug)]
pub struct Permits {
    limit: usize,
    taken: AtomicUsize,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

impl Permits {
    /// At most `limit` at a time.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Permits { limit, taken: AtomicUsize::new(0) })
    }

    /// The most there can be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// So few are left that room should be made: a fiftieth.
    pub fn is_nearly_out(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.limit - (self.limit / 50).min(self.limit - 1)
    }

    /// One more, if there may be.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        // Counted first: two workers cannot both take the last one.
        let permit = Permit(self.clone());
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_permits_come_back() {
        let permits = Permits::new(2);
        let first = permits.take().unwrap();
        let _second = permits.take().unwrap();
        assert!(permits.take().is_none());
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }
}
