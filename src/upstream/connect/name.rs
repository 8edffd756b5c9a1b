//! What is known of a name: its addresses, whether they are of use, and when the resolver is to be asked again.
//!
//! One name is one instance, so it keeps its address for as long as the answers hold it; the others of an answer are only
//! tried when that one refuses. A lookup that fails, with whatever words, takes nothing away: an outage of the resolver is
//! none of the instances. An address is forgotten when *both* have lasted for `resolve_forget`: no lookup had an answer, and
//! no connection could be made. Until then it may come back; after that it may belong to somebody else.
//!
//! Pure: time is an argument, as the duration since the clock began. Must not: ask anybody.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::model::Resolve;

/// Addresses of one name that are kept and tried.
pub(super) const ADDRESSES_MAX: usize = 8;
/// How long a name without an address is not asked for again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The same for one whose last lookup failed, or that could not be reached for [`DOUBT`]: it may have moved. (Or
/// `resolve`, if that is shorter.)
const DOUBTED_EVERY: Duration = Duration::from_secs(5);
/// How long connections may fail before the address is doubted.
const DOUBT: Duration = Duration::from_secs(1);

/// One name. The answers of its resolver go in, addresses come out.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The one that worked last in front.
    addresses: Vec<SocketAddr>,
    lookup: Lookup,
    /// When an answer, or the want of one, was last heard of.
    heard: Option<Duration>,
    /// Since when no lookup had an answer.
    unanswered: Option<Duration>,
    /// Since when there were attempts to connect, and none that succeeded.
    trying: Option<Duration>,
}

/// There is at most one lookup of a name at a time, however long it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lookup {
    #[default]
    None,
    Running,
    /// Running for so long that nobody waits for it any more.
    Late,
}

/// What somebody who wants to connect finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// In the order in which they are tried.
    pub(super) addresses: Vec<SocketAddr>,
    /// The finder is to ask the resolver, and nobody else is until [`Name::end`].
    pub(super) ask: bool,
    /// There may soon be an address.
    pub(super) wait: bool,
}

/// Something that people want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Lookups fail from now on.
    Fails {
        /// The address that is known nevertheless.
        kept: Option<SocketAddr>,
    },
    /// They no longer do.
    Answers,
    /// The answer no longer holds the address, or it refuses and another of the name does not.
    Moved {
        /// The old one.
        from: SocketAddr,
        /// The new one.
        to: SocketAddr,
    },
    /// The last address is given up.
    Forgot(SocketAddr),
}

impl Name {
    /// What there is for somebody who wants to connect now.
    pub(super) fn find(&mut self, rules: Resolve, now: Duration) -> Found {
        let ask = self.lookup == Lookup::None && self.is_due(rules, now);
        if ask {
            self.lookup = Lookup::Running;
        }
        let addresses = self.attempt(now);
        let wait = addresses.is_empty() && self.lookup == Lookup::Running;
        Found { addresses, ask, wait }
    }

    /// The addresses to try, by somebody who will: until [`Name::works`] they count as unreachable.
    pub(super) fn attempt(&mut self, now: Duration) -> Vec<SocketAddr> {
        if !self.addresses.is_empty() {
            self.trying.get_or_insert(now);
        }
        self.addresses.clone()
    }

    /// A connection was made to this address: it is tried first from now on.
    pub(super) fn works(&mut self, address: SocketAddr) -> Option<Change> {
        let at = self.addresses.iter().position(|known| *known == address)?;
        self.trying = None;
        let from = self.addresses[0];
        self.addresses[..=at].rotate_right(1);
        (at > 0).then_some(Change::Moved { from, to: address })
    }

    /// This address is the one in use.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.addresses.first() == Some(&address)
    }

    /// An answer of the resolver; an empty one or a failure is `[]`.
    pub(super) fn hear(&mut self, answer: &[SocketAddr], rules: Resolve, now: Duration) -> Option<Change> {
        self.heard = Some(now);
        if answer.is_empty() {
            return self.hear_nothing(rules, now);
        }
        let failed = self.unanswered.take().is_some();
        let before = self.addresses.first().copied();
        self.addresses.retain(|address| answer.contains(address));
        for address in answer {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(address) {
                self.addresses.push(*address);
            }
        }
        match (before, self.addresses.first().copied()) {
            (Some(from), Some(to)) if from != to => {
                self.trying = None;
                Some(Change::Moved { from, to })
            }
            _ => failed.then_some(Change::Answers),
        }
    }

    /// The lookup has not ended yet, which counts as a failure: nobody waits for it any more.
    pub(super) fn is_late(&mut self, rules: Resolve, now: Duration) -> Option<Change> {
        self.lookup = Lookup::Late;
        self.hear(&[], rules, now)
    }

    /// The lookup has ended, one way or the other.
    pub(super) fn end(&mut self) {
        self.lookup = Lookup::None;
    }

    fn hear_nothing(&mut self, rules: Resolve, now: Duration) -> Option<Change> {
        let first = self.unanswered.is_none();
        self.unanswered.get_or_insert(now);
        let lasts =
            |since: Option<Duration>| since.is_some_and(|since| now.saturating_sub(since) >= rules.forget);
        if let Some(address) = self.addresses.first().copied()
            && lasts(self.unanswered)
            && lasts(self.trying)
        {
            self.addresses.clear();
            self.trying = None;
            return Some(Change::Forgot(address));
        }
        first.then_some(Change::Fails { kept: self.addresses.first().copied() })
    }

    fn is_due(&self, rules: Resolve, now: Duration) -> bool {
        let since = |moment: Duration| now.saturating_sub(moment);
        let doubted = self.unanswered.is_some() || self.trying.is_some_and(|trying| since(trying) >= DOUBT);
        let every = if self.addresses.is_empty() {
            RETRY_EVERY
        } else if doubted {
            DOUBTED_EVERY.min(rules.every)
        } else {
            rules.every
        };
        self.heard.is_none_or(|heard| since(heard) >= every)
    }
}
