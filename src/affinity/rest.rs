//! Who must not return to which instance for a while: clients that a drain, a rebalance or a command moved away.
//!
//! Shared by all workers: written when a tunnel or session is closed so, asked at session starts. While nobody rests, which is
//! almost always, asking is one look at a number.
//!
//! Must not: know a clock (time is an argument), or what an instance is beyond its number.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ClientKey;

/// Entries of the process's table: one drain of a large instance. Each takes some 140 bytes, so 14 MB when it is full.
pub const CAPACITY: usize = 100_000;

/// Expired entries that one call clears away, so that no caller waits for the end of a large drain's rest.
const CLEARED_AT_ONCE: usize = 32;

/// Whom an instance shall not see again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The bearer of a cookie, by its binding id, which a renewal keeps.
    Binding([u8; 8]),
    /// Everybody at an address, for want of a cookie.
    Address(ClientKey),
}

/// The table. Times are distances from one origin, whichever it is.
#[derive(Debug)]
pub struct Rest {
    capacity: usize,
    /// Entries in `table`, for those who only want to know whether there are any.
    count: AtomicUsize,
    evicted: AtomicU64,
    table: Mutex<Table>,
}

/// Each entry twice: by client, and by when it ends.
#[derive(Debug, Default)]
struct Table {
    until: BTreeMap<(Who, u32), Duration>,
    by_end: BTreeSet<(Duration, Who, u32)>,
}

impl Rest {
    /// For at most `capacity` entries. When it is full, the one that ends first makes room.
    pub fn new(capacity: usize) -> Self {
        Rest { capacity, count: AtomicUsize::new(0), evicted: AtomicU64::new(0), table: Mutex::default() }
    }

    /// From now on `who` shall not come to `instance` (its number within this process) before `until`. The later of two such
    /// times counts.
    pub fn send_away(&self, who: Who, instance: u32, now: Duration, until: Duration) {
        if until <= now {
            return;
        }
        let mut table = self.table();
        // Whoever has ended makes room first.
        table.clear(now);
        table.insert(who, instance, until);
        if table.until.len() > self.capacity {
            table.remove_first();
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        self.count.store(table.until.len(), Ordering::Relaxed);
    }

    /// Calls `away` with the number of each instance that `who` must not return to yet. It is called under the table's lock.
    pub fn each_of(&self, who: Who, now: Duration, mut away: impl FnMut(u32)) {
        if self.is_empty() {
            return;
        }
        let mut table = self.table();
        for ((_, instance), until) in table.until.range((who, 0)..=(who, u32::MAX)) {
            if *until > now {
                away(*instance);
            }
        }
        table.clear(now);
        self.count.store(table.until.len(), Ordering::Relaxed);
    }

    /// All of them: who, the instance, and until when.
    pub fn all(&self) -> Vec<(Who, u32, Duration)> {
        self.table().until.iter().map(|((who, instance), until)| (*who, *instance, *until)).collect()
    }

    /// Nobody rests: there is no need to find out who asks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries; some may have ended a moment ago.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Entries that made room before their time: for these the table was too small.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, who: Who, instance: u32, until: Duration) {
        let before = self.until.get(&(who, instance)).copied();
        if before.is_some_and(|before| before >= until) {
            return;
        }
        if let Some(before) = before {
            self.by_end.remove(&(before, who, instance));
        }
        self.by_end.insert((until, who, instance));
        self.until.insert((who, instance), until);
    }

    /// Takes out the one that ends first.
    fn remove_first(&mut self) {
        if let Some((_, who, instance)) = self.by_end.pop_first() {
            self.until.remove(&(who, instance));
        }
    }

    /// Takes out some of those that have ended.
    fn clear(&mut self, now: Duration) {
        for _ in 0..CLEARED_AT_ONCE {
            match self.by_end.first() {
                Some((end, ..)) if *end <= now => self.remove_first(),
                _ => return,
            }
        }
    }
}
