//! The sessions that are in no exchange, in the order of their last use, so that the longest unused and the expired ones
//! stand in front.
//!
//! Sessions with the same lifetime expire in the order of their use; those with different ones need not. So there is a
//! list for each lifetime. Instances of one application announce the same times, hence there are one or two; an instance
//! that makes up times finds only so many lists and then the next longer lifetime.
//!
//! Those that were only started have lists of their own: they go first when room is needed.
//!
//! Must not: know addresses or keys.

use slab::Slab;

use super::list::{Linked, List, Slot};
use crate::affinity::sid::LIFETIME_MAX;

/// Lifetimes that are kept apart, with the longest of all. Each costs two looks when room is needed.
const CLASSES_MAX: usize = 16;

/// What a session is known by here.
pub(super) trait Aging: Linked {
    /// When it was used last, in milliseconds.
    fn used_at(&self) -> u64;
}

/// The lists, one pair for each lifetime. The first is for [`LIFETIME_MAX`] and always there, so that there is one for
/// whatever comes.
#[derive(Debug)]
pub(super) struct Classes(Vec<Class>);

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
    pub(super) fn new() -> Self {
        Self(vec![Class::new(u64::try_from(LIFETIME_MAX.as_millis()).unwrap_or(u64::MAX))])
    }

    /// The class of one more session that lives for `lifetime` milliseconds.
    pub(super) fn join(&mut self, lifetime: u64) -> ClassId {
        let lifetime = lifetime.min(self.0[0].lifetime);
        let at = self
            .0
            .iter()
            .position(|class| class.lifetime == lifetime)
            .or_else(|| self.add(lifetime))
            .unwrap_or_else(|| self.next_longer(lifetime));
        self.0[at].sessions += 1;
        ClassId(u8::try_from(at).expect("there are few classes"))
    }

    /// One session less has it, which is in its lists no more.
    pub(super) fn leave(&mut self, class: ClassId) {
        self.0[usize::from(class.0)].sessions -= 1;
    }

    /// Milliseconds.
    pub(super) fn lifetime(&self, class: ClassId) -> u64 {
        self.0[usize::from(class.0)].lifetime
    }

    pub(super) fn list(&mut self, class: ClassId, used: bool) -> &mut List {
        let class = &mut self.0[usize::from(class.0)];
        if used { &mut class.used } else { &mut class.started }
    }

    /// Whether a session that was used at `used_at` is expired at `now`.
    pub(super) fn is_expired(&self, class: ClassId, used_at: u64, now: u64) -> bool {
        self.0[usize::from(class.0)].is_expired(used_at, now)
    }

    /// An expired session.
    pub(super) fn expired<E: Aging>(&self, entries: &Slab<E>, now: u64) -> Option<Slot> {
        let is_expired =
            |class: &Class, slot: &Slot| class.is_expired(entries[*slot as usize].used_at(), now);
        self.0.iter().find_map(|class| {
            [class.started, class.used]
                .into_iter()
                .filter_map(List::first)
                .find(|slot| is_expired(class, slot))
        })
    }

    /// The longest unused session that was only started.
    pub(super) fn oldest_started<E: Aging>(&self, entries: &Slab<E>) -> Option<Slot> {
        oldest(self.0.iter().map(|class| class.started), entries)
    }

    /// The longest unused session.
    pub(super) fn oldest<E: Aging>(&self, entries: &Slab<E>) -> Option<Slot> {
        oldest(self.0.iter().flat_map(|class| [class.started, class.used]), entries)
    }

    /// A new class, in the place of one without sessions or behind the others.
    fn add(&mut self, lifetime: u64) -> Option<usize> {
        if let Some(at) = (1..self.0.len()).find(|at| self.0[*at].sessions == 0) {
            self.0[at] = Class::new(lifetime);
            return Some(at);
        }
        if self.0.len() == CLASSES_MAX {
            return None;
        }
        self.0.push(Class::new(lifetime));
        Some(self.0.len() - 1)
    }

    fn next_longer(&self, lifetime: u64) -> usize {
        let longer = self.0.iter().enumerate().filter(|(_, class)| class.lifetime >= lifetime);
        longer.min_by_key(|(_, class)| class.lifetime).map_or(0, |(at, _)| at)
    }
}

impl Class {
    fn new(lifetime: u64) -> Self {
        Self { lifetime, sessions: 0, started: List::EMPTY, used: List::EMPTY }
    }

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
    use proptest::prelude::*;

    use super::super::list::Chain;
    use super::*;

    impl Classes {
        /// The sessions in its lists; of all there are `all`.
        pub(in super::super) fn check<E: Aging>(&self, entries: &mut Slab<E>, all: usize) -> Vec<usize> {
            assert_eq!(self.0.iter().map(|class| class.sessions as usize).sum::<usize>(), all);
            let mut slots = Vec::new();
            for class in &self.0 {
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

    proptest! {
        /// Whatever lifetimes come and go, each finds a class that is not shorter, and no other than its own while there is room.
        #[test]
        fn every_lifetime_has_a_class(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 1..40_u64, any::<bool>()), 0..300),
        ) {
            let mut classes = Classes::new();
            let longest = classes.0[0].lifetime;
            let mut joined = Vec::new();
            for (which, lifetime, joins) in steps {
                if joins || joined.is_empty() {
                    let lifetime = if lifetime == 39 { u64::MAX } else { lifetime };
                    let class = classes.join(lifetime);
                    let given = classes.0[usize::from(class.0)].lifetime;
                    prop_assert!(given >= lifetime.min(longest) && classes.0.len() <= CLASSES_MAX);
                    let taken = classes.0.iter().filter(|class| class.sessions > 0).count();
                    prop_assert!(given == lifetime.min(longest) || taken >= CLASSES_MAX - 1);
                    joined.push((class, given));
                } else {
                    let (class, given) = joined.swap_remove(which.index(joined.len()));
                    prop_assert_eq!(classes.0[usize::from(class.0)].lifetime, given);
                    classes.leave(class);
                }
            }
        }
    }
}
