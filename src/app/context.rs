//! What every part of one instance can reach. One of it for each instance, made when the instance starts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::adapter::Io;
use super::metrics::Metrics;
use super::presence::Presence;
use super::settings::Settings;
use super::shared::Link;
use super::tasks::Tasks;

/// What every part of one instance can reach.
#[derive(Debug)]
pub struct Context {
    /// What the instance was told.
    pub settings: Settings,
    /// The way to the other instances.
    pub link: Link,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is online.
    pub presence: Arc<Presence>,
    /// Tasks that end with the instance.
    pub tasks: Tasks,
    io: OnceLock<Io>,
    stopping: AtomicBool,
}

impl Context {
    pub(super) fn new(settings: Settings, link: Link, tasks: Tasks) -> Self {
        Self {
            presence: Presence::new(&settings, link.store()),
            settings,
            link,
            metrics: Metrics::default(),
            tasks,
            io: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Socket.IO: `io().to(room).emit(event, &data)` reaches the clients of every instance.
    ///
    /// # Panics
    /// Before the instance accepts clients; nobody else can ask then.
    pub fn io(&self) -> &Io {
        self.io.get().expect("it is set before anything is accepted")
    }

    pub(super) fn set_io(&self, io: Io) {
        // Only ever set once: one instance, one Socket.IO.
        let _ = self.io.set(io);
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
