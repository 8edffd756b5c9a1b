//! The generation in force, and the only place that puts another one in force.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::generation::Generation;
use crate::local::clock;
use crate::observe::metrics::ReloadsView;

/// What is in force.
#[derive(Debug)]
pub(super) struct Publisher {
    published: Arc<ArcSwap<Generation>>,
    /// Somebody makes the next one out of this one: others wait.
    making: Mutex<()>,
    changed: Notify,
    /// How reloads went.
    pub(super) reloads: Reloads,
}

/// How reloads went so far.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    done: AtomicU64,
    refused: AtomicU64,
    last_refused: AtomicBool,
    last_at: AtomicU64,
}

impl Reloads {
    /// One is over.
    pub(super) fn note(&self, done: bool) {
        if done { &self.done } else { &self.refused }.fetch_add(1, Ordering::Relaxed);
        self.last_refused.store(!done, Ordering::Relaxed);
        self.last_at.store(clock::epoch_seconds(), Ordering::Relaxed);
    }

    /// For the metrics. Until there is one the start counts as the last.
    pub(super) fn view(&self) -> ReloadsView {
        ReloadsView {
            done: self.done.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            last_successful: !self.last_refused.load(Ordering::Relaxed),
            last_at: self.last_at.load(Ordering::Relaxed),
        }
    }
}

impl Publisher {
    pub(super) fn new(published: Arc<ArcSwap<Generation>>) -> Self {
        Publisher {
            published,
            making: Mutex::new(()),
            changed: Notify::new(),
            reloads: Reloads { last_at: clock::epoch_seconds().into(), ..Reloads::default() },
        }
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
