//! Who is connected: what is asked, what is answered, and what is closed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config;

/// Lists tunnels. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListTunnels {
    /// Of this upstream.
    pub upstream: Option<String>,
    /// Of this instance: `UPSTREAM/INSTANCE`, or with one upstream `INSTANCE`.
    pub instance: Option<String>,
    /// Of clients of this network, or of this one.
    pub client: Option<String>,
    /// So many at most: 1 to 100 000; 0 counts, and lists none.
    pub limit: u32,
    /// Which first.
    #[serde(default)]
    pub sort: Sort,
}

/// Which tunnels come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// The oldest.
    #[default]
    Age,
    /// The longest idle.
    Idle,
    /// Those that carried most.
    Bytes,
}

/// Tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnels {
    /// Seconds since the epoch.
    pub now: u64,
    /// Upstreams that there are.
    pub upstreams: usize,
    /// How many there are that were asked for.
    pub open: u64,
    /// Workers that did not answer: their tunnels are in neither.
    pub silent_workers: Vec<usize>,
    /// Tunnels that did not say in time who they are: they are in neither.
    #[serde(default)]
    pub unheard: u64,
    /// The first of them.
    pub tunnels: Vec<Tunnel>,
}

/// An open tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Stays for its life; what `stickyd close` takes.
    pub id: String,
    /// The client's address.
    pub client: String,
    /// Its upstream's name.
    pub upstream: String,
    /// Its instance's name.
    pub instance: String,
    /// Milliseconds since it began.
    pub age: u64,
    /// Milliseconds since something last passed.
    pub idle: u64,
    /// Bytes from the client to the instance.
    pub bytes_up: u64,
    /// Bytes from the instance to the client.
    pub bytes_down: u64,
    /// Frames from the client to the instance.
    pub frames_up: u64,
    /// Frames from the instance to the client.
    pub frames_down: u64,
    /// What brought its client to that instance, as in the access log.
    pub sticky_key: String,
    /// It is being closed.
    pub closing: bool,
    /// Of its request; `None`: the access log is off.
    pub host: Option<String>,
    /// The same, without its query; at most 128 bytes.
    pub path: Option<String>,
    /// Tells its session, as in the access log, without giving it away; `None`: it has none, or the access log is off.
    pub sid_hash: Option<String>,
}

/// Lists Engine.IO sessions whose sids were learned. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {
    /// Of this upstream.
    pub upstream: Option<String>,
    /// Of this instance: `UPSTREAM/INSTANCE`, or with one upstream `INSTANCE`.
    pub instance: Option<String>,
    /// Of clients of this network, or of this one.
    pub client: Option<String>,
    /// So many at most: 1 to 100 000; 0 counts, and lists none.
    pub limit: u32,
}

/// Sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Seconds since the epoch.
    pub now: u64,
    /// Upstreams that there are.
    pub upstreams: usize,
    /// How many there are that were asked for.
    pub known: u64,
    /// The longest idle of them.
    pub sessions: Vec<Session>,
}

/// A learned session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Tells it, as in the access log, without giving it away.
    pub sid_hash: String,
    /// The client's address, or the network of it by which `sticky.ip_hash` tells clients apart.
    pub client: String,
    /// Its upstream's name.
    pub upstream: String,
    /// Its instance's name.
    pub instance: String,
    /// Milliseconds since its last exchange ended; 0 while there is one.
    pub idle: u64,
    /// Milliseconds until it is forgotten if nothing comes.
    pub expires_in: u64,
    /// What it has open.
    pub open: Open,
}

/// What a session has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// It went over to a tunnel.
    Tunnel,
    /// An exchange: most often a poll.
    Request,
    /// Its client dropped its last poll: it has left, most likely.
    Left,
    /// Nothing now: between two polls.
    Nothing,
}

/// Closes what is open: tunnels by their ids; or else all tunnels, polls and streams of a client or at an instance, or of that client
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// These tunnels.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Of clients of this network, or of this one.
    pub client: Option<String>,
    /// Of this instance: `UPSTREAM/INSTANCE`, or with one upstream `INSTANCE`.
    pub instance: Option<String>,
    /// The Close frame's code; `None`: 1012.
    pub code: Option<u16>,
    /// Why: for the log, where the command is told.
    pub reason: Option<String>,
    /// Also when that is a lot.
    #[serde(default)]
    pub yes: bool,
    /// Close nothing: say how much it would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
}

impl Close {
    /// More than these are closed only for whoever says that he knows.
    pub const LOT: u64 = 100;

    /// What is said to whoever would close so much, over so many milliseconds.
    pub fn is_a_lot(tunnels: u64, requests: u64, over: u64) -> Option<String> {
        let takes = config::show_duration(Duration::from_millis(over));
        (tunnels + requests > Self::LOT).then(|| {
            format!("that is {tunnels} tunnels and {requests} polls and streams, closed over {takes}; with --yes it is done")
        })
    }
}

/// What is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Tunnels.
    pub tunnels: u64,
    /// Polls and streams.
    pub requests: u64,
    /// Milliseconds until the last of them is told.
    pub over: u64,
    /// The Close frame's code.
    pub code: u16,
    /// Ids that no open tunnel has.
    pub gone: Vec<String>,
    /// Workers that did not answer: nothing of theirs is closed.
    pub silent_workers: Vec<usize>,
    /// Tunnels, polls and streams that did not say in time who they are: they are not closed.
    #[serde(default)]
    pub unheard: u64,
}
