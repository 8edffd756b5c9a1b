//! What instances share: in this process, or through Redis. And one instance's way to it.
//!
//! Whoever needs more than messages (presence, feeds, webhooks) has a `trait Store` of its own with two implementations: one
//! over [`Hub::slot`], one over [`Commands`].

use std::fmt;
use std::sync::Arc;

use super::bus::Bus;
use super::bus::memory::{Hub, Memory};
use super::bus::redis::{self, Commands};
use super::tasks::Tasks;

/// What instances share. A clone is the same thing.
#[derive(Clone, Debug)]
pub enum Shared {
    /// Instances of this process.
    Memory(Arc<Hub>),
    /// Whoever uses this Redis.
    Redis(redis::Address),
}

impl Shared {
    /// For instances of one process; nothing else needs to be installed.
    pub fn in_process() -> Self {
        Self::Memory(Arc::new(Hub::default()))
    }

    /// For whoever uses the Redis at `url` (`redis://[user:password@]host[:port][/database]`). Asks nothing of it yet.
    ///
    /// # Errors
    /// It is no address of a Redis.
    pub fn redis(url: &str) -> Result<Self, redis::AddressError> {
        redis::Address::parse(url).map(Self::Redis)
    }

    /// One instance's way to it; its tasks run on the runtime of the caller.
    pub fn connect(&self, instance: &str, tasks: &Tasks) -> Link {
        match self {
            Self::Memory(hub) => {
                Link { bus: Arc::new(Memory::new(hub.clone())), store: StoreLink::Memory(hub.clone()) }
            }
            Self::Redis(address) => {
                let (bus, commands) = redis::connect(address, instance, tasks);
                Link { bus: Arc::new(bus), store: StoreLink::Redis(commands) }
            }
        }
    }
}

/// One instance's way to what it shares with the others.
#[derive(Clone)]
pub struct Link {
    bus: Arc<dyn Bus>,
    store: StoreLink,
}

/// Where what is shared is kept.
#[derive(Clone, Debug)]
pub enum StoreLink {
    /// In this process: keep it in [`Hub::slot`].
    Memory(Arc<Hub>),
    /// In Redis: ask it by [`Commands::connection`].
    Redis(Commands),
}

impl StoreLink {
    /// Returns when Redis has come or come back; never where nothing can go away. See [`Commands::returned`].
    pub async fn returned(&mut self) {
        match self {
            Self::Memory(_) => std::future::pending().await,
            Self::Redis(commands) => {
                commands.returned().await;
            }
        }
    }
}

impl Link {
    /// Messages between instances.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Where what is shared is kept.
    pub fn store(&self) -> &StoreLink {
        &self.store
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("store", &self.store).finish_non_exhaustive()
    }
}
