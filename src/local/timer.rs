//! One coarse wheel of deadlines per worker instead of a timer per task.
//!
//! A deadline that moves later, as nearly all do (every byte moves an idle time-out), costs one store: the wheel looks at
//! it again when the old slot comes up. Slots are coarse (an 8th of a second for seconds, a second for longer ones), so
//! thousands of idle tasks share few wake-ups. A deadline is never early, and late by at most its slot.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::clock::{self, Moment};

thread_local! {
    static WHEEL: RefCell<Wheel> = const { RefCell::new(Wheel::new()) };
}

/// A task's deadline. At most one task waits on a timer.
#[derive(Debug)]
pub struct Timer(u32);

impl Timer {
    /// A timer that is off.
    pub fn new() -> Self {
        WHEEL.with_borrow_mut(|wheel| Timer(wheel.add()))
    }

    /// Moves the deadline to `duration` from now.
    pub fn set(&self, duration: Duration) {
        let now = clock::coarse();
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, now.after(duration).millis() + 1, now.millis()));
    }

    /// Moves the deadline to `moment` of the coarse clock.
    pub fn set_at(&self, moment: Moment) {
        let now = clock::coarse().millis();
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, moment.millis() + 1, now));
    }

    /// For somebody else who may let this timer's time be up.
    pub fn handle(&self) -> Handle {
        Handle(self.0)
    }

    /// No deadline until the next [`Timer::set`].
    pub fn clear(&self) {
        WHEEL.with_borrow_mut(|wheel| wheel.clear(self.0));
    }

    /// Ready when the deadline has passed (until it is set anew); otherwise the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|wheel| wheel.poll(self.0, cx))
    }
}

/// A reference to a [`Timer`], good for as long as that lives.
#[derive(Clone, Copy, Debug)]
pub struct Handle(u32);

impl Handle {
    /// The timer's time is up, now.
    pub fn expire(self) {
        WHEEL.with_borrow_mut(|wheel| wheel.expire(self.0));
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // At the end of a thread the wheel may be gone already.
        let _ = WHEEL.try_with(|wheel| wheel.borrow_mut().entries.remove(self.0 as usize));
    }
}

/// Drives this thread's timers; one such task per worker, polled for as long as the worker lives.
pub async fn drive() {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed = None;
    poll_fn(|cx| {
        loop {
            let next = WHEEL.with_borrow_mut(|wheel| {
                wheel.fire(clock::coarse().millis());
                wheel.driver = Some(cx.waker().clone());
                wheel.next()
            });
            let Some(next) = next else { return Poll::<()>::Pending };
            if armed != Some(next) {
                armed = Some(next);
                let wait = Duration::from_millis(next.saturating_sub(clock::coarse().millis()));
                sleep.as_mut().reset(tokio::time::Instant::now() + wait);
            }
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => armed = None,
            }
        }
    })
    .await;
}

/// No slot: the entry is in no list of the wheel.
const NO_SLOT: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    /// Milliseconds; [`NO_SLOT`] = off.
    deadline: u64,
    /// The slot whose list holds this entry; a list may also hold it stale, which this tells.
    slot: u64,
    fired: bool,
    waker: Option<Waker>,
}

/// The slot of a deadline: the coarser the farther.
fn slot_of(deadline: u64, now: u64) -> u64 {
    let grain = match deadline.saturating_sub(now) {
        0..1_000 => 8,
        1_000..10_000 => 128,
        _ => 1_024,
    };
    deadline.next_multiple_of(grain)
}

#[derive(Debug)]
struct Wheel {
    entries: Slab<Entry>,
    slots: BTreeMap<u64, Vec<u32>>,
    driver: Option<Waker>,
}

impl Wheel {
    const fn new() -> Self {
        Wheel { entries: Slab::new(), slots: BTreeMap::new(), driver: None }
    }

    fn add(&mut self) -> u32 {
        let key = self.entries.insert(Entry { deadline: NO_SLOT, slot: NO_SLOT, fired: false, waker: None });
        u32::try_from(key).expect("timers are bounded by open files")
    }

    fn set(&mut self, key: u32, deadline: u64, now: u64) {
        let entry = &mut self.entries[key as usize];
        entry.deadline = deadline;
        entry.fired = false;
        if slot_of(deadline, now) < entry.slot {
            self.enlist(key, deadline, now);
        }
    }

    fn clear(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        entry.deadline = NO_SLOT;
        entry.fired = false;
    }

    fn expire(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(key as usize) {
            entry.fired = true;
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    fn poll(&mut self, key: u32, cx: &Context<'_>) -> Poll<()> {
        let entry = &mut self.entries[key as usize];
        if entry.fired {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn enlist(&mut self, key: u32, deadline: u64, now: u64) {
        let slot = slot_of(deadline, now);
        let first = self.next().is_none_or(|next| slot < next);
        self.entries[key as usize].slot = slot;
        self.slots.entry(slot).or_default().push(key);
        if first && let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    fn next(&self) -> Option<u64> {
        self.slots.first_key_value().map(|(slot, _)| *slot)
    }

    /// Wakes whoever's deadline has passed, and puts off whoever's has moved.
    fn fire(&mut self, now: u64) {
        while let Some(entry) = self.slots.first_entry()
            && *entry.key() <= now
        {
            let (slot, keys) = entry.remove_entry();
            for key in keys {
                self.fire_one(key, slot, now);
            }
        }
    }

    fn fire_one(&mut self, key: u32, slot: u64, now: u64) {
        let Some(entry) = self.entries.get_mut(key as usize) else { return };
        if entry.slot != slot {
            return;
        }
        entry.slot = NO_SLOT;
        if entry.deadline == NO_SLOT {
            return;
        }
        if entry.deadline > now {
            let deadline = entry.deadline;
            return self.enlist(key, deadline, now);
        }
        entry.fired = true;
        if let Some(waker) = &entry.waker {
            waker.wake_by_ref();
        }
    }
}

/// What `future` comes to, or `None` when that takes longer than `duration`.
pub async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    let timer = Timer::new();
    timer.set(duration);
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Sleeps until `moment` of the coarse clock; not at all when that has passed.
pub async fn sleep_until(moment: Moment) {
    if moment > clock::coarse() {
        let timer = Timer::new();
        timer.set_at(moment);
        poll_fn(|cx| timer.poll(cx)).await;
    }
}

/// Sleeps for `duration` on this worker's wheel.
pub async fn sleep(duration: Duration) {
    let timer = Timer::new();
    timer.set(duration);
    poll_fn(|cx| timer.poll(cx)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a timer set to `deadline` at time 0, moved to `moved` at time 1, at each of `looks`: who fired when.
    fn check(deadline: u64, moved: Option<u64>, looks: &[(u64, bool)]) {
        let mut wheel = Wheel::new();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let cx = Context::from_waker(&waker);
        let key = wheel.add();
        wheel.set(key, deadline, 0);
        if let Some(moved) = moved {
            wheel.set(key, moved, 1);
        }
        assert!(wheel.poll(key, &cx).is_pending());
        for &(now, fired) in looks {
            wheel.fire(now);
            assert_eq!(wheel.poll(key, &cx).is_ready(), fired, "at {now}");
            assert_eq!(wakes.0.load(Ordering::Relaxed) > 0, fired, "woken at {now}");
        }
    }

    #[test]
    fn fires_after_its_deadline_and_within_its_slot() {
        check(100, None, &[(99, false), (100, false), (104, true)]);
        check(5_000, None, &[(5_000, false), (5_120, true)]);
        check(60_000, None, &[(60_000, false), (61_024, true)]);
    }

    #[test]
    fn a_deadline_moved_later_is_put_off() {
        check(100, Some(300), &[(104, false), (299, false), (304, true)]);
    }

    #[test]
    fn a_deadline_moved_earlier_fires_early() {
        check(60_000, Some(100), &[(99, false), (104, true)]);
    }

    #[test]
    fn a_dropped_timer_leaves_nothing_behind() {
        let mut wheel = Wheel::new();
        let key = wheel.add();
        wheel.set(key, 100, 0);
        wheel.entries.remove(key as usize);
        wheel.fire(1_000);
        assert!(wheel.slots.is_empty() && wheel.entries.is_empty());
    }

    #[test]
    fn a_key_used_again_does_not_inherit_the_old_slot() {
        let mut wheel = Wheel::new();
        let old = wheel.add();
        wheel.set(old, 100, 0);
        wheel.entries.remove(old as usize);
        let new = wheel.add();
        wheel.set(new, 5_000, 0);
        wheel.fire(1_000);
        assert!(!wheel.entries[new as usize].fired);
        wheel.fire(6_000);
        assert!(wheel.entries[new as usize].fired);
    }

    fn entries(wheel: &Wheel) -> usize {
        wheel.slots.values().map(Vec::len).sum()
    }

    #[test]
    fn a_timer_that_is_set_again_and_again_is_listed_once() {
        for patience in [500, 5_000, 300_000] {
            let mut wheel = Wheel::new();
            let key = wheel.add();
            // Ten times a millisecond, as a busy body does, for several slots of every grain.
            for tick in 0..30_000 {
                let now = tick / 10;
                wheel.fire(now);
                wheel.set(key, now + patience, now);
                assert_eq!(entries(&wheel), 1, "{patience} ms, set at {now}");
            }
            // And once the first slot has come and the entry was put off.
            for now in (3_000..2 * patience + 5_000).step_by(100) {
                wheel.fire(now);
                wheel.set(key, now + patience, now);
                assert_eq!(entries(&wheel), 1, "{patience} ms, set at {now}");
            }
        }
    }
}
