//! A part of the table: the sessions of some keys, and who makes room when it is full.
//!
//! All in one slab, found by key, in two lists each: by use ([`Classes`]) and by address ([`Addresses`]). A session in an
//! exchange is in neither, so it is not found when something is to go.
//!
//! Must not: lock, drop a home (its caller does that, outside of the lock).

use std::hash::RandomState;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;

use super::addresses::Addresses;
use super::classes::{Aging, ClassId, Classes, oldest};
use super::interned::{Interned, Which};
use super::list::{Chain, Linked, Links, NONE, Slot};
use super::{Known, Learned, Seen, SidKey};
use crate::affinity::ClientKey;

/// An address's share is the shard's capacity divided by this, and so is that of sessions that were only started.
pub(super) const SHARES: usize = 8;

/// Some of the table's sessions.
pub(super) struct Shard<H> {
    capacity: usize,
    /// The latest time that was heard of, in milliseconds. Threads do not tell the same time at the same moment, and the
    /// lists are in its order.
    clock: u64,
    sessions: Slab<Session<H>>,
    by_key: HashTable<Slot>,
    classes: Classes,
    addresses: Addresses,
    cors: Interned,
    /// Sessions that were never used since they were learned.
    started: usize,
    /// Tells sessions apart that had the same key one after the other.
    next_epoch: u32,
}

/// A session. In the slab, so every byte counts.
struct Session<H> {
    home: H,
    key: SidKey,
    used_at: u64,
    by_use: Links,
    by_address: Links,
    address: Slot,
    epoch: u32,
    /// Exchanges that it is in.
    pins: u32,
    class: ClassId,
    cors: Which,
    used: bool,
}

/// What is to be learned.
pub(super) struct New<'a, H> {
    pub(super) key: SidKey,
    pub(super) client: ClientKey,
    pub(super) home: H,
    pub(super) cors: Option<&'a [u8]>,
    /// Milliseconds.
    pub(super) lifetime: u64,
}

/// No session. If one was expired and has just been taken out: its home, to be dropped outside of the lock.
pub(super) struct Missing<H>(pub(super) Option<H>);

/// Who makes room.
enum Room<H> {
    Expired(H),
    Evicted(H),
    /// Nobody can.
    None,
}

impl<H> Shard<H> {
    pub(super) fn new(capacity: usize, hasher: RandomState) -> Self {
        // Slots are smaller than usize.
        let capacity = capacity.min(NONE as usize);
        let share = u32::try_from(capacity / SHARES).unwrap_or(u32::MAX - 1).max(1);
        Self {
            capacity,
            clock: 0,
            sessions: Slab::new(),
            by_key: HashTable::new(),
            classes: Classes::new(),
            addresses: Addresses::new(share, hasher),
            cors: Interned::default(),
            started: 0,
            next_epoch: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// What was learned, and what else is to be dropped: the session that it replaces, one that was expired, or its own home.
    pub(super) fn learn(&mut self, new: New<'_, H>, now: u64) -> (Learned<H>, Option<H>) {
        self.clock = self.clock.max(now);
        let replaced = self.find(new.key).map(|slot| self.remove(slot));
        if self.sessions.len() < self.capacity {
            self.insert(new);
            return (Learned { evicted: None, kept: true }, replaced);
        }
        match self.make_room(new.client) {
            Room::Expired(home) => {
                self.insert(new);
                (Learned { evicted: None, kept: true }, Some(home))
            }
            Room::Evicted(home) => {
                self.insert(new);
                (Learned { evicted: Some(home), kept: true }, None)
            }
            Room::None => (Learned { evicted: None, kept: false }, Some(new.home)),
        }
    }

    /// Pins the session after `read`, and tells its epoch.
    pub(super) fn hold<R>(
        &mut self,
        key: SidKey,
        now: u64,
        read: impl FnOnce(&H, Option<&Arc<[u8]>>) -> R,
    ) -> Result<(u32, R), Missing<H>> {
        self.clock = self.clock.max(now);
        let slot = self.find(key).ok_or(Missing(None))?;
        let session = &self.sessions[slot as usize];
        if session.pins == 0 && self.classes.is_expired(session.class, session.used_at, self.clock) {
            return Err(Missing(Some(self.remove(slot))));
        }
        // First of all, so that nothing is left half done if it panics.
        let result = read(&session.home, self.cors.get(session.cors));
        if session.pins == 0 {
            self.unlink(slot);
        }
        let session = &mut self.sessions[slot as usize];
        session.pins += 1;
        if !session.used {
            session.used = true;
            self.started -= 1;
        }
        Ok((session.epoch, result))
    }

    /// The home of a session that is not expired.
    pub(super) fn peek(&self, key: SidKey, now: u64) -> Option<&H> {
        let session = &self.sessions[self.find(key)? as usize];
        let expired =
            session.pins == 0 && self.classes.is_expired(session.class, session.used_at, self.clock.max(now));
        (!expired).then_some(&session.home)
    }

    /// Takes a pin away, unless that session is not there any more.
    pub(super) fn release(&mut self, key: SidKey, epoch: u32, now: u64) {
        self.clock = self.clock.max(now);
        let Some(slot) = self.find_held(key, epoch) else { return };
        let session = &mut self.sessions[slot as usize];
        session.pins -= 1;
        if session.pins == 0 {
            session.used_at = self.clock;
            self.link(slot);
        }
    }

    pub(super) fn held_mut(&mut self, key: SidKey, epoch: u32) -> Option<&mut H> {
        let slot = self.find_held(key, epoch)?;
        Some(&mut self.sessions[slot as usize].home)
    }

    pub(super) fn forget_held(&mut self, key: SidKey, epoch: u32) -> Option<H> {
        let slot = self.find_held(key, epoch)?;
        Some(self.remove(slot))
    }

    pub(super) fn cors(&self, key: SidKey, epoch: u32) -> Option<Arc<[u8]>> {
        let slot = self.find_held(key, epoch)?;
        self.cors.get(self.sessions[slot as usize].cors).cloned()
    }

    /// Tells up to `most` sessions from this slot on; where to go on, unless these were the last.
    pub(super) fn list<T>(
        &self,
        from: usize,
        most: usize,
        known: &mut Vec<Known<T>>,
        of: &mut impl FnMut(&H) -> T,
    ) -> Option<usize> {
        // Those that are not there are looked at too, and count.
        let (end, last) = (from.saturating_add(most), self.sessions.capacity());
        for slot in from..end.min(last) {
            let Some(session) = self.sessions.get(slot) else { continue };
            if session.pins == 0 && self.classes.is_expired(session.class, session.used_at, self.clock) {
                continue;
            }
            known.push(self.known(session, &mut *of));
        }
        (end < last).then_some(end)
    }

    /// What is known of one session; expired or not.
    pub(super) fn known_by<T>(&self, key: SidKey, of: impl FnOnce(&H) -> T) -> Option<Known<T>> {
        Some(self.known(&self.sessions[self.find(key)? as usize], of))
    }

    fn known<T>(&self, session: &Session<H>, of: impl FnOnce(&H) -> T) -> Known<T> {
        Known {
            key: session.key,
            client: self.addresses.client(session.address),
            home: of(&session.home),
            cors: self.cors.get(session.cors).cloned(),
            lifetime: Duration::from_millis(self.classes.lifetime(session.class)),
            used: session.used,
        }
    }

    /// It was used, before it was learned here.
    pub(super) fn is_used(&mut self, key: SidKey, now: u64) {
        if let Ok((epoch, ())) = self.hold(key, now, |_, _| ()) {
            self.release(key, epoch, now);
        }
    }

    /// Takes out at most `most` expired sessions.
    pub(super) fn sweep(&mut self, now: u64, most: usize, gone: &mut Vec<H>) {
        self.clock = self.clock.max(now);
        while gone.len() < most
            && let Some(slot) = self.classes.expired(&self.sessions, self.clock)
        {
            gone.push(self.remove(slot));
        }
    }

    /// Looks at the sessions in these slots that are not expired; whether there are slots behind them.
    pub(super) fn look(&self, slots: Range<usize>, now: u64, mut see: impl FnMut(Seen<'_, H>)) -> bool {
        let now = now.max(self.clock);
        let last = slots.end;
        for session in slots.filter_map(|slot| self.sessions.get(slot)) {
            let held = session.pins > 0;
            let idle = if held { 0 } else { now.saturating_sub(session.used_at) };
            if held || !self.classes.is_expired(session.class, session.used_at, now) {
                see(Seen {
                    home: &session.home,
                    client: self.addresses.client(session.address),
                    held,
                    idle: Duration::from_millis(idle),
                    left: Duration::from_millis(self.classes.lifetime(session.class).saturating_sub(idle)),
                });
            }
        }
        last < self.sessions.capacity()
    }

    /// Takes out one session, so that `client` may have one more.
    ///
    /// 1. One that is expired.
    /// 2. If the client's address has its share: one of its own, or of another that has more than its share. So a flood of
    ///    session starts from one address costs only that address.
    /// 3. One that was only started, unless these are few. So a flood from many addresses costs no session that is used.
    /// 4. Any.
    ///
    /// Each time the longest unused one.
    fn make_room(&mut self, client: ClientKey) -> Room<H> {
        if let Some(slot) = self.classes.expired(&self.sessions, self.clock) {
            return Room::Expired(self.remove(slot));
        }
        match self.longest_unused(client) {
            Some(slot) => Room::Evicted(self.remove(slot)),
            None => Room::None,
        }
    }

    fn longest_unused(&mut self, client: ClientKey) -> Option<Slot> {
        let own = self.addresses.find(client).filter(|own| self.addresses.is_at_share(*own));
        if let Some(own) = own
            && let Some(slot) = self.addresses.get(own).idle.first()
        {
            return Some(slot);
        }
        let above = self.addresses.above_share().map(|address| address.idle);
        let above = oldest(above, &self.sessions);
        // Whoever has its share, all of it in exchanges, takes nothing from those who have less.
        if above.is_some() || own.is_some() {
            return above;
        }
        if self.started > self.capacity / SHARES {
            return self.classes.oldest_started(&self.sessions);
        }
        self.classes.oldest(&self.sessions)
    }

    fn find(&self, key: SidKey) -> Option<Slot> {
        self.by_key.find(key.0, |slot| self.sessions[*slot as usize].key == key).copied()
    }

    /// The session of a guard, unless another one has the key by now.
    fn find_held(&self, key: SidKey, epoch: u32) -> Option<Slot> {
        self.find(key).filter(|slot| self.sessions[*slot as usize].epoch == epoch)
    }

    /// Enters what is not there, where there is room.
    fn insert(&mut self, new: New<'_, H>) {
        let session = Session {
            home: new.home,
            key: new.key,
            used_at: self.clock,
            by_use: Links::NONE,
            by_address: Links::NONE,
            address: self.addresses.join(new.client),
            epoch: self.next_epoch,
            pins: 0,
            class: self.classes.join(new.lifetime),
            cors: new.cors.map_or(Which::NONE, |cors| self.cors.take(cors)),
            used: false,
        };
        self.next_epoch = self.next_epoch.wrapping_add(1);
        self.started += 1;
        let slot = Slot::try_from(self.sessions.insert(session)).expect("the capacity is below");
        let sessions = &self.sessions;
        self.by_key.insert_unique(new.key.0, slot, |slot| sessions[*slot as usize].key.0);
        self.link(slot);
    }

    fn remove(&mut self, slot: Slot) -> H {
        if self.sessions[slot as usize].pins == 0 {
            self.unlink(slot);
        }
        let session = self.sessions.remove(slot as usize);
        self.by_key
            .find_entry(session.key.0, |known| *known == slot)
            .expect("what is in the slab can be found")
            .remove();
        self.addresses.leave(session.address);
        self.classes.leave(session.class);
        self.cors.give_back(session.cors);
        if !session.used {
            self.started -= 1;
        }
        session.home
    }

    /// Into its lists, as the one that was used last.
    fn link(&mut self, slot: Slot) {
        let Session { class, used, address, .. } = self.sessions[slot as usize];
        self.classes.list(class, used).push(&mut self.sessions, Chain::Use, slot);
        self.addresses.get(address).idle.push(&mut self.sessions, Chain::Address, slot);
    }

    /// Out of its lists.
    fn unlink(&mut self, slot: Slot) {
        let Session { class, used, address, .. } = self.sessions[slot as usize];
        self.classes.list(class, used).remove(&mut self.sessions, Chain::Use, slot);
        self.addresses.get(address).idle.remove(&mut self.sessions, Chain::Address, slot);
    }
}

impl<H> Linked for Session<H> {
    fn links(&mut self, chain: Chain) -> &mut Links {
        match chain {
            Chain::Use => &mut self.by_use,
            Chain::Address => &mut self.by_address,
        }
    }
}

impl<H> Aging for Session<H> {
    fn used_at(&self) -> u64 {
        self.used_at
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::size_in_slab;
    use super::*;

    impl<H> Shard<H> {
        pub(in super::super) fn get_mut(&mut self, key: SidKey) -> Option<&mut H> {
            let slot = self.find(key)?;
            Some(&mut self.sessions[slot as usize].home)
        }

        pub(in super::super) fn forget(&mut self, key: SidKey) -> Option<H> {
            let slot = self.find(key)?;
            Some(self.remove(slot))
        }

        pub(in super::super) fn capacity(&self) -> usize {
            self.capacity
        }

        /// Bytes of one session in the slab.
        pub(in super::super) fn session_size() -> usize {
            size_in_slab::<Session<H>>()
        }

        /// Bytes of everything that grows with the sessions.
        pub(in super::super) fn allocated(&self) -> usize {
            self.sessions.capacity() * Self::session_size()
                + self.by_key.allocation_size()
                + self.addresses.allocated()
        }

        /// What is said twice is the same.
        pub(in super::super) fn check(&mut self) {
            let mut known: Vec<_> = self.by_key.iter().map(|slot| *slot as usize).collect();
            known.sort_unstable();
            assert_eq!(known, self.sessions.iter().map(|(slot, _)| slot).collect::<Vec<_>>());
            assert_eq!(self.started, self.sessions.iter().filter(|(_, session)| !session.used).count());
            let is_idle = |slot: &usize| self.sessions[*slot].pins == 0;
            let mut idle: Vec<_> = known.into_iter().filter(is_idle).collect();
            let all = self.sessions.len();
            assert_eq!(self.classes.check(&mut self.sessions, all), idle);
            assert_eq!(self.addresses.check(&mut self.sessions, all), idle);
            idle.retain(|slot| {
                self.classes.is_expired(self.sessions[*slot].class, self.sessions[*slot].used_at, self.clock)
            });
            assert_eq!(self.classes.expired(&self.sessions, self.clock).is_some(), !idle.is_empty());
        }
    }
}
