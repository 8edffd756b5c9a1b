//! The process that takes over from this one: it is told of sessions that begin here meanwhile, before their clients can ask it, and
//! asked for those that began there, when their clients come here once more.
//!
//! Threads that serve wait for its answers, so they wait for a moment only: once it was late it has a while to come round, in which it
//! is told, and not waited for.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::affinity::sid::table::{Known, SidKey};
use crate::local::clock::{self, Moment};
use crate::upstream::load::Home;
use crate::upstream::{Instance, Upstream};

/// For an answer, and for others who wait for theirs.
const PATIENCE: Duration = Duration::from_millis(50);

/// One that was late is not waited for so long.
const REST: Duration = Duration::from_secs(1);

/// How often a thread looks whether another one has its answer.
const LOOK: Duration = Duration::from_micros(200);

/// Where a session that has begun lives.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    /// Its upstream.
    pub upstream: &'s Upstream,
    /// Its instance.
    pub instance: &'s std::sync::Arc<Instance>,
    /// What the access log shows of its sid.
    pub sid_hash: u64,
}

/// What comes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The answer.
    Is(T),
    /// None has come in time.
    Late,
    /// None will come: nobody is there any more.
    Gone,
}

/// The way to it. All are called on the threads that serve, and have to come back by `until`.
pub trait Successor: Send {
    /// A session has begun here.
    fn hears(&mut self, known: &Known<Place<'_>>, until: Moment) -> Answer<()>;

    /// What it knows of a session that is not known here; `None`: nothing.
    fn knows(&mut self, key: SidKey, until: Moment) -> Answer<Option<Known<Home>>>;

    /// It is told what this process still carries.
    fn loads(&mut self, until: Moment) -> Answer<()>;
}

/// Whoever takes over, if anybody does. Nearly always nobody does: that is one look at a flag for each session that begins.
#[derive(Default)]
pub struct Heir {
    listens: AtomicBool,
    /// It was late: milliseconds of the clock until which it is not waited for.
    rests_until: AtomicU64,
    successor: Mutex<Option<Box<dyn Successor>>>,
}

impl fmt::Debug for Heir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").field("listens", &self.listens).finish_non_exhaustive()
    }
}

impl Heir {
    /// From now on `successor` is told of each session that begins.
    pub fn is(&self, successor: impl Successor + 'static) {
        *self.lock() = Some(Box::new(successor));
        self.rests_until.store(0, Ordering::Relaxed);
        self.listens.store(true, Ordering::SeqCst);
    }

    /// Nobody listens any more.
    pub fn is_gone(&self) {
        self.listens.store(false, Ordering::SeqCst);
        *self.lock() = None;
    }

    /// Whether anybody wants to hear.
    pub fn is_there(&self) -> bool {
        self.listens.load(Ordering::SeqCst)
    }

    /// A session has begun; the client has not heard of it.
    pub fn tell(&self, known: &Known<Place<'_>>) {
        let now = clock::now();
        let until = if self.rests(now) { now } else { now.after(PATIENCE) };
        self.talk(now.after(PATIENCE), |successor| successor.hears(known, until));
    }

    /// What it knows of a session that is not known here.
    pub fn ask(&self, key: SidKey) -> Option<Known<Home>> {
        let now = clock::now();
        if self.rests(now) {
            return None;
        }
        let until = now.after(PATIENCE);
        self.talk(until, |successor| successor.knows(key, until)).flatten()
    }

    /// Once in a while: what this process carries.
    pub fn tell_load(&self) {
        let now = clock::now();
        if self.is_there() && !self.rests(now) {
            let until = now.after(PATIENCE);
            self.talk(until, |successor| successor.loads(until));
        }
    }

    /// Says something when no other thread does, until then at most.
    fn talk<T>(&self, until: Moment, say: impl FnOnce(&mut dyn Successor) -> Answer<T>) -> Option<T> {
        let mut successor = self.lock_until(until)?;
        match say(successor.as_deref_mut()?) {
            Answer::Is(answer) => return Some(answer),
            Answer::Late => {
                let rests_until = clock::now().after(REST).since_boot().as_millis();
                self.rests_until.store(u64::try_from(rests_until).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            Answer::Gone => {
                self.listens.store(false, Ordering::SeqCst);
                *successor = None;
            }
        }
        None
    }

    fn rests(&self, now: Moment) -> bool {
        now.since_boot().as_millis() < u128::from(self.rests_until.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Successor>>> {
        self.successor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_until(&self, until: Moment) -> Option<MutexGuard<'_, Option<Box<dyn Successor>>>> {
        loop {
            match self.successor.try_lock() {
                Ok(successor) => return Some(successor),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if clock::now().since(until) > Duration::ZERO => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        }
    }
}
