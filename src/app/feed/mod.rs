//! The feed: events from the channel `notifications` for users, as a stream (`GET /events`) or by long polls (`GET /poll`).
//!
//! One subscription for each instance; its task gives every event to those whom it is for. An event of the stream names the one
//! before it, so a gap shows (Redis was away, a queue was full), and what is missing is read from the store. A client that comes
//! back says what it had last, on whatever instance, and gets what it missed.
//!
//! Owns who listens on this instance, and their queues, which are bounded: who does not read is ended, and comes back.

pub mod event;
mod http;
mod recent;
pub mod store;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use self::event::{Event, Heard, Id};
use self::recent::Recent;
use self::store::Store;
use super::bus::{Away, Interest};
use super::context::Context;
use super::random;
use super::settings::Settings;
use super::shared::Link;

pub(super) use http::router;

/// Events that wait for one listener. One that reads has none.
const WAITING_MAX: usize = 256;

/// One instance's feed.
pub struct Feed {
    store: Arc<dyn Store>,
    inner: Mutex<Inner>,
    /// Listeners are to go.
    ending: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    recent: Recent,
    listeners: HashMap<u64, Listener>,
    next: u64,
}

struct Listener {
    user: String,
    queue: mpsc::Sender<Arc<Event>>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("listeners", &self.inner().listeners.len()).finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn new(settings: &Settings, link: &Link) -> Arc<Self> {
        Arc::new(Self {
            store: store::of(link, settings.notifications_kept),
            inner: Mutex::default(),
            ending: watch::Sender::new(false),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an event (see [`event::to_send`]) and publishes it.
    ///
    /// # Errors
    /// Redis is away: it was not kept, or nobody knows.
    pub async fn add(&self, text: &str) -> Result<Id, Away> {
        self.store.add(text).await
    }

    /// The id of the newest event.
    async fn newest(&self) -> Result<Id, Away> {
        let known = self.inner().recent.newest();
        match known {
            Some(newest) => Ok(newest),
            None => self.store.newest().await,
        }
    }

    /// What is for `user`: all after `since`, or all from now on.
    fn listen(self: &Arc<Self>, user: &str, since: Option<Id>) -> Listening {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        let mut inner = self.inner();
        // Together with the queue's beginning: nothing comes between the two.
        let ready = since.map(|since| inner.recent.since(since));
        let (behind, ready) = match ready {
            Some(None) => (since, VecDeque::new()),
            Some(Some(events)) => (None, events.into()),
            None => (None, VecDeque::new()),
        };
        let checked = inner.recent.newest();
        let id = inner.next;
        inner.next += 1;
        inner.listeners.insert(id, Listener { user: user.to_owned(), queue: sender });
        drop(inner);
        let last = since.or(checked);
        Listening {
            feed: self.clone(),
            user: user.to_owned(),
            id,
            queue,
            ready,
            behind,
            last,
            checked: checked.max(since),
        }
    }

    /// Gives an event to those whom it is for. How many of them had not read what came before, and are ended.
    fn give(&self, event: &Arc<Event>, is_of_stream: bool) -> u64 {
        let mut inner = self.inner();
        if is_of_stream {
            inner.recent.push(event.clone());
        }
        let before = inner.listeners.len();
        inner.listeners.retain(|_, listener| {
            !event.is_for(&listener.user) || listener.queue.try_send(event.clone()).is_ok()
        });
        (before - inner.listeners.len()) as u64
    }

    /// Ends every listener, each at a moment of its own within the spread; returns when they are gone, or it is over.
    pub(super) async fn end(&self, settings: &Settings) {
        self.ending.send_replace(true);
        let none_left = async {
            while !self.inner().listeners.is_empty() {
                sleep(settings.spread / 50).await;
            }
        };
        let _ = timeout(settings.spread, none_left).await;
    }

    /// Returns when a listener is to go.
    async fn is_over(&self, settings: &Settings) {
        let mut ending = self.ending.subscribe();
        if ending.wait_for(|ending| *ending).await.is_ok() {
            sleep(settings.spread.mul_f64(random::fraction())).await;
        }
    }
}

/// What is for one user. Dropped, nothing is given to it any more.
struct Listening {
    feed: Arc<Feed>,
    user: String,
    id: u64,
    queue: mpsc::Receiver<Arc<Event>>,
    /// Of before it began.
    ready: VecDeque<Arc<Event>>,
    /// What comes after this is still to be read from the store.
    behind: Option<Id>,
    /// The last that it had.
    last: Option<Id>,
    /// Up to here it has everything, once it waits.
    checked: Option<Id>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.feed.inner().listeners.remove(&self.id);
    }
}

impl Listening {
    /// The next event; None when it was ended because it did not read. May be dropped and called again.
    ///
    /// # Errors
    /// What it missed cannot be read, because Redis is away.
    async fn next(&mut self) -> Result<Option<Arc<Event>>, Away> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if self.is_new(&event) {
                    return Ok(Some(event));
                }
            }
            if let Some(behind) = self.behind {
                let page = self.feed.store.since(behind).await?;
                self.ready = page.events.into_iter().map(Arc::new).collect();
                self.behind = page.more;
                continue;
            }
            let Some(event) = self.queue.recv().await else { return Ok(None) };
            self.ready.push_back(event);
        }
    }

    /// The next event, where it is here.
    fn next_at_once(&mut self) -> Option<Arc<Event>> {
        loop {
            let event = match self.ready.pop_front() {
                Some(event) => event,
                // What was read ahead from the store comes before what waits in the queue.
                None if self.behind.is_some() => return None,
                None => self.queue.try_recv().ok()?,
            };
            if self.is_new(&event) {
                return Some(event);
            }
        }
    }

    /// Whether it is for this listener, which has not had it.
    fn is_new(&mut self, event: &Event) -> bool {
        if event.id.is_some() && event.id <= self.last || !event.is_for(&self.user) {
            return false;
        }
        self.last = event.id.or(self.last);
        true
    }
}

/// Begins the task of an instance's feed.
pub(super) fn start(context: &Arc<Context>) {
    context.tasks.spawn("feed", run(context.clone()));
}

async fn run(context: Arc<Context>) {
    let mut heard = context.link.bus().subscribe(vec![Interest::Exact(store::CHANNEL.to_owned())]);
    let mut link = context.link.store().clone();
    // Away: it is done when Redis is there.
    let _ = catch_up(&context).await;
    loop {
        tokio::select! {
            biased;
            () = link.returned() => {
                let _ = catch_up(&context).await;
            }
            message = heard.next() => match message {
                Some(message) => hear(&context, &message.payload).await,
                None => return,
            },
        }
    }
}

/// Something was published.
async fn hear(context: &Context, payload: &[u8]) {
    let Some(Heard { event, after }) = event::heard(payload) else {
        context.metrics.feed_malformed.add_one();
        return;
    };
    let (Some(id), Some(after)) = (event.id, after) else {
        give(context, event);
        return;
    };
    let newest = context.feed.inner().recent.newest();
    match newest {
        // Read before it was heard.
        Some(newest) if id <= newest => {}
        Some(newest) if after == newest => give(context, event),
        None => {
            context.feed.inner().recent.begin(after);
            give(context, event);
        }
        // Something is missing, and this comes after it. Away: the next event shows it again.
        Some(_) => {
            context.metrics.feed_gaps.add_one();
            let _ = catch_up(context).await;
        }
    }
}

/// Reads what was not heard.
async fn catch_up(context: &Context) -> Result<(), Away> {
    let feed = &context.feed;
    let newest = feed.inner().recent.newest();
    let Some(newest) = newest else {
        let newest = feed.store.newest().await?;
        feed.inner().recent.begin(newest);
        return Ok(());
    };
    let mut from = Some(newest);
    while let Some(after) = from {
        let page = feed.store.since(after).await?;
        for event in page.events {
            give(context, event);
        }
        from = page.more;
    }
    Ok(())
}

fn give(context: &Context, event: Event) {
    context.metrics.feed_events.add_one();
    let is_of_stream = event.id.is_some();
    let ended = context.feed.give(&Arc::new(event), is_of_stream);
    context.metrics.feed_slow.add(ended);
}
