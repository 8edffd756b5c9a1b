//! The generation in force, and the only place that puts another one in force.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::generation::Generation;
use crate::local::clock;
use crate::observe::metrics::ReloadsView;

use super::watch::Digest;

/// What is in force.
#[derive(Debug)]
pub(super) struct Publisher {
    published: Arc<ArcSwap<Generation>>,
    /// Somebody makes the next one out of this one: others wait.
    making: Mutex<()>,
    /// Somebody decides what becomes of instances, and sees to it: others wait.
    deciding: Mutex<()>,
    changed: Notify,
    /// How reloads went.
    pub(super) reloads: Reloads,
}

/// How reloads went so far.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    done: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Last>,
}

/// The last one.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    /// Seconds since the epoch; until there is one, of the start.
    pub(super) at: u64,
    /// Why not, if it was refused.
    pub(super) refusal: Option<String>,
    /// When what is in force was loaded, likewise.
    pub(super) loaded: u64,
    /// Of the file that it was loaded from; `None`: there is none.
    pub(super) digest: Option<Digest>,
}

impl Reloads {
    /// One is over; an error says why it was refused.
    pub(super) fn note(&self, result: Result<(), String>) {
        let now = clock::epoch_seconds();
        let mut last = self.lock();
        last.at = now;
        match result {
            Ok(()) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                (last.loaded, last.refusal) = (now, None);
            }
            Err(why) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                last.refusal = Some(why);
            }
        }
    }

    /// What is in force came from this content.
    pub(super) fn came_from(&self, digest: Digest) {
        self.lock().digest = Some(digest);
    }

    /// How the last one went.
    pub(super) fn last(&self) -> Last {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        // Whoever panicked while it was held has left a whole value.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the metrics. Until there is one the start counts as the last.
    pub(super) fn view(&self) -> ReloadsView {
        let last = self.lock();
        ReloadsView {
            done: self.done.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            last_successful: last.refusal.is_none(),
            last_at: last.at,
        }
    }
}

impl Publisher {
    pub(super) fn new(published: Arc<ArcSwap<Generation>>) -> Self {
        let now = clock::epoch_seconds();
        let last = Mutex::new(Last { at: now, loaded: now, ..Last::default() });
        Publisher {
            published,
            making: Mutex::new(()),
            deciding: Mutex::new(()),
            changed: Notify::new(),
            reloads: Reloads { last, ..Reloads::default() },
        }
    }

    /// For as long as the result lives, nobody else decides what becomes of instances: a reload and a command would each
    /// see to a part of it.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force now.
    pub(super) fn current(&self) -> Arc<Generation> {
        self.published.load_full()
    }

    /// Puts the next generation in force, made out of the present one; returns the one before, and it.
    ///
    /// # Errors
    /// When it cannot be made: nothing is changed then.
    pub(super) fn follow<E>(
        &self,
        make: impl FnOnce(&Generation) -> Result<Generation, E>,
    ) -> Result<(Arc<Generation>, Arc<Generation>), E> {
        // Whoever panicked while it was held has published nothing.
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let next = Arc::new(make(&before)?);
        self.published.store(next.clone());
        self.changed.notify_one();
        Ok((before, next))
    }

    /// Forgets instances that the file no longer names and that have left.
    pub(super) fn reap(&self) {
        let waits = |generation: &Generation| {
            !generation.leaving.is_empty()
                || generation.upstreams.iter().any(|upstream| !upstream.leaving().is_empty())
        };
        if !waits(&self.current()) {
            return;
        }
        // An error: nobody has left yet.
        let _ = self.follow(|before| {
            let mut changed = false;
            let mut upstreams = before.upstreams.clone();
            for upstream in &mut upstreams {
                if let Some(without) = upstream.without_left() {
                    *upstream = Arc::new(without);
                    changed = true;
                }
            }
            let mut leaving = before.leaving.clone();
            leaving.retain(|upstream| !upstream.is_empty());
            changed |= leaving.len() < before.leaving.len();
            if changed {
                Ok(Generation { config: before.config.clone(), upstreams, leaving })
            } else {
                Err(())
            }
        });
    }

    /// What is in force is looked at anew: something that is no part of it has changed.
    pub(super) fn touch(&self) {
        self.changed.notify_one();
    }

    /// Waits until another generation is in force; for one who waits.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
