//! A process that another one took over from: it keeps what it has open, and ends when that has. And those processes as the one that
//! serves sees them.

use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use super::ask::{Question, ask};
use super::estate::open;
use super::wire::Elder;
use crate::config::model::Upgrade;
use crate::control::admin::api::Farewell;
use crate::control::publisher::Publisher;
use crate::http::Door;
use crate::local::clock::{self, Moment};
use crate::observe::metrics::sum;
use crate::tunnel::{Order, Reason};
use crate::worker::{Closing, Command, Orders, Which};

/// How often a process that lingers looks whether it is empty.
const LOOK: Duration = Duration::from_millis(100);

/// For an answer of a process that lingers. It is for a scrape, and that has others to ask.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a process that lingers has said counts for so long.
const FRESH: Duration = Duration::from_secs(1);

/// Whether this process lingers, and since when.
#[derive(Debug, Default)]
pub(in crate::control) struct Lingering {
    begun: OnceLock<Begun>,
    over: Notify,
    is_over: AtomicBool,
}

/// It does.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Begun {
    /// Seconds since the epoch.
    pub(in crate::control) since: u64,
    pub(in crate::control) at: Moment,
    /// The process that took over.
    pub(in crate::control) to: u32,
}

impl Lingering {
    pub(in crate::control) fn begun(&self) -> Option<&Begun> {
        self.begun.get()
    }

    /// There is nothing left to linger for.
    pub(in crate::control) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits until there is nothing left to linger for.
    pub(in crate::control) async fn over(&self) {
        self.over.notified().await;
    }

    /// Begins, and has a thread see to its end. `heir`: the process that took over.
    pub(in crate::control) fn begin(
        self: &Arc<Self>,
        heir: Child,
        publisher: Arc<Publisher>,
        orders: Orders,
        doors: Vec<Arc<Door>>,
    ) {
        let begun = Begun { since: clock::epoch_seconds(), at: clock::now(), to: heir.id() };
        if self.begun.set(begun).is_err() {
            return;
        }
        let lingering = self.clone();
        let linger = move || lingering.linger(begun, heir, &publisher, &orders, &doors);
        if let Err(error) = thread::Builder::new().name("linger".to_owned()).spawn(linger) {
            tracing::error!(%error, "this process lingers, and will not end by itself");
        }
    }

    fn linger(
        &self,
        begun: Begun,
        mut heir: Child,
        publisher: &Publisher,
        orders: &Orders,
        doors: &[Arc<Door>],
    ) {
        let mut closing = false;
        loop {
            thread::sleep(LOOK);
            // Should it end while this one is there: nobody else would ask how.
            let _ = heir.try_wait();
            let Upgrade { linger, spread } = publisher.current().config.upgrade;
            let lingers = clock::now().since(begun.at);
            let open = open(doors);
            if open == 0 || lingers >= linger {
                tracing::info!(open, "this process has lingered to its end");
                self.is_over.store(true, Ordering::Relaxed);
                self.over.notify_one();
                return;
            }
            if !closing && lingers >= linger.saturating_sub(spread) {
                closing = true;
                let over = linger.saturating_sub(lingers);
                tracing::info!(open, ?over, "this process closes what it has lingered for");
                orders.send_blocking(Command::Close(Closing {
                    instance: None,
                    which: Which::Waiting,
                    order: Order::of(Reason::Upgraded),
                    over,
                }));
            }
        }
    }
}

/// Tells the process that serves, at this admin socket, what this one has counted: sums go on when it has ended.
pub(in crate::control) fn say_farewell(serves: &Path, metrics: String) {
    let farewell = Farewell { pid: std::process::id(), metrics };
    let body = serde_json::to_vec(&farewell).unwrap_or_default();
    let question = Question { method: "POST", path: "/v1/farewell", body: &body, within: 4 * PATIENCE };
    if let Err(error) = ask(serves, question) {
        tracing::warn!(%error, "what this process has counted is lost");
    }
}

/// The processes that linger, as the one sees them that serves; and what those counted that have ended.
#[derive(Debug, Default)]
pub(in crate::control) struct Elders {
    those: Mutex<Vec<Elder>>,
    scraped: Mutex<Scraped>,
}

#[derive(Debug, Default)]
struct Scraped {
    /// Totals of those that have ended.
    departed: Option<String>,
    /// What those said that linger, and when.
    present: Vec<String>,
    at: Option<Moment>,
}

impl Elders {
    pub(in crate::control) fn of(those: Vec<Elder>) -> Self {
        Elders { those: Mutex::new(those), ..Elders::default() }
    }

    /// Those that are there.
    pub(in crate::control) fn all(&self) -> Vec<Elder> {
        let mut those = self.those.lock().unwrap_or_else(PoisonError::into_inner);
        // Each removes its socket when it ends, and a crash leaves one without a process.
        those.retain(|elder| elder.socket.exists() && Path::new(&format!("/proc/{}", elder.pid)).exists());
        those.clone()
    }

    /// One of them ends: this is what it has counted.
    pub(in crate::control) fn departs(&self, pid: u32, metrics: String) {
        self.those.lock().unwrap_or_else(PoisonError::into_inner).retain(|elder| elder.pid != pid);
        let mut scraped = self.scraped();
        scraped.departed = Some(match scraped.departed.take() {
            Some(before) => sum::with(&before, &[], &[&metrics]),
            None => metrics,
        });
        scraped.at = None;
    }

    /// They open their access logs anew.
    pub(in crate::control) fn reopen_logs(&self) {
        let question = Question { method: "POST", path: "/v1/reopen", body: b"{}", within: PATIENCE };
        for Elder { pid, socket } in self.all() {
            if let Err(error) = ask(&socket, question) {
                tracing::warn!(pid, %error, "a process that lingers does not open its access log anew");
            }
        }
    }

    /// The metrics of this process, and of those that have ended.
    pub(in crate::control) fn with_departed(&self, own: String) -> String {
        match &self.scraped().departed {
            Some(departed) => sum::with(&own, &[], &[departed]),
            None => own,
        }
    }

    /// The metrics of all processes, this one's being `own`.
    pub(in crate::control) fn with_all(&self, own: String) -> String {
        let those = self.all();
        if those.is_empty() {
            return self.with_departed(own);
        }
        let now = clock::now();
        if self.scraped().at.is_none_or(|at| now.since(at) >= FRESH) {
            // Not under the lock: one of them may end just now, and say so.
            let question = Question { method: "GET", path: "/v1/metrics", body: &[], within: PATIENCE };
            let present = those.iter().filter_map(|elder| ask(&elder.socket, question).ok());
            let present = present.filter_map(|text| String::from_utf8(text).ok()).collect();
            let mut scraped = self.scraped();
            (scraped.present, scraped.at) = (present, Some(now));
        }
        let scraped = self.scraped();
        let present: Vec<&str> = scraped.present.iter().map(String::as_str).collect();
        let departed: Vec<&str> = scraped.departed.iter().map(String::as_str).collect();
        sum::with(&own, &present, &departed)
    }

    fn scraped(&self) -> MutexGuard<'_, Scraped> {
        self.scraped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
