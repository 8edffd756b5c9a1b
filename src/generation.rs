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

impl Generation {
    /// Its upstreams, those that are leaving too.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.iter().chain(&self.leaving)
    }

    /// The upstream of this name, also one that is leaving.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.all().find(|upstream| upstream.config.name == name)
    }
}
