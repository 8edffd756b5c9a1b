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
//! `control::expand` looks names up, has [`hear`] say what an answer makes of the members, and publishes a generation with their
//! [`instances`] when they differ from those before. Before the first answer there is no member. There is nothing to do between
//! two lookups.
//!
//! Pure: time is an argument, as the duration since the clock began. Must not: look up, publish.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::model::{Instance, Resolve, Upstream};

/// Instances of an upstream that expands names, those of missing members included: as many as it may list in the file. An answer
/// can hold more, and whoever writes a zone should not decide how much memory is used here.
pub const INSTANCES_MAX: usize = 1000;

/// The members of each name of an upstream, by the name as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<String, Vec<Member>>);

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
    /// As the file has them for `name`, whose members have the room that the other instances leave.
    pub fn of(file: &Upstream, members: &Members, name: &str) -> Self {
        let (mut entries, mut others) = (0, 0);
        for instance in &file.instances {
            match &instance.host {
                host if host == name => entries += 1,
                _ if instance.is_named() => others += members.of(&instance.host).len(),
                _ => others += 1,
            }
        }
        let Resolve { forget, .. } = file.resolve;
        Rules { forget, most: INSTANCES_MAX.saturating_sub(others) / entries.max(1) }
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

impl Members {
    /// Of this name; none before its first answer.
    pub fn of(&self, name: &str) -> &[Member] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All of them, each with its name.
    pub fn each(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.0.iter().flat_map(|(name, members)| members.iter().map(move |member| (name.as_str(), member)))
    }

    /// The same, but those of this name.
    #[must_use]
    pub fn with(&self, name: &str, members: Vec<Member>) -> Self {
        let mut changed = self.clone();
        changed.0.insert(name.to_owned(), members);
        changed
    }

    /// Those of names that the file still expands.
    #[must_use]
    pub fn kept_by(&self, file: &Upstream) -> Self {
        let known = |instance: &Instance| Some((instance.host.clone(), self.0.get(&instance.host)?.clone()));
        Members(file.expanded().filter_map(known).collect())
    }
}

/// An instance that an upstream has while its names have these members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// As the file has it, or as one of a name, NAME@ADDRESS.
    pub instance: Instance,
    /// Its name no longer has its address: it takes no new clients.
    pub missing: bool,
}

/// The instances of an upstream: for each name that it expands those of its members in their order, each as the file has the name,
/// at its own address; all others as the file has them. No name in the file has an `@`, so no two are called alike.
pub fn instances(file: &Upstream, members: &Members) -> Vec<Expanded> {
    let each = |entry: &Instance| -> Vec<Expanded> {
        if !file.expand || !entry.is_named() {
            return vec![Expanded { instance: entry.clone(), missing: false }];
        }
        members.of(&entry.host).iter().map(|member| member.instance(entry)).collect()
    };
    file.instances.iter().flat_map(each).collect()
}

impl Member {
    fn instance(&self, name: &Instance) -> Expanded {
        Expanded {
            instance: Instance {
                name: format!("{}@{}", name.name, self.address),
                host: self.address.to_string(),
                ..name.clone()
            },
            missing: self.presence != Presence::Present,
        }
    }
}
