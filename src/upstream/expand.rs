//! `expand`: each address of a name is an instance of its own, NAME@ADDRESS.
//!
//! ```text
//!               in an answer
//!   (nobody) -------------------> Present          takes clients
//!                                 |      ^
//!            not in an answer     |      |  in an answer again
//!                                 v      |
//!                                Missing           cordoned: nobody new, nothing ends
//!                                    |
//!                                    |  in no answer for `resolve_forget`
//!                                    v
//!                                (nobody)          removed, which drains it
//! ```
//!
//! A lookup that fails, or has an empty answer, changes nothing, for however long: only an answer that names others says
//! that an address is gone. Resolvers that hand out a few of many addresses at a time cordon the others for a while, and
//! remove none that comes up again within `resolve_forget`.
//!
//! For whoever publishes generations: keep the members of each name, [`hear`] what each lookup (every `resolve`) has to say,
//! and when the members differ from those before, publish a generation with their [`instances`]. Before the first answer
//! there is no member. There is nothing to do between two lookups.
//!
//! Pure: time is an argument, as the duration since the clock began. Must not: look up, publish.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use crate::config::model::{Instance, InstanceState, Resolve};

/// Members of one name, the missing included: as many as an upstream may list in the file. An answer can hold more, and
/// whoever writes a zone should not decide how much memory is used here.
pub const MEMBERS_MAX: usize = 1000;

/// One address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Never an IPv4 address in IPv6's clothes.
    pub address: IpAddr,
    /// Whether the name still has it.
    pub presence: Presence,
}

/// Whether a name still has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the latest answer.
    Present,
    /// No longer.
    Missing {
        /// The time of the first answer without it.
        since: Duration,
    },
}

/// What decides about members.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `resolve_forget`: a member that was missing for so long is removed.
    pub forget: Duration,
    /// The most members that there are.
    pub most: usize,
}

/// What an answer made of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Ascending by address, IPv4 first, so that proxies with the same answers have the same order.
    pub members: Vec<Member>,
    /// Addresses of the answer for which there was no room.
    pub left_out: usize,
}

impl Rules {
    /// As the file has them.
    pub fn of(resolve: Resolve) -> Self {
        Rules { forget: resolve.forget, most: MEMBERS_MAX }
    }
}

/// What becomes of `members` by an answer, in any order; `[]`: the lookup failed, or the answer was empty.
///
/// Without room for all, members that the answer holds go before new addresses, those before the missing, and of the missing
/// the latest.
pub fn hear(members: &[Member], answer: &[IpAddr], rules: Rules, now: Duration) -> Heard {
    if answer.is_empty() {
        return Heard { members: members.to_vec(), left_out: 0 };
    }
    let mut addresses: Vec<IpAddr> = answer.iter().map(IpAddr::to_canonical).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let is_answered = |address: &IpAddr| addresses.binary_search(address).is_ok();
    let is_member = |address: &IpAddr| members.iter().any(|member| member.address == *address);

    let (known, new): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| is_member(address));
    let present = known.into_iter().chain(new);
    let present = present.map(|address| Member { address, presence: Presence::Present });
    let mut missing: Vec<Member> = members
        .iter()
        .filter(|member| !is_answered(&member.address))
        .map(|member| Member { presence: member.missed(now), ..*member })
        .filter(|member| member.missing_for(now) < rules.forget)
        .collect();
    missing.sort_by_key(|member| (member.missing_for(now), member.address));

    let mut next: Vec<Member> = present.chain(missing).take(rules.most).collect();
    next.sort_unstable_by_key(|member| member.address);
    Heard { members: next, left_out: addresses.len().saturating_sub(rules.most) }
}

impl Member {
    /// What it is once an answer does not hold it.
    fn missed(&self, now: Duration) -> Presence {
        match self.presence {
            Presence::Present => Presence::Missing { since: now },
            missing @ Presence::Missing { .. } => missing,
        }
    }

    fn missing_for(&self, now: Duration) -> Duration {
        match self.presence {
            Presence::Present => Duration::ZERO,
            Presence::Missing { since } => now.saturating_sub(since),
        }
    }
}

/// The instances of a name, in the order of its members: each as the file has `name`, at its own address. No name in the
/// file has an `@`, so none of them is called like another.
pub fn instances(name: &Instance, members: &[Member]) -> Vec<Instance> {
    let instance = |member: &Member| Instance {
        name: format!("{}@{}", name.name, member.address),
        host: member.address.to_string(),
        state: match (name.state, member.presence) {
            (InstanceState::Ready, Presence::Missing { .. }) => InstanceState::Cordon,
            (state, _) => state,
        },
        ..name.clone()
    };
    members.iter().map(instance).collect()
}
