//! What a process says to the one that takes over from it, and hears from it: one JSON text per message.
//!
//! ```text
//! old                                                   new
//! Hello      who it is; standard error, the lock   -->
//! Sockets    of one listener                       -->
//! Page       the listener of metrics, for example  -->
//! All                                              -->
//!                                                       (loads its configuration)
//! Instances  their health, what is wanted of them  -->
//! Sids, Resting                                    -->
//! All                                              -->
//!                                                  <--  Ready      nothing is left to do that can fail or last
//! (accepts no more)
//! Sids, Instances, Resting  what has changed       -->
//! Go                                               -->
//!                                                  <--  Serving    and then it accepts
//! ```
//!
//! `Serving` decides: until it is said the old process can take back what it gave, and it does so by closing the channel. Whoever cannot say it
//! any more does not accept, so there is no moment at which both do, and none that has accepted is ended.
//!
//! Over a channel of their own, once that is so: `Sids` and `Heard` of sessions that begin at the old process later, `Ask` and `Known` of those that it does not know,
//! and `Load`, what it still carries. At any time `Failed`, or the end of the channel, and everything is as it was. Fields may be added; an unknown one is
//! ignored, an unknown message is an error, and with it the upgrade fails.
//!
//! Pure. Must not: know sockets.

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::affinity::ClientKey;
use crate::affinity::rest::Who;
use crate::affinity::sid::table::{Known, SidKey};
use crate::config::model::InstanceState;
use crate::control::admin::api::Health;
use crate::upstream::lifecycle::Emptying;

/// Of what is said; another one is not understood.
pub(super) const VERSION: u32 = 1;

/// Bytes of a message. The kernel passes on so many at once.
pub(super) const LARGEST: usize = 96 << 10;

/// Descriptors of a message; the kernel passes on 253.
pub(super) const DESCRIPTORS: usize = 64;

/// Bytes of a message after which no entry is added to a list.
const FULL: usize = 24 << 10;

/// What the old process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Offered {
    Hello(Hello),
    Sockets(Sockets),
    /// The descriptor of the metrics listener, or of the status page's: what it is, and its address as the file has it.
    Page(String),
    Instances(Vec<Instance>),
    Sids(Vec<Sid>),
    Resting(Vec<Resting>),
    /// That is all of the sockets; and the second time, until it is ready.
    All,
    /// It is to accept.
    Go,
    /// Whether it knows the session of this key.
    Ask(u64),
    /// Tunnels that instances have there, of those that have some, or had when it said so last.
    Load(Vec<Carried>),
}

/// What the new process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answered {
    /// It has everything, and does not accept yet. Its number.
    Ready { pid: u32 },
    /// It accepts from now on.
    Serving(Serving),
    /// It knows the session of this key, which it was told of.
    Heard { of: u64 },
    /// What it knows of the session that it was asked for.
    Known { of: u64, sid: Option<Box<Sid>> },
    /// It gives up, with this exit code; why.
    Failed { code: u8, why: String },
}

/// Who hands over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`VERSION`]
    pub(super) version: u32,
    /// Its number.
    pub(super) pid: u32,
    /// Under which sids are known.
    pub(super) secret: [u64; 2],
    /// What the descriptors are that come with it, in their order.
    pub(super) with: Vec<With>,
    /// Those who linger already, and itself at the end.
    pub(super) elders: Vec<Elder>,
    /// The members of names that are expanded.
    #[serde(default)]
    pub(super) members: Vec<Member>,
    /// Where it takes commands; `None`: nowhere.
    #[serde(default)]
    pub(super) commands: Option<PathBuf>,
    /// It has left a balancer's rotation.
    #[serde(default)]
    pub(super) retired: Option<Retired>,
}

/// A process that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Serving {
    /// Where it takes commands; `None`: nowhere.
    pub(super) commands: Option<PathBuf>,
    /// Listeners that it was given and does not have, as they were called.
    pub(super) without: Vec<String>,
}

/// When a process left a balancer's rotation, and how it goes on: in milliseconds of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Retired {
    /// Seconds since the epoch.
    pub(in crate::control) since: u64,
    pub(in crate::control) began: u64,
    pub(in crate::control) closes: u64,
    pub(in crate::control) spread: u64,
}

/// Tunnels of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    pub(super) upstream: String,
    pub(super) instance: String,
    pub(super) tunnels: u32,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum With {
    /// Standard error.
    Stderr,
    /// Another channel, for sessions that begin later.
    Later,
    /// The lock against a second start.
    Lock,
}

/// A process that lingers, and where it takes commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Elder {
    pub(in crate::control) pid: u32,
    pub(in crate::control) socket: PathBuf,
}

/// An address of a name that is expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) upstream: String,
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// When it was missed first, in milliseconds of the clock; `None`: it is present.
    pub(super) missing: Option<u64>,
}

/// The descriptors of one listener; more of the same may come in the next message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// Its address as the file has it.
    pub(super) of: String,
    /// It begins: otherwise these belong to the one before.
    pub(super) first: bool,
    /// The service manager keeps it too.
    pub(super) kept: bool,
}

/// How an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) upstream: String,
    pub(super) name: String,
    pub(super) health: Health,
    /// Hundredths.
    pub(super) share: u8,
    pub(super) evidence: String,
    pub(super) state: InstanceState,
    /// What the file wanted of it then.
    pub(super) configured: InstanceState,
    /// How it is emptied.
    pub(super) emptying: Option<Empties>,
}

/// [`Emptying`], in milliseconds of the clock, which all processes of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Empties {
    from: u64,
    over: u64,
    cut: u64,
    began_with: u32,
}

impl From<Emptying> for Empties {
    fn from(of: Emptying) -> Self {
        let Emptying { from, over, cut, began_with } = of;
        Empties { from: millis(from), over: millis(over), cut: millis(cut), began_with }
    }
}

impl From<Empties> for Emptying {
    fn from(of: Empties) -> Self {
        let ms = Duration::from_millis;
        Emptying { from: ms(of.from), over: ms(of.over), cut: ms(of.cut), began_with: of.began_with }
    }
}

/// A learned sid. Short names: there may be a million.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sid {
    #[serde(rename = "k")]
    key: u64,
    #[serde(rename = "c")]
    client: IpAddr,
    #[serde(rename = "u")]
    pub(super) upstream: String,
    #[serde(rename = "i")]
    pub(super) instance: String,
    /// What it lives by.
    #[serde(rename = "b")]
    pub(super) by: Life,
    /// What the access log shows of it.
    #[serde(rename = "h", default)]
    pub(super) hash: u64,
    /// Milliseconds.
    #[serde(rename = "l")]
    lifetime: u64,
    #[serde(rename = "s")]
    used: bool,
    /// Each character is a byte.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    cors: Option<String>,
}

/// What a session lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Life {
    #[serde(rename = "p")]
    Polling,
    #[serde(rename = "l")]
    Left,
    #[serde(rename = "t")]
    Tunnel,
}

impl Sid {
    /// Of a session at this instance of this upstream; `hash`: what the access log shows of its sid.
    pub(super) fn of<T>(known: &Known<T>, (upstream, instance): (&str, &str), by: Life, hash: u64) -> Self {
        Sid {
            key: known.key.number(),
            client: known.client.0,
            upstream: upstream.to_owned(),
            instance: instance.to_owned(),
            by,
            hash,
            lifetime: millis(known.lifetime),
            used: known.used,
            cors: known.cors.as_ref().map(|cors| cors.iter().map(|byte| char::from(*byte)).collect()),
        }
    }

    /// What it is known by.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The same at its home here. A text that holds no bytes is none.
    pub(super) fn known<T>(self, home: T) -> Known<T> {
        let bytes = |text: String| text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>();
        Known {
            key: SidKey::of(self.key),
            client: ClientKey(self.client),
            home,
            cors: self.cors.and_then(bytes).map(Into::into),
            lifetime: Duration::from_millis(self.lifetime),
            used: self.used,
        }
    }
}

/// A client that must not come to an instance for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resting {
    pub(super) upstream: String,
    pub(super) instance: String,
    binding: Option<[u8; 8]>,
    address: Option<IpAddr>,
    /// Milliseconds of the clock.
    until: u64,
}

impl Resting {
    pub(super) fn of(who: Who, upstream: &str, instance: &str, until: Duration) -> Self {
        let (binding, address) = match who {
            Who::Binding(id) => (Some(id), None),
            Who::Address(ClientKey(address)) => (None, Some(address)),
        };
        let (upstream, instance) = (upstream.to_owned(), instance.to_owned());
        Resting { upstream, instance, binding, address, until: millis(until) }
    }

    /// Who, and until when; `None`: it does not say who.
    pub(super) fn who(&self) -> Option<(Who, Duration)> {
        let by_address = || self.address.map(|address| Who::Address(ClientKey(address)));
        let who = self.binding.map(Who::Binding).or_else(by_address)?;
        Some((who, Duration::from_millis(self.until)))
    }
}

/// The bytes of a message.
pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    // An error would need a map whose keys are no texts.
    serde_json::to_vec(message).unwrap_or_default()
}

/// A message of these bytes.
///
/// # Errors
/// Why it is none.
pub(super) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        format!("{begin:?} is not understood: {error}")
    })
}

/// Cuts a list into messages that are not too long, and sends each.
///
/// # Errors
/// Of `send`.
pub(super) fn in_pieces<T: Serialize, E>(
    entries: impl IntoIterator<Item = T>,
    message: fn(Vec<T>) -> Offered,
    mut send: impl FnMut(&Offered) -> Result<(), E>,
) -> Result<(), E> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += encode(&entry).len() + 1;
        piece.push(entry);
        if bytes >= FULL {
            send(&message(std::mem::take(&mut piece)))?;
            bytes = 0;
        }
    }
    if piece.is_empty() { Ok(()) } else { send(&message(piece)) }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
