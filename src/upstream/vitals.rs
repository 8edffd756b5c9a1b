//! What is known of an instance's health, for everybody: written by the supervisor, read by placement; and the way back, by
//! which exchanges say that something is wrong with it. Touched once per exchange at most, and never waited for.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::health::{State, WHOLE};
use crate::observe::metrics::HealthCounters;

/// The health of one instance. It belongs to its identity, not to a generation.
#[derive(Debug)]
pub struct Vitals {
    state: AtomicU8,
    /// Hundredths.
    share: AtomicU8,
    /// It lives, and does not answer.
    silent: AtomicBool,
    /// What was known of it is no longer true.
    forgotten: AtomicBool,
    /// Another process has found what is known of it.
    taken_over: AtomicBool,
    suspected: Notify,
    evidence: Mutex<String>,
    /// Its checks.
    pub counters: HealthCounters,
}

impl Vitals {
    /// Of an instance that nothing is known of.
    pub(super) fn new() -> Self {
        Vitals {
            state: AtomicU8::new(State::Unknown as u8),
            share: AtomicU8::new(WHOLE),
            silent: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            taken_over: AtomicBool::new(false),
            suspected: Notify::new(),
            evidence: Mutex::default(),
            counters: HealthCounters::default(),
        }
    }

    /// What its checks say.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            state if state == State::Up as u8 => State::Up,
            state if state == State::Degraded as u8 => State::Degraded,
            state if state == State::Down as u8 => State::Down,
            _ => State::Unknown,
        }
    }

    /// Its checks pass, or it is not checked, or not yet.
    pub fn passes(&self) -> bool {
        matches!(self.state(), State::Up | State::Unknown)
    }

    /// It is degraded because it does not answer, though it lives: whoever waits for it may wait for long.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Its share of new clients in hundredths, 10 to 100: less than all while it is in its slow start.
    pub fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    /// Why it is what it is, for people; empty: nothing is known.
    pub fn evidence(&self) -> String {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An exchange or a tunnel saw something that a check should look into. It changes nothing else.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// What is known of it is no longer true: it is being replaced. It is checked anew, as one that nothing is known of.
    pub fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        self.publish(State::Unknown, WHOLE);
        self.falls_silent(false);
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.suspected.notify_one();
    }

    /// Whether somebody said so since this was asked last; for the supervisor.
    pub fn was_forgotten(&self) -> bool {
        self.forgotten.swap(false, Ordering::Relaxed)
    }

    /// Waits until somebody suspects something; for the supervisor.
    pub async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// For the supervisor.
    pub fn publish(&self, state: State, share: u8) {
        self.share.store(share, Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// For the supervisor: whether it is silent; whether that has just begun.
    pub fn falls_silent(&self, silent: bool) -> bool {
        !self.silent.swap(silent, Ordering::Relaxed) && silent
    }

    /// What another process has found, before anybody checks.
    pub fn take_over(&self, state: State, share: u8, evidence: String) {
        self.publish(state, share);
        *self.evidence.lock().unwrap_or_else(PoisonError::into_inner) = evidence;
        self.taken_over.store(true, Ordering::Relaxed);
    }

    /// Whether somebody said so since this was asked last; for the supervisor.
    pub fn was_taken_over(&self) -> bool {
        self.taken_over.swap(false, Ordering::Relaxed)
    }

    /// For the supervisor: why it is what it is, since `epoch_seconds`.
    pub fn explain(&self, evidence: &str, epoch_seconds: u64) {
        let (hours, minutes) = (epoch_seconds / 3600 % 24, epoch_seconds / 60 % 60);
        let text = format!("{evidence}, {hours:02}:{minutes:02}:{:02} UTC", epoch_seconds % 60);
        *self.evidence.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_read() {
        let vitals = Vitals::new();
        assert_eq!((vitals.state(), vitals.share()), (State::Unknown, 100));
        for state in [State::Up, State::Degraded, State::Down, State::Unknown] {
            vitals.publish(state, 42);
            assert_eq!((vitals.state(), vitals.share()), (state, 42));
        }
        assert_eq!(
            [true, true, false, true].map(|silent| vitals.falls_silent(silent)),
            [true, false, false, true]
        );
        vitals.explain("3 checks failed: connection refused", 1_795_521_784);
        assert_eq!(vitals.evidence(), "3 checks failed: connection refused, 12:03:04 UTC");
        vitals.publish(State::Up, 42);
        vitals.forget();
        assert_eq!((vitals.state(), vitals.share(), vitals.evidence().as_str()), (State::Unknown, 100, ""));
        assert!(!vitals.is_silent());
        assert_eq!([vitals.was_forgotten(), vitals.was_forgotten()], [true, false]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn many_suspicions_are_one() {
        let vitals = Vitals::new();
        vitals.suspect();
        vitals.suspect();
        vitals.suspected().await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(10), vitals.suspected()).await;
        assert!(again.is_err(), "the second one was answered with the first");
    }
}
