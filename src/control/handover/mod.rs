//! `stickyd upgrade`: another process takes over, and nothing is dropped.
//!
//! The old process ([`offer`]) starts the new binary, gives it its sockets and what it knows ([`estate`]), over a channel whose words
//! are [`wire`]'s; the new one ([`adopt`]) takes them in. Then the old one lingers ([`lingering`]) until what it has open has ended.
//!
//! Must not: touch what is open. Whatever goes wrong before the new process serves, the old one serves on.

mod adopt;
mod ask;
mod channel;
mod estate;
mod lingering;
mod offer;
mod wire;

pub use adopt::Adoption;
pub(super) use estate::{Estate, Goods, Listens, open};
pub(super) use lingering::{Elders, Lingering, say_farewell};
pub(super) use offer::{Refused, Started, check, hand_over};

/// Set for a process that takes over, to the version of what it is going to be told; the channel is its standard input.
const HANDOVER: &str = "STICKYD_HANDOVER";
