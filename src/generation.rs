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
