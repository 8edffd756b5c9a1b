//! The process that takes over from this one: it is told of sessions that begin here meanwhile, before their clients can ask it, and
//! asked for those that began there, when their clients come here once more.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::affinity::sid::table::{Known, SidKey};
use crate::upstream::load::Home;
use crate::upstream::{Instance, Upstream};

/// Where a session that has begun lives.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    /// Its upstream.
    pub upstream: &'s Upstream,
    /// Its instance.
    pub instance: &'s Arc<Instance>,
    /// What the access log shows of its sid.
    pub sid_hash: u64,
}

/// The way to it. Both are called on the threads that serve: they may wait for a moment.
pub trait Successor: Send {
    /// A session has begun here; `false`: it wants to hear of no more.
    fn hears(&mut self, known: &Known<Place<'_>>) -> bool;

    /// What it knows of a session that is not known here; `None`: nothing.
    fn knows(&mut self, key: SidKey) -> Option<Known<Home>>;
}

/// Whoever takes over, if anybody does. Nearly always nobody does: that is one look at a flag for each session that begins.
#[derive(Default)]
pub struct Heir {
    listens: AtomicBool,
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
        let mut successor = self.lock();
        if !successor.as_mut().is_some_and(|successor| successor.hears(known)) {
            self.listens.store(false, Ordering::SeqCst);
            *successor = None;
        }
    }

    /// What it knows of a session that is not known here.
    pub(super) fn ask(&self, key: SidKey) -> Option<Known<Home>> {
        self.lock().as_mut()?.knows(key)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Successor>>> {
        self.successor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
