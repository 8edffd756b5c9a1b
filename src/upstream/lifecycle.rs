//! The administrator's axis of an instance's life: what it is wanted to do, by the file or by command, and how far a drain is.
//!
//! It belongs to the instance's identity, so a reload does not touch it unless the file's word on it changed. Written by
//! `control`, read by placement.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::model::InstanceState;

/// What an instance is wanted to do.
#[derive(Debug)]
pub struct Lifecycle {
    state: AtomicU8,
    /// When the first session is to leave, in milliseconds of the clock; [`NEVER`]: no drain runs.
    leaves_from: AtomicU64,
    /// All have been told to leave so many milliseconds later.
    over: AtomicU64,
    /// What is left is cut then, in milliseconds of the clock.
    cut: AtomicU64,
    /// What it carried when that began.
    began_with: AtomicU32,
    /// Of what was open then, and what came later, so many were told to go.
    closed: AtomicU32,
    /// And so many were cut when the time was over.
    cut_off: AtomicU32,
    /// The file no longer names it.
    removed: AtomicBool,
}

const NEVER: u64 = u64::MAX;

/// A drain that runs. Times are since the clock began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emptying {
    /// The first is told to leave.
    pub from: Duration,
    /// All have been told so long after.
    pub over: Duration,
    /// What is left is cut.
    pub cut: Duration,
    /// Tunnels, sessions and handshakes that there were when it began.
    pub began_with: u32,
}

impl Lifecycle {
    /// Of an instance that the file wants to be so.
    pub(super) fn new(state: InstanceState) -> Self {
        Lifecycle {
            state: AtomicU8::new(state as u8),
            leaves_from: AtomicU64::new(NEVER),
            over: AtomicU64::new(0),
            cut: AtomicU64::new(NEVER),
            began_with: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            cut_off: AtomicU32::new(0),
            removed: AtomicBool::new(false),
        }
    }

    /// What it is wanted to do now.
    pub fn state(&self) -> InstanceState {
        match self.state.load(Ordering::Relaxed) {
            state if state == InstanceState::Cordon as u8 => InstanceState::Cordon,
            state if state == InstanceState::Drain as u8 => InstanceState::Drain,
            state if state == InstanceState::Maintain as u8 => InstanceState::Maintain,
            _ => InstanceState::Ready,
        }
    }

    /// It is wanted to do this from now on. A drain that ran is over.
    pub fn wants(&self, state: InstanceState) {
        self.leaves_from.store(NEVER, Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The same, and it is emptied so.
    pub fn empties(&self, state: InstanceState, how: Emptying) {
        self.over.store(millis(how.over), Ordering::Relaxed);
        self.cut.store(millis(how.cut), Ordering::Relaxed);
        self.began_with.store(how.began_with, Ordering::Relaxed);
        self.closed.store(0, Ordering::Relaxed);
        self.cut_off.store(0, Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
        self.leaves_from.store(millis(how.from), Ordering::Relaxed);
    }

    /// It is wanted to do this from now on, and goes on being emptied as it is.
    pub fn still_empties(&self, state: InstanceState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// It was emptied, and the time for that is over: nothing is to begin at it. `now`: asked for only while it is emptied.
    pub fn is_cut(&self, now: impl FnOnce() -> Duration) -> bool {
        self.leaves_from.load(Ordering::Relaxed) != NEVER && millis(now()) >= self.cut.load(Ordering::Relaxed)
    }

    /// How it is emptied; `None`: it is not.
    pub fn emptying(&self) -> Option<Emptying> {
        let from = self.leaves_from.load(Ordering::Relaxed);
        (from != NEVER).then(|| Emptying {
            from: Duration::from_millis(from),
            over: Duration::from_millis(self.over.load(Ordering::Relaxed)),
            cut: Duration::from_millis(self.cut.load(Ordering::Relaxed)),
            began_with: self.began_with.load(Ordering::Relaxed),
        })
    }

    /// So many more of what is open at it were told to go. `cut`: because the time was over.
    pub fn closes(&self, count: usize, cut: bool) {
        let counter = if cut { &self.cut_off } else { &self.closed };
        counter.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many were told to go since it is emptied, and how many were cut when the time was over. (Of a session between two polls
    /// nothing is open.)
    pub fn closed(&self) -> (u32, u32) {
        (self.closed.load(Ordering::Relaxed), self.cut_off.load(Ordering::Relaxed))
    }

    /// The file no longer names it: it is emptied for good. `false` again when it is named again.
    pub fn removed(&self, removed: bool) {
        self.removed.store(removed, Ordering::Relaxed);
    }

    /// Whether the file no longer names it.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// A session must have left: its poll is answered as if it were unknown. Between two polls nothing else can tell its client.
    /// `random`: the session's own number, so that it is the same at each poll.
    pub fn has_dismissed(&self, random: u64, now: Duration) -> bool {
        let from = self.leaves_from.load(Ordering::Relaxed);
        from != NEVER && {
            let (_, moment) = self.over.load(Ordering::Relaxed).carrying_mul(random, 0);
            millis(now) >= from.saturating_add(moment)
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn emptying(from: u64, over: u64) -> Emptying {
        Emptying { from: ms(from), over: ms(over), cut: ms(from + over + 1), began_with: 3 }
    }

    #[test]
    fn what_is_wanted_is_what_is_read() {
        let lifecycle = Lifecycle::new(InstanceState::Ready);
        for state in
            [InstanceState::Cordon, InstanceState::Maintain, InstanceState::Drain, InstanceState::Ready]
        {
            lifecycle.wants(state);
            assert_eq!(lifecycle.state(), state);
            assert!(!lifecycle.has_dismissed(0, ms(1_000_000)), "{state:?}: no drain runs");
        }
    }

    #[test]
    fn sessions_leave_one_after_the_other() {
        let lifecycle = Lifecycle::new(InstanceState::Ready);
        let how = emptying(5000, 1000);
        lifecycle.empties(InstanceState::Drain, how);
        assert_eq!(lifecycle.emptying(), Some(how));
        assert_eq!(lifecycle.state(), InstanceState::Drain);
        let check = |random, now, expected| {
            assert_eq!(lifecycle.has_dismissed(random, ms(now)), expected, "{random} at {now}");
        };
        check(0, 4999, false);
        check(0, 5000, true);
        check(u64::MAX / 2, 5499, true);
        check(u64::MAX / 2, 5498, false);
        check(u64::MAX, 5998, false);
        check(u64::MAX, 6000, true);
        lifecycle.wants(InstanceState::Ready);
        check(0, 9000, false);
        assert_eq!(lifecycle.emptying(), None);
    }

    #[test]
    fn when_the_time_is_over_nothing_is_to_begin() {
        let lifecycle = Lifecycle::new(InstanceState::Drain);
        assert!(!lifecycle.is_cut(|| panic!("it is not emptied")));
        lifecycle.empties(InstanceState::Drain, emptying(5, 2));
        assert_eq!([ms(7), ms(8)].map(|now| lifecycle.is_cut(|| now)), [false, true]);
        lifecycle.still_empties(InstanceState::Maintain);
        assert_eq!(
            (lifecycle.state(), lifecycle.emptying()),
            (InstanceState::Maintain, Some(emptying(5, 2)))
        );
    }

    #[test]
    fn a_drain_without_a_spread_dismisses_all_at_once() {
        let lifecycle = Lifecycle::new(InstanceState::Ready);
        lifecycle.empties(InstanceState::Drain, emptying(7, 0));
        assert!(lifecycle.has_dismissed(u64::MAX, ms(7)) && !lifecycle.has_dismissed(0, ms(6)));
    }
}
