//! What commands and the running process say to each other: JSON over HTTP over the admin socket.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/reload` | [`Reload`] | [`Reloaded`]; 422: refused, what runs stays |
//! | `POST /v1/diff` | [`Diff`] | [`Reloaded`]; 422: would be refused |
//! | `POST /v1/upgrade` | [`Upgrade`] | [`Upgraded`]; 422: the new process does not take the configuration; 409: it is not ready, and this one serves on |
//! | `GET /v1/metrics` | | text: what this process alone counts, and those that have ended |
//! | `POST /v1/reopen` | `{}` | [`Done`]: the access log's file is opened anew |
//! | `POST /v1/farewell` | [`Farewell`] | [`Done`] |
//! | `GET /v1/events?after=NUMBER&since=SECONDS` | | [`Events`] behind that number, and not before that moment |
//! | `GET /v1/ready` | | [`Ready`] |
//! | `GET /v1/retire` | | [`Retired`] |
//! | `POST /v1/retire` | [`Retire`] | [`Retired`] |
//! | `POST /v1/explain` | [`Explain`] | an [`Explanation`](crate::control::explain::Explanation), with itself as `text` |
//! | `POST /v1/state` | [`Want`] | [`Wanted`]; 404: no such instance; 409: refused, nothing has changed |
//! | `POST /v1/tunnels` | [`ListTunnels`] | [`Tunnels`]; 404: no such upstream or instance; a question, like the next one |
//! | `POST /v1/sessions` | [`ListSessions`] | [`Sessions`]; 404: no such upstream or instance |
//! | `POST /v1/close` | [`Close`] | [`Closed`]; 404: no such instance; 409: that is a lot, nothing is closed |
//!
//! Whatever is not 200 has a [`Problem`] as its body. Fields may be added to answers; none is renamed or removed within `v1`.
//! Durations are in milliseconds, moments in seconds since the epoch.

mod lists;
mod oncall;
mod upgrade;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::model::InstanceState;

pub use lists::{Close, Closed, ListSessions, ListTunnels, Open, Session, Sessions, Sort, Tunnel, Tunnels};
pub use oncall::{Event, Events, Explain, Ready, Retire, Retired, Retirement};
pub use upgrade::{Done, Elder, Farewell, Lingers, Upgrade, Upgraded};

/// Why not, for people: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// May have several lines.
    pub error: String,
}

/// Load the file anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Only say what it would do.
    pub dry_run: bool,
    /// Also when it removes more than `[reload] max_removed`.
    pub yes: bool,
}

/// Compare another file with what runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// What reports call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// For the log, which is no place for a whole file.
impl std::fmt::Debug for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a reload did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// A line for each change of the configuration; none: nothing has changed.
    pub changes: Vec<String>,
    /// Those of them that take effect at the next start only.
    pub at_next_start: Vec<String>,
    /// What the change does to what is open; a sentence each.
    pub effects: Vec<String>,
    /// Warnings of the file, as `stickyd validate` prints them; often empty.
    pub warnings: String,
}

/// Want something of instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// `UPSTREAM/INSTANCE`, or with one upstream `INSTANCE`; all are obeyed, or none.
    pub instances: Vec<String>,
    /// What is wanted.
    pub state: InstanceState,
    /// Also where no other instance is left for new clients.
    #[serde(default)]
    pub force: bool,
}

/// The instances of which something was wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// In the order of the request.
    pub instances: Vec<Instance>,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose it is.
    pub listener: String,
    /// Where it is.
    pub file: String,
    /// What it is for.
    pub names: Vec<String>,
    /// When it begins to be valid.
    pub begins: i64,
    /// When it ceases to be valid.
    pub expires: i64,
    /// What is in the listener's files now is not shown, and why; `None`: it is.
    pub refused: Option<String>,
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it began.
    pub started: u64,
    /// Now.
    pub now: u64,
    /// Whether it takes new work; no longer while it stops.
    pub ready: bool,
    /// Another process took over from it; `None`: it serves.
    #[serde(default)]
    pub lingers: Option<Lingers>,
    /// Those that linger while this one serves.
    #[serde(default)]
    pub elders: Vec<Elder>,
    /// Since when it has left a balancer's rotation; `None`: it has not.
    #[serde(default)]
    pub retired: Option<u64>,
    /// The configuration.
    pub config: Config,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Those of listeners over TLS, in the order of the file.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Where metrics are, as an address.
    pub metrics: Option<String>,
    /// Where the status page is, as an address.
    pub page: Option<String>,
    /// Client connections.
    pub connections: Connections,
    /// In the order of the file; those that it no longer names at the end.
    pub upstreams: Vec<Upstream>,
}

/// What is in force, and whether the file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `None`: there is none, the command line said all.
    pub file: Option<String>,
    /// When what is in force was loaded.
    pub loaded: u64,
    /// Reloads so far.
    pub reloads: u64,
    /// Refused ones.
    pub refused: u64,
    /// Why the last one was refused; `None`: it was not.
    pub refusal: Option<String>,
    /// When the last one was, loaded or refused.
    pub last: u64,
}

/// Client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// The most at a time.
    pub limit: u64,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// The file no longer names it: it is emptied.
    pub removed: bool,
    /// `sticky.by`
    pub sticky: Vec<String>,
    /// Tells the secret that seals its cookie, without giving it away; the same on every proxy that shares it.
    pub secret: Option<String>,
    /// Fewer instances pass than `health.panic_below` asks for: checks are not believed.
    pub panic: bool,
    /// How often which key chose the instance.
    pub decisions: BTreeMap<String, u64>,
    /// Bound clients that were given another instance, by reason.
    pub rebinds: BTreeMap<String, u64>,
    /// How unevenly its instances carry its tunnels.
    pub rebalance: Rebalance,
    /// In the order of the file; those that it no longer names at the end.
    pub instances: Vec<Instance>,
}

/// What a rebalance does, or would do if it were on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// `rebalance.max_skew` is not off.
    pub on: bool,
    /// In hundredths; where it is off, what it is usually set to.
    pub max_skew: u32,
    /// Tunnels that instances carry beyond `max_skew` times their fair share.
    pub beyond: u32,
    /// Of those as many as others have room for: what it closes.
    pub moves: u32,
}

/// One instance.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the JSON")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its upstream's name.
    pub upstream: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// What is wanted of it.
    pub state: InstanceState,
    /// What the file wants of it.
    pub configured: InstanceState,
    /// The file no longer names it: it is emptied.
    pub removed: bool,
    /// Its name no longer has its address (`expand`): no new clients.
    pub missing: bool,
    /// It is checked: `health.check` is not off, and it is not in maintenance.
    pub checked: bool,
    /// What its checks say.
    pub health: Health,
    /// Why, and since when; empty: nothing is known.
    pub evidence: String,
    /// Its share of new clients in percent: below 100 while it is in its slow start.
    pub share: u8,
    /// New clients may come to it.
    pub takes_clients: bool,
    /// Open tunnels.
    pub tunnels: u32,
    /// Engine.IO sessions that poll.
    pub sessions: u32,
    /// Requests that are open, long-polls and streams included.
    pub requests: u32,
    /// Handshakes in flight, and those that wait for their turn.
    pub handshakes: u32,
    /// The latter alone.
    pub queued: u32,
    /// Nothing is open at it: neither tunnel nor session nor request.
    pub empty: bool,
    /// How it is emptied; `None`: it is not.
    pub drain: Option<Drain>,
}

/// What checks say of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not checked, or not yet.
    Unknown,
    /// They pass.
    Up,
    /// They are answered with an error, or late.
    Degraded,
    /// They are not answered.
    Down,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Tunnels, sessions and handshakes when it began.
    pub began_with: u32,
    /// Milliseconds until the first is closed.
    pub closes_in: u64,
    /// Milliseconds until the last is told to go, evenly.
    pub told_in: u64,
    /// Milliseconds until what is left is cut.
    pub cut_in: u64,
}
