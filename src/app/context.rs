//! What every part of one instance can reach. One of it for each instance, made when the instance starts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::adapter::{Io, RoomAdapter};
use super::feed::Feed;
use super::line::Lines;
use super::metrics::Metrics;
use super::presence::Presence;
use super::settings::Settings;
use super::shared::Link;
use super::tasks::{Tasks, Turns};
use super::webhooks::Webhooks;

/// What every part of one instance can reach.
#[derive(Debug)]
pub struct Context {
    /// What the instance was told.
    pub settings: Settings,
    /// The way to the other instances.
    pub link: Link,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who is online.
    pub presence: Arc<Presence>,
    /// Events for users.
    pub feed: Arc<Feed>,
    /// Who is called when something happens.
    pub webhooks: Webhooks,
    /// Tasks that end with the instance.
    pub tasks: Tasks,
    pub(super) lines: Arc<Lines>,
    io: RwLock<Option<Io>>,
    adapters: Mutex<HashMap<String, Arc<RoomAdapter>>>,
    stopping: AtomicBool,
    pub(super) turns: Turns,
}

impl Context {
    pub(super) fn new(settings: Settings, metrics: Arc<Metrics>, link: Link, tasks: Tasks) -> Self {
        Self {
            presence: Presence::new(&settings, link.store()),
            feed: Feed::new(&settings, &link),
            webhooks: Webhooks::new(&settings, link.store()),
            settings,
            link,
            metrics,
            tasks,
            lines: Arc::default(),
            io: RwLock::default(),
            adapters: Mutex::default(),
            stopping: AtomicBool::new(false),
            turns: Turns::default(),
        }
    }

    /// Socket.IO: `io().to(room).emit(event, &data)` reaches the clients of every instance.
    ///
    /// # Panics
    /// Before the instance accepts clients, and when it has ended; nobody else can ask then.
    pub fn io(&self) -> Io {
        let io = self.io.read().unwrap_or_else(PoisonError::into_inner);
        io.clone().expect("an instance has it from its first client to its end")
    }

    /// The adapter of a namespace.
    pub fn adapter(&self, namespace: &str) -> Option<Arc<RoomAdapter>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    pub(super) fn set_io(&self, io: Io) {
        *self.io.write().unwrap_or_else(PoisonError::into_inner) = Some(io);
    }

    pub(super) fn add_adapter(&self, namespace: &str, adapter: Arc<RoomAdapter>) {
        let mut adapters = self.adapters.lock().unwrap_or_else(PoisonError::into_inner);
        adapters.insert(namespace.to_owned(), adapter);
    }

    /// Lets go of what holds this, so that nothing of an instance that has ended stays.
    pub(super) fn end(&self) {
        self.io.write().unwrap_or_else(PoisonError::into_inner).take();
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the instance was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether new clients are welcome: it does not stop, and what it shares with the others is there.
    pub fn is_ready(&self) -> bool {
        !self.is_stopping() && self.link.bus().is_connected()
    }
}
