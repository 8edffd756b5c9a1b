//! Kept connections that wait for their next request: near `limits.max_connections` those that wait longest make room.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use crate::local::clock::{self, Moment};
use crate::local::timer::{Handle, Timer};

/// The connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Idle(RefCell<Slab<State>>);

#[derive(Debug)]
struct State {
    /// Since when it waits; `None`: it is busy, or has not had its first request yet.
    since: Option<Moment>,
    timer: Handle,
}

/// A connection's entry, gone when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    idle: Rc<Idle>,
    key: usize,
}

impl Idle {
    /// Enters a connection that waits on `timer`.
    pub(super) fn enter(self: &Rc<Self>, timer: &Timer) -> Entry {
        let key = self.0.borrow_mut().insert(State { since: None, timer: timer.handle() });
        Entry { idle: self.clone(), key }
    }

    /// Lets the time of up to `count` connections be up, of those that wait longest; how many. Looks at every connection: to
    /// be called for several at once, and only near the limit.
    pub(crate) fn shed(&self, count: usize) -> usize {
        let mut states = self.0.borrow_mut();
        let mut waiting: Vec<_> =
            states.iter().filter_map(|(key, state)| state.since.map(|since| (since, key))).collect();
        let count = count.min(waiting.len());
        if count > 0 && count < waiting.len() {
            waiting.select_nth_unstable(count - 1);
        }
        for (_, key) in &waiting[..count] {
            let state = &mut states[*key];
            state.since = None;
            state.timer.expire();
        }
        count
    }
}

impl Entry {
    /// It waits for its next request from now on.
    pub(super) fn waits(&self) {
        self.idle.0.borrow_mut()[self.key].since = Some(clock::coarse());
    }

    /// A request has begun.
    pub(super) fn is_busy(&self) {
        self.idle.0.borrow_mut()[self.key].since = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.idle.0.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn those_that_wait_make_room_and_busy_ones_stay() {
        let idle = Rc::new(Idle::default());
        let timers: Vec<Timer> = (0..5).map(|_| Timer::new()).collect();
        let entries: Vec<Entry> = timers.iter().map(|timer| idle.enter(timer)).collect();
        let cx = Context::from_waker(Waker::noop());
        let expired = || timers.iter().filter(|timer| timer.poll(&cx).is_ready()).count();
        for entry in &entries {
            entry.waits();
        }
        entries[0].is_busy();
        assert_eq!(idle.shed(3), 3);
        assert_eq!(expired(), 3);
        assert_eq!(idle.shed(3), 1);
        assert_eq!(expired(), 4);
        assert!(timers[0].poll(&cx).is_pending());
        drop(entries);
        assert_eq!(idle.shed(3), 0);
    }
}
