//! Messages between instances: a channel has a name, and who subscribed to it gets what is published on it, its publisher too.
//!
//! Two implementations: [`memory`] for instances of one process, [`redis`] for whoever shares a Redis. At most once: what
//! cannot be delivered is dropped and counted, never repeated.

pub mod memory;
pub mod redis;
mod registry;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub use registry::{Message, Subscription};

/// A future of a trait that is used as an object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a subscription is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// The channel of this name.
    Exact(String),
    /// All channels whose names begin so.
    Prefix(String),
}

/// Messages between instances.
pub trait Bus: Send + Sync + 'static {
    /// Gives a message away, and does not wait. What finds the queue full is dropped and counted.
    fn publish(&self, channel: String, payload: Bytes);

    /// Messages of all these channels in one queue, until it is dropped. It begins at the latest when
    /// [`Subscription::is_active`] returns; while the bus is away nothing comes, and afterwards it goes on by itself.
    fn subscribe(&self, interests: Vec<Interest>) -> Subscription;

    /// How many instances (anybody, over Redis) have subscribed to the channel of exactly this name.
    fn subscribers<'a>(&'a self, channel: &'a str) -> Pending<'a, Result<u64, Away>>;

    /// Whether messages pass.
    fn is_connected(&self) -> bool;

    /// What was counted.
    fn counts(&self) -> &Arc<Counts>;
}

/// The bus is away: nothing can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what the instances share is away")
    }
}

impl std::error::Error for Away {}

/// What is counted of one instance's bus.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were published.
    pub published: AtomicU64,
    /// Messages that were given to a subscription.
    pub received: AtomicU64,
    /// Messages to publish that found the queue full.
    pub dropped: AtomicU64,
    /// Messages that were on their way when the connection broke, or that were refused: delivered or not, nobody knows.
    pub lost: AtomicU64,
    /// Messages for a subscription whose queue was full.
    pub overrun: AtomicU64,
    /// Times that the connection was made.
    pub connections: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
