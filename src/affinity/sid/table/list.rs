//! Doubly linked lists through the entries of a slab, so that the oldest is found and any is taken out at once, at 8 bytes an
//! entry and list.
//!
//! Must not: know what the entries are.

use slab::Slab;

/// An entry's place in a slab: half the size of slab's own.
pub(super) type Slot = u32;

/// No slot. A shard's capacity keeps real ones below it.
pub(super) const NONE: Slot = Slot::MAX;

/// In which of its lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chain {
    /// With those of the same lifetime.
    Use,
    /// With those of the same address.
    Address,
}

/// An entry's neighbours in one of its lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    previous: Slot,
    next: Slot,
}

/// What can be in lists.
pub(super) trait Linked {
    fn links(&mut self, chain: Chain) -> &mut Links;
}

/// A list, the longest unused first.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: Slot,
    last: Slot,
}

impl Links {
    /// Of an entry that is in no list.
    pub(super) const NONE: Self = Self { previous: NONE, next: NONE };
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(super) fn first(self) -> Option<Slot> {
        (self.first != NONE).then_some(self.first)
    }

    /// Appends `slot`, which is in no list of this kind.
    pub(super) fn push<E: Linked>(&mut self, entries: &mut Slab<E>, chain: Chain, slot: Slot) {
        *links(entries, chain, slot) = Links { previous: self.last, next: NONE };
        match self.last {
            NONE => self.first = slot,
            last => links(entries, chain, last).next = slot,
        }
        self.last = slot;
    }

    /// Takes out `slot`, which is in this list.
    pub(super) fn remove<E: Linked>(&mut self, entries: &mut Slab<E>, chain: Chain, slot: Slot) {
        let Links { previous, next } = std::mem::replace(links(entries, chain, slot), Links::NONE);
        match previous {
            NONE => self.first = next,
            previous => links(entries, chain, previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => links(entries, chain, next).previous = previous,
        }
    }
}

fn links<E: Linked>(entries: &mut Slab<E>, chain: Chain, slot: Slot) -> &mut Links {
    entries[slot as usize].links(chain)
}

/// Bytes of an entry as slab keeps it.
#[cfg(test)]
pub(super) const fn size_in_slab<T>() -> usize {
    #[expect(dead_code, reason = "only its size is of interest")]
    enum Kept<T> {
        Vacant(usize),
        Occupied(T),
    }
    size_of::<Kept<T>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl List {
        /// Its entries, forwards and, which must be the same, backwards.
        pub(in super::super) fn slots<E: Linked>(self, entries: &mut Slab<E>, chain: Chain) -> Vec<usize> {
            let mut walk = |from, next: fn(Links) -> Slot| {
                let mut slots = Vec::new();
                let mut at = from;
                while at != NONE {
                    slots.push(at as usize);
                    assert!(slots.len() <= entries.len(), "a circle");
                    at = next(*links(entries, chain, at));
                }
                slots
            };
            let forwards = walk(self.first, |links| links.next);
            let mut backwards = walk(self.last, |links| links.previous);
            backwards.reverse();
            assert_eq!(forwards, backwards);
            forwards
        }
    }

    struct Entry([Links; 2]);

    impl Linked for Entry {
        fn links(&mut self, chain: Chain) -> &mut Links {
            &mut self.0[chain as usize]
        }
    }

    #[test]
    fn entries_come_and_go() {
        let mut entries = Slab::new();
        let mut lists = [List::EMPTY; 2];
        for _ in 0..5 {
            let slot = Slot::try_from(entries.insert(Entry([Links::NONE; 2]))).unwrap();
            lists[0].push(&mut entries, Chain::Use, slot);
        }
        for slot in [3, 1, 4] {
            lists[1].push(&mut entries, Chain::Address, slot);
        }
        let mut check = |remove: &[Slot], uses: &[usize], addresses: &[usize]| {
            for slot in remove {
                lists[0].remove(&mut entries, Chain::Use, *slot);
            }
            assert_eq!(lists[0].slots(&mut entries, Chain::Use), uses);
            assert_eq!(lists[1].slots(&mut entries, Chain::Address), addresses);
            assert_eq!(lists[0].first(), uses.first().map(|slot| Slot::try_from(*slot).unwrap()));
        };
        check(&[], &[0, 1, 2, 3, 4], &[3, 1, 4]);
        check(&[2], &[0, 1, 3, 4], &[3, 1, 4]);
        check(&[0], &[1, 3, 4], &[3, 1, 4]);
        check(&[4], &[1, 3], &[3, 1, 4]);
        check(&[1, 3], &[], &[3, 1, 4]);
    }
}
