//! Who subscribed to what: one table for each connection, and for each process that is its own bus.
//!
//! Owns the queues of subscriptions, which are bounded by messages and by bytes. Must not: know where messages come from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Counts, Interest};

/// Messages that wait for one subscription at most: a burst of others, while the instance is busy with something else.
const WAITING_MAX: usize = 16_384;

/// Their bytes at most.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel's name.
    pub channel: Arc<str>,
    /// What was said on it.
    pub payload: Bytes,
}

/// Messages of some channels, in the order in which they were published. Dropped, it ends.
pub struct Subscription {
    queue: mpsc::Receiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    /// How often the table of interests has been made known, and what is enough for this one.
    known: watch::Receiver<u64>,
    enough: u64,
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    /// The next message. None when the bus has ended.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.queue.recv().await?;
        self.waiting_bytes.fetch_sub(message.payload.len(), Ordering::Relaxed);
        Some(message)
    }

    /// Returns when nothing that is published from now on is missed: at once in this process, with Redis when it has
    /// confirmed. That is never while Redis is away, so give it a deadline.
    pub async fn is_active(&mut self) {
        let enough = self.enough;
        // An error: the bus has ended, and nothing will come.
        let _ = self.known.wait_for(|known| *known >= enough).await;
    }

    pub(super) fn new(listener: Listening, known: watch::Receiver<u64>, enough: u64) -> Self {
        Self { queue: listener.queue, waiting_bytes: listener.waiting_bytes, known, enough, release: None }
    }

    pub(super) fn on_drop(mut self, release: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.release = Some(Box::new(release));
        self
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

/// The receiving end of a subscription's queue.
pub(super) struct Listening {
    /// What takes it out of the table again.
    pub(super) id: u64,
    queue: mpsc::Receiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The sending end.
struct Listener {
    id: u64,
    /// Whose it is: how many different ones there are is how many have subscribed.
    owner: u64,
    queue: mpsc::Sender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

impl Listener {
    fn offer(&self, message: &Message) {
        let waiting = self.waiting_bytes.load(Ordering::Relaxed);
        let fits = waiting + message.payload.len() <= WAITING_BYTES_MAX;
        self.waiting_bytes.fetch_add(message.payload.len(), Ordering::Relaxed);
        if fits && self.queue.try_send(message.clone()).is_ok() {
            Counts::add(&self.counts.received, 1);
        } else {
            self.waiting_bytes.fetch_sub(message.payload.len(), Ordering::Relaxed);
            Counts::add(&self.counts.overrun, 1);
        }
    }
}

/// Who subscribed to what.
#[derive(Default)]
pub(super) struct Registry {
    listeners: HashMap<Interest, Vec<Listener>>,
    next: u64,
}

impl Registry {
    /// Adds a subscription, and says which interests are new.
    pub(super) fn add(
        &mut self,
        interests: &[Interest],
        owner: u64,
        counts: &Arc<Counts>,
    ) -> (Listening, Vec<Interest>) {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let id = self.next;
        self.next += 1;
        let mut new = Vec::new();
        for interest in interests {
            let listener = Listener {
                id,
                owner,
                queue: sender.clone(),
                waiting_bytes: waiting_bytes.clone(),
                counts: counts.clone(),
            };
            match self.listeners.entry(interest.clone()) {
                Entry::Occupied(entry) => entry.into_mut().push(listener),
                Entry::Vacant(entry) => {
                    new.push(interest.clone());
                    entry.insert(vec![listener]);
                }
            }
        }
        (Listening { id, queue, waiting_bytes }, new)
    }

    /// Takes a subscription out, and says which interests nobody has any more.
    pub(super) fn remove(&mut self, id: u64, interests: &[Interest]) -> Vec<Interest> {
        let mut gone = Vec::new();
        for interest in interests {
            if let Entry::Occupied(mut entry) = self.listeners.entry(interest.clone()) {
                entry.get_mut().retain(|listener| listener.id != id);
                if entry.get().is_empty() {
                    entry.remove();
                    gone.push(interest.clone());
                }
            }
        }
        gone
    }

    /// All interests that somebody has.
    pub(super) fn interests(&self) -> Vec<Interest> {
        self.listeners.keys().cloned().collect()
    }

    /// Whether somebody has it.
    pub(super) fn has(&self, interest: &Interest) -> bool {
        self.listeners.contains_key(interest)
    }

    /// Gives a message to who has exactly this interest.
    pub(super) fn offer(&self, interest: &Interest, message: &Message) {
        for listener in self.listeners.get(interest).into_iter().flatten() {
            listener.offer(message);
        }
    }

    /// Gives a message to everybody whom its channel interests.
    pub(super) fn offer_all(&self, message: &Message) {
        for (interest, listeners) in &self.listeners {
            let matches = match interest {
                Interest::Exact(name) => **name == *message.channel,
                Interest::Prefix(prefix) => message.channel.starts_with(&**prefix),
            };
            if matches {
                for listener in listeners {
                    listener.offer(message);
                }
            }
        }
    }

    /// How many owners have subscribed to the channel of exactly this name.
    pub(super) fn owners(&self, channel: &str) -> u64 {
        let listeners = self.listeners.get(&Interest::Exact(channel.to_owned()));
        let mut owners: Vec<u64> = listeners.into_iter().flatten().map(|listener| listener.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.len() as u64
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("interests", &self.listeners.len()).finish_non_exhaustive()
    }
}
