//! How many sessions of a shard each client address has, and which of these have more than their share.
//!
//! Must not: know what a session is beyond its place in the address's list.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use super::list::{List, Slot};
use crate::affinity::ClientKey;

/// The addresses that have sessions in a shard.
pub(super) struct Addresses {
    /// More sessions than these are more than an address's share.
    share: u32,
    slots: Slab<Address>,
    by_client: HashTable<Slot>,
    hasher: RandomState,
    /// Those above their share: at most a handful, because shares are an eighth.
    above: Vec<Slot>,
}

pub(super) struct Address {
    client: ClientKey,
    sessions: u32,
    /// Its sessions that are in no exchange, the longest unused first.
    pub(super) idle: List,
}

impl Addresses {
    pub(super) fn new(share: u32, hasher: RandomState) -> Self {
        Self { share, slots: Slab::new(), by_client: HashTable::new(), hasher, above: Vec::new() }
    }

    /// The address of `client`, if it has sessions.
    pub(super) fn find(&self, client: ClientKey) -> Option<Slot> {
        let is_it = |at: &Slot| self.slots[*at as usize].client == client;
        self.by_client.find(self.hasher.hash_one(client), is_it).copied()
    }

    /// Whose sessions these are.
    pub(super) fn client(&self, address: Slot) -> ClientKey {
        self.slots[address as usize].client
    }

    pub(super) fn get(&mut self, address: Slot) -> &mut Address {
        &mut self.slots[address as usize]
    }

    /// Whether one session more would be more than its share.
    pub(super) fn is_at_share(&self, address: Slot) -> bool {
        self.slots[address as usize].sessions >= self.share
    }

    /// The addresses that have more than their share.
    pub(super) fn above_share(&self) -> impl Iterator<Item = &Address> {
        self.above.iter().map(|at| &self.slots[*at as usize])
    }

    /// `client` has one session more.
    pub(super) fn join(&mut self, client: ClientKey) -> Slot {
        let at = self.find(client).unwrap_or_else(|| self.insert(client));
        let address = &mut self.slots[at as usize];
        address.sessions += 1;
        if address.sessions == self.share + 1 {
            self.above.push(at);
        }
        at
    }

    /// It has one session less, which is in its list no more.
    pub(super) fn leave(&mut self, at: Slot) {
        let address = &mut self.slots[at as usize];
        address.sessions -= 1;
        if address.sessions == self.share {
            self.above.retain(|above| *above != at);
        }
        if address.sessions == 0 {
            let client = self.slots.remove(at as usize).client;
            let hash = self.hasher.hash_one(client);
            self.by_client
                .find_entry(hash, |known| *known == at)
                .expect("whoever has sessions can be found")
                .remove();
        }
    }

    fn insert(&mut self, client: ClientKey) -> Slot {
        let at = self.slots.insert(Address { client, sessions: 0, idle: List::EMPTY });
        let at = Slot::try_from(at).expect("there are no more addresses than sessions");
        let Self { slots, by_client, hasher, .. } = self;
        by_client
            .insert_unique(hasher.hash_one(client), at, |at| hasher.hash_one(slots[*at as usize].client));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::{Chain, Linked, size_in_slab};
    use super::*;

    impl Addresses {
        /// Bytes of one address in the slab.
        pub(in super::super) fn address_size() -> usize {
            size_in_slab::<Address>()
        }

        /// Bytes of everything that grows with the addresses.
        pub(in super::super) fn allocated(&self) -> usize {
            self.slots.capacity() * Self::address_size() + self.by_client.allocation_size()
        }

        /// The sessions in its lists; of all there are `all`.
        pub(in super::super) fn check<E: Linked>(&self, entries: &mut Slab<E>, all: usize) -> Vec<usize> {
            let sessions: usize = self.slots.iter().map(|(_, address)| address.sessions as usize).sum();
            assert_eq!(sessions, all);
            let mut above = self.above.clone();
            above.sort_unstable();
            let is_above = |address: &Address| address.sessions > self.share;
            let expected = self.slots.iter().filter(|(_, address)| is_above(address));
            assert!(above.iter().map(|at| *at as usize).eq(expected.map(|(at, _)| at)));
            assert_eq!(self.by_client.len(), self.slots.len());
            let mut slots = Vec::new();
            for (at, address) in &self.slots {
                assert!(address.sessions > 0);
                assert_eq!(self.find(address.client).map(|found| found as usize), Some(at));
                slots.extend(address.idle.slots(entries, Chain::Address));
            }
            slots.sort_unstable();
            slots
        }
    }
}
