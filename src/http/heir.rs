//! The process that takes over from this one: it is told of sessions that begin here meanwhile, before their clients can ask it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::affinity::sid::table::Known;
use crate::upstream::{Instance, Upstream};

/// Where a session that has begun lives.
pub type Place<'s> = (&'s Upstream, &'s Arc<Instance>);

/// Hears of a session; `false`: it wants to hear of no more.
type Hears = dyn FnMut(&Known<Place<'_>>) -> bool + Send;

/// Whoever takes over, if anybody does. Nearly always nobody does: that is one look at a flag for each session that begins.
#[derive(Default)]
pub struct Heir {
    listens: AtomicBool,
    hears: Mutex<Option<Box<Hears>>>,
}

impl fmt::Debug for Heir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").field("listens", &self.listens).finish_non_exhaustive()
    }
}

impl Heir {
    /// From now on `hears` is told of each session that begins, by the thread on which it does: that may wait for a moment.
    pub fn listens(&self, hears: impl FnMut(&Known<Place<'_>>) -> bool + Send + 'static) {
        *self.lock() = Some(Box::new(hears));
        self.listens.store(true, Ordering::SeqCst);
    }

    /// Nobody listens any more.
    pub fn is_gone(&self) {
        self.listens.store(false, Ordering::SeqCst);
        *self.lock() = None;
    }

    /// Whether anybody wants to hear.
    pub(super) fn is_there(&self) -> bool {
        self.listens.load(Ordering::SeqCst)
    }

    /// A session has begun; the client has not heard of it.
    pub(super) fn tell(&self, known: &Known<Place<'_>>) {
        let mut hears = self.lock();
        if !hears.as_mut().is_some_and(|hears| hears(known)) {
            self.listens.store(false, Ordering::SeqCst);
            *hears = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Hears>>> {
        self.hears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
