//! What is said of processes that take over from one another.

use serde::{Deserialize, Serialize};

/// Hand over to a new process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Its program; `None`: the one that this process was started from.
    pub binary: Option<std::path::PathBuf>,
    /// It has to be ready within this, in milliseconds.
    pub within: u64,
}

/// Another process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// It.
    pub pid: u32,
    /// The one that lingers.
    pub lingers: u32,
    /// What it has open: client connections, tunnels included.
    pub connections: u64,
    /// Tunnels among them.
    pub tunnels: u64,
    /// Learned sids that were passed on.
    pub sids: u64,
    /// From the command to the end.
    pub took: u64,
    /// Clients that came while nobody accepted waited at most so long.
    pub paused: u64,
}

/// Of a process that lingers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lingers {
    /// When it began to.
    pub since: u64,
    /// Milliseconds until what is left is closed.
    pub closes_in: u64,
    /// Milliseconds until it ends, if it is not empty before.
    pub ends_in: u64,
    /// The process that took over.
    pub to: u32,
}

/// Another process of this proxy, which lingers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elder {
    /// Its number.
    pub pid: u32,
    /// Where it takes commands.
    pub socket: std::path::PathBuf,
}

/// A process that lingered ends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Farewell {
    /// Its number.
    pub pid: u32,
    /// What it has counted, as `/metrics` shows it.
    pub metrics: String,
}

/// For the log.
impl std::fmt::Debug for Farewell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Farewell").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// It has been understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}
