//! The sessions that are in no exchange, in the order of their last use, so that the longest unused and the expired ones stand in front.
//!
//! Sessions with the same lifetime expire in the order of their use; those with different ones need not. So there is a list for
//! each lifetime. Instances of one application announce the same times, hence there are one or two; an instance that makes up times
//! finds only so many lists and then the next longer lifetime.
//!
//! Those that were only started have lists of their own: they go first when room is needed.
//!
//! Must not: know addresses or keys.

use slab::Slab;

use super::list::{Linked, List, Slot};
use crate::affinity::sid::LIFETIME_MAX;

/// Lifetimes that are kept apart. Each costs two looks when room is needed.
const CLASSES_MAX: usize = 16;

/// What a session is known by here.
pub(super) trait Aging: Linked {
    /// When it was used last, in milliseconds.
    fn used_at(&self) -> u64;
}

/// The lists, one pair for each lifetime.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: Vec<Class>,
}

#[derive(Debug)]
struct Class {
    /// Milliseconds.
    lifetime: u64,
    /// Sessions with this lifetime, also those that are in an exchange, hence in no list.
    sessions: u32,
    started: List,
    used: List,
}

/// Which lifetime: an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassId(u8);

impl Classes {
    /// The class of one more session that lives for `lifetime` milliseconds.
    pub(super) fn join(&mut self, lifetime: u64) -> ClassId {
        let longest = u64::try_from(LIFETIME_MAX.as_millis()).unwrap_or(u64::MAX);
        let lifetime = lifetime.min(longest);
        let at = self
            .position(|class| class.lifetime == lifetime)
            .or_else(|| self.add(lifetime, CLASSES_MAX - 1))
            // The last one is for whatever finds no other.
            .or_else(|| self.next_longer(lifetime))
            .or_else(|| self.add(longest, CLASSES_MAX))
            .expect("the last class is as long as any lifetime");
        self.classes[at].sessions += 1;
        ClassId(u8::try_from(at).expect("there are few classes"))
    }

    /// One session less has it, which is in its lists no more.
    pub(super) fn leave(&mut self, class: ClassId) {
        self.classes[usize::from(class.0)].sessions -= 1;
    }

    pub(super) fn list(&mut self, class: ClassId, used: bool) -> &mut List {
        let class = &mut self.classes[usize::from(class.0)];
        if used { &mut class.used } else { &mut class.started }
    }

    /// Whether a session that was used at `used_at` is expired at `now`.
    pub(super) fn is_expired(&self, class: ClassId, used_at: u64, now: u64) -> bool {
        self.classes[usize::from(class.0)].is_expired(used_at, now)
    }

    /// An expired session.
    pub(super) fn expired<E: Aging>(&self, entries: &Slab<E>, now: u64) -> Option<Slot> {
        let is_expired =
            |class: &Class, slot: &Slot| class.is_expired(entries[*slot as usize].used_at(), now);
        self.classes.iter().find_map(|class| {
            [class.started, class.used]
                .into_iter()
                .filter_map(List::first)
                .find(|slot| is_expired(class, slot))
        })
    }

    /// The longest unused session that was only started.
    pub(super) fn oldest_started<E: Aging>(&self, entries: &Slab<E>) -> Option<Slot> {
        oldest(self.classes.iter().map(|class| class.started), entries)
    }

    /// The longest unused session.
    pub(super) fn oldest<E: Aging>(&self, entries: &Slab<E>) -> Option<Slot> {
        oldest(self.classes.iter().flat_map(|class| [class.started, class.used]), entries)
    }

    fn position(&self, is_it: impl Fn(&Class) -> bool) -> Option<usize> {
        self.classes.iter().position(is_it)
    }

    /// A new class, in the place of one without sessions or behind at most `most`.
    fn add(&mut self, lifetime: u64, most: usize) -> Option<usize> {
        let class = Class { lifetime, sessions: 0, started: List::EMPTY, used: List::EMPTY };
        if let Some(at) = self.position(|class| class.sessions == 0) {
            self.classes[at] = class;
            return Some(at);
        }
        if self.classes.len() >= most {
            return None;
        }
        self.classes.push(class);
        Some(self.classes.len() - 1)
    }

    fn next_longer(&self, lifetime: u64) -> Option<usize> {
        let longer = self.classes.iter().enumerate().filter(|(_, class)| class.lifetime >= lifetime);
        longer.min_by_key(|(_, class)| class.lifetime).map(|(at, _)| at)
    }
}

impl Class {
    fn is_expired(&self, used_at: u64, now: u64) -> bool {
        used_at.saturating_add(self.lifetime) <= now
    }
}

/// The longest unused of those that stand first in `lists`.
pub(super) fn oldest<E: Aging>(lists: impl Iterator<Item = List>, entries: &Slab<E>) -> Option<Slot> {
    lists.filter_map(List::first).min_by_key(|slot| entries[*slot as usize].used_at())
}

#[cfg(test)]
mod tests {
    use super::super::list::Chain;
    use super::*;

    impl Classes {
        /// The sessions in its lists; of all there are `all`.
        pub(in super::super) fn check<E: Aging>(&self, entries: &mut Slab<E>, all: usize) -> Vec<usize> {
            assert_eq!(self.classes.iter().map(|class| class.sessions as usize).sum::<usize>(), all);
            let mut slots = Vec::new();
            for class in &self.classes {
                for list in [class.started, class.used] {
                    let in_it = list.slots(entries, Chain::Use);
                    assert!(in_it.is_sorted_by_key(|slot| entries[*slot].used_at()));
                    slots.extend(in_it);
                }
            }
            slots.sort_unstable();
            slots
        }
    }
}
