//! Out of a balancer's rotation, and back: `health_path` says 503 while everything is served; once the balancer has had the time to
//! notice, what is open is told to go elsewhere at a pace.
//!
//! It is no stop: the process stays, whoever still comes is served, and nothing of it outlives the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::by::By;
use crate::config::model::Shutdown;
use crate::local::clock::{self, Moment};
use crate::observe::events;
use crate::worker::{Command, Orders};

/// Whether the process has left a balancer's rotation.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    left: Mutex<Option<Left>>,
    /// Held while workers are told, so that they are told in this order; whoever only looks does not wait for it.
    telling: Mutex<()>,
}

/// It has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Seconds since the epoch.
    pub(super) since: u64,
    /// The same.
    began: Moment,
    /// The first is told to go then.
    pub(super) closes: Moment,
    /// Those that are open then have been told so long after.
    pub(super) spread: Duration,
}

impl Rotation {
    /// How the process has left; `None`: it has not.
    pub(super) fn left(&self) -> Option<Left> {
        *self.lock()
    }

    /// Leaves. Who has left has: nothing begins anew.
    pub(super) fn leave(&self, orders: &Orders, how: &Shutdown, by: By) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.left().is_some() {
            return;
        }
        let now = clock::coarse();
        let closes = now.after(how.ready_delay);
        let left = Left { since: clock::epoch_seconds(), began: now, closes, spread: how.spread };
        *self.lock() = Some(left);
        orders.send_blocking(Command::Retire);
        orders.send_blocking(Command::SendOff { begins: closes, spread: how.spread });
        tracing::info!(target: events::RETIRE, %by, ready_delay = ?how.ready_delay, spread = ?how.spread, "retired: health_path says 503");
    }

    /// Returns. Who has not left stays.
    pub(super) fn come_back(&self, orders: &Orders, by: By) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.lock().take();
        if left.is_some() {
            orders.send_blocking(Command::Return);
            tracing::info!(target: events::RETIRE, %by, "in rotation again: health_path says 200");
        }
    }

    /// What is left of this time, in which a balancer is to notice that the process leaves: it may have known for a while.
    pub(super) fn is_left_of(&self, ready_delay: Duration) -> Duration {
        let known = self.left().map_or(Duration::ZERO, |left| clock::coarse().since(left.began));
        ready_delay.saturating_sub(known)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Left>> {
        // Whoever panicked while it was held has left a whole value.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
