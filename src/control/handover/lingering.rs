//! A process that another one took over from: it keeps what it has open, and ends when that has.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::estate::{Estate, open};
use crate::config::model::Upgrade;
use crate::http::Door;
use crate::local::clock::{self, Moment};
use crate::tunnel::Reason;
use crate::worker::{Command, Orders};

/// How often a process that lingers looks whether it is empty.
const LOOK: Duration = Duration::from_millis(100);

/// How often it tells the one that serves what it carries: once in so many looks.
const TELL: u32 = 10;

/// For the workers, to take an order: one may hang.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether this process lingers, and since when.
#[derive(Debug, Default)]
pub(in crate::control) struct Lingering {
    begun: OnceLock<Begun>,
    begins: Notify,
    is_over: AtomicBool,
}

/// It does.
#[derive(Debug)]
pub(in crate::control) struct Begun {
    /// Seconds since the epoch.
    pub(in crate::control) since: u64,
    pub(in crate::control) at: Moment,
    /// The process that took over.
    pub(in crate::control) to: u32,
    heir: Mutex<Child>,
    estate: Arc<Estate>,
    orders: Orders,
    doors: Vec<Arc<Door>>,
    closes: AtomicBool,
}

impl Lingering {
    pub(in crate::control) fn begun(&self) -> Option<&Begun> {
        self.begun.get()
    }

    /// There is nothing left to linger for.
    pub(in crate::control) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Begins. `heir`: the process that took over.
    pub(in crate::control) fn begin(
        &self,
        heir: Child,
        estate: Arc<Estate>,
        orders: Orders,
        doors: Vec<Arc<Door>>,
    ) {
        let (since, at, to) = (clock::epoch_seconds(), clock::now(), heir.id());
        let (heir, closes) = (Mutex::new(heir), AtomicBool::new(false));
        // Nobody takes over twice.
        let _ = self.begun.set(Begun { since, at, to, heir, estate, orders, doors, closes });
        self.begins.notify_one();
    }

    /// Lingers, once it has begun, until there is nothing left to linger for. Whoever drops this goes on with it by another call. (No thread
    /// of its own: where there is none to be had a process would never end.)
    pub(in crate::control) async fn over(&self) {
        let begun = loop {
            match self.begun.get() {
                Some(begun) => break begun,
                None => self.begins.notified().await,
            }
        };
        for look in 0_u32.. {
            sleep(LOOK).await;
            if look.is_multiple_of(TELL) {
                begun.estate.shared.heir.tell_load();
            }
            if begun.is_over().await {
                break;
            }
        }
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Begun {
    async fn is_over(&self) -> bool {
        // Should it end while this one is there: nobody else would ask how.
        let _ = self.heir.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        let Upgrade { linger, spread } = self.estate.publisher.current().config.upgrade;
        let lingers = clock::now().since(self.at);
        let open = open(&self.doors);
        if open == 0 || lingers >= linger {
            tracing::info!(open, "this process has lingered to its end");
            return true;
        }
        if lingers >= linger.saturating_sub(spread) && !self.closes.swap(true, Ordering::Relaxed) {
            let over = linger.saturating_sub(lingers);
            tracing::info!(open, ?over, "this process closes what it has lingered for");
            let order = Command::SendOff { begins: clock::now(), spread: over, reason: Reason::Upgraded };
            let _ = timeout(PATIENCE, self.orders.send(order)).await;
        }
        false
    }
}
