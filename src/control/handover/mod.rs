//! `stickyd upgrade`: another process takes over, and nothing is dropped.
//!
//! The old process ([`offer`]) starts the new binary ([`heir`]), gives it its sockets and what it knows ([`estate`]), over a channel whose
//! words are [`wire`]'s; the new one ([`adopt`], [`intake`]) takes them in. Then the old one lingers ([`lingering`]) until what it has open has ended.
//! A stop of the old one breaks it off ([`under_way`]); afterwards threads that serve ask the new one ([`mod@line`]), and that one asks those
//! that linger ([`elders`]).
//!
//! Must not: touch what is open. Whatever goes wrong before the new process serves, the old one serves on.

mod adopt;
mod ask;
mod channel;
mod elders;
mod estate;
mod heir;
mod intake;
mod line;
mod lingering;
mod offer;
mod place;
mod under_way;
mod wire;

pub use adopt::Adoption;
pub(super) use ask::ANSWER_MAX;
pub(super) use elders::{Elders, say_farewell};
pub(super) use estate::{Estate, Goods, Listens, open};
pub(super) use heir::{Refused, Started, check};
pub(super) use lingering::Lingering;
pub(super) use offer::{Giver, hand_over};
pub(super) use place::whose_end_is_ours;
pub(super) use wire::Retired;

/// Set for a process that takes over, to the version of what it is going to be told; the channel is its standard input.
const HANDOVER: &str = "STICKYD_HANDOVER";
