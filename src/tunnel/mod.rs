//! After the 101: two byte streams joined, until one of them, the proxy or time ends it.
//!
//! A tunnel knows no HTTP and no routes. It gets two sockets, an owner (who sets limits and counts) and a seat in
//! the registry (through which orders to close reach it), and returns why it ended. Bytes arrive exactly as sent; the proxy adds nothing but its own
//! Close frame and, where it is told to, pings, of which it takes the answers.
//! At rest it is two sockets and a few words of state: no buffer.

pub mod close;
mod direction;
pub mod frame;
mod message;
mod ping;
mod registry;
mod relay;

use std::time::Duration;

use crate::local::clock::Moment;

pub use close::{ClosedBy, Reason};
pub use message::MessageLimit;
pub use registry::{Force, Order, Place, Registry, SERIALS, Seat, Sort, Wish};
pub use relay::Tunnel;

/// How long a tunnel may wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Both directions silent.
    pub idle: Duration,
    /// One direction ended, the other not.
    pub half_close: Duration,
    /// Our Close frame was sent, or waits for a frame's end.
    pub close_wait: Duration,
    /// A side takes nothing of what waits for it.
    pub send: Duration,
    /// The client silent: then it is pinged; `None` = never. An answer is awaited for as long again, at most 30 s.
    pub ping: Option<Duration>,
}

/// A direction of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the instance.
    Up,
    /// From the instance to the client.
    Down,
}

/// Whose tunnel it is: sets its limits, and hears what passes.
pub trait Owner {
    /// How long it may wait for what.
    fn limits(&self) -> &Limits;

    /// `bytes` and the beginnings of `frames` have been taken over for the other side. Called while they pass.
    fn passed(&self, way: Way, bytes: u64, frames: u64);

    /// The proxy closes it for this reason, and neither end has heard of that yet.
    fn closes(&self, _reason: Reason) {}

    /// How large its messages may be; asked once, when it begins. `None`: as large as they are.
    fn message_limit(&self) -> Option<MessageLimit> {
        None
    }

    /// A message has become larger than that.
    fn message_too_big(&self) {}

    /// It was asked who it is. Called between two of its turns.
    fn tells(&self, _place: Place, _told: &Told) {}

    /// Its client may be sent elsewhere to even out what instances carry.
    fn may_be_moved(&self) -> bool {
        true
    }

    /// Until its client has sent so many frames, an order to close waits, though not for long: earlier it would do harm.
    fn settled_after(&self) -> u64 {
        0
    }

    /// The instance's side has ended without a Close, as when its process dies. How long the client waits for the one that it
    /// is owed: when many break off at once, not all shall come back at once.
    fn instance_broke_off(&self) -> Duration {
        Duration::ZERO
    }

    /// The code of that Close.
    fn broken_code(&self) -> u16 {
        1012
    }
}

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Bytes on the wire, without what the proxy added.
    pub bytes: u64,
    /// WebSocket frames; 0 in other protocols.
    pub frames: u64,
}

/// What a tunnel says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// When something last passed.
    pub active: Moment,
    /// From the client to the instance, so far.
    pub up: Total,
    /// From the instance to the client, so far.
    pub down: Total,
    /// It ends, or is told to.
    pub closing: bool,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// The code of the first Close frame; `None`: there was none, or it carried none.
    pub code: Option<u16>,
    /// From the client to the instance.
    pub up: Total,
    /// From the instance to the client.
    pub down: Total,
}
