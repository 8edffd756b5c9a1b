//! One immutable view of everything that a configuration says, published whole.
//!
//! An exchange loads it once and sees the same view until it ends, whatever is published meanwhile.

use std::sync::Arc;

use crate::config::Config;
use crate::upstream::Upstream;

/// What is in force.
#[derive(Debug)]
pub struct Generation {
    /// What the file says.
    pub config: Config,
    /// In the order of the file.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Upstreams that the file no longer names, until what was open at their instances has ended. No route leads there.
    pub leaving: Vec<Arc<Upstream>>,
}

/// What is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Tunnels.
    pub tunnels: u32,
    /// Engine.IO sessions that poll.
    pub sessions: u32,
    /// Requests, polls and streams included.
    pub requests: u32,
}

impl Generation {
    /// What is open at all of its instances.
    pub fn open(&self) -> Open {
        let mut open = Open::default();
        for instance in self.all().flat_map(|upstream| &upstream.instances) {
            open.tunnels = open.tunnels.saturating_add(instance.load.tunnels());
            open.sessions = open.sessions.saturating_add(instance.load.sessions());
            open.requests = open.requests.saturating_add(instance.requests());
        }
        open
    }

    /// Its upstreams, those that are leaving too.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.iter().chain(&self.leaving)
    }

    /// The upstream of this name, also one that is leaving.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.all().find(|upstream| upstream.config.name == name)
    }
}
