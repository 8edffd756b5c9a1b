//! What whoever is on call asks: events, readiness, a balancer's rotation, and where a client goes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::observe::events::Event;

/// Events, the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Numbers are of this process: another one counts anew.
    pub pid: u32,
    /// The number of the last event that there is, asked for or not; 0: there is none.
    pub last: u64,
    /// So many have been overwritten since the process began.
    pub overwritten: u64,
    /// Those that were asked for.
    pub events: Vec<Event>,
}

/// Whether the process is ready for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// It listens, does not stop and is not retired.
    pub ready: bool,
    /// Why not; empty: it is.
    pub why: String,
    /// The process.
    pub pid: u32,
    /// Where it listens.
    pub listeners: Vec<String>,
}

/// Leave a balancer's rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retire {
    /// Return to it.
    pub undo: bool,
}

/// Whether the process has left a balancer's rotation, and what is left of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// How it is retired; `None`: it is not.
    pub retired: Option<Retirement>,
    /// `health_path` is on: the balancer asks for it.
    pub health_path: bool,
    /// Open tunnels of all instances.
    pub tunnels: u32,
    /// Engine.IO sessions that poll.
    pub sessions: u32,
    /// Open requests, polls and streams included.
    pub requests: u32,
}

/// How a process is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Since when.
    pub since: u64,
    /// Milliseconds until the first is told to go.
    pub closes_in: u64,
    /// Milliseconds until all have been told that were there then.
    pub told_in: u64,
}

/// Where would this client go? The answer is what `stickyd explain --json` prints, with the same for people in `text`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The client's address.
    pub ip: IpAddr,
    /// The affinity cookie: its value, or a whole Cookie field.
    #[serde(default)]
    pub cookie: Option<String>,
    /// An Engine.IO session id.
    #[serde(default)]
    pub sid: Option<String>,
    /// A path or a URL; without it a session start at the first upstream.
    #[serde(default)]
    pub url: Option<String>,
    /// Further fields, each as `Name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
}

/// For the log, which is no place for what clients send.
impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explain").field("ip", &self.ip).finish_non_exhaustive()
    }
}
