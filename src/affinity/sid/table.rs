//! The table of learned sids: key to home, bounded, shared by all threads.
//!
//! It is full of what clients caused, so what a client can cause is bounded: an entry costs about 110 bytes and its home,
//! whatever the sid's length, keys are hashed with a secret of the table, and the rules by which entries make room
//! (`Shard::make_room`) keep honest sessions while somebody floods it.
//!
//! It is cut into shards by key, each behind a lock that is held for some hundred nanoseconds. Homes, which may have a life
//! of their own, are dropped after it is released.
//!
//! Must not: wait, read a clock, know what a home is.

mod addresses;
mod classes;
mod interned;
mod list;
#[cfg(test)]
mod model_tests;
mod passed_on;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use passed_on::{Known, Place, Secret};
use shard::{New, Shard};

use crate::affinity::ClientKey;

/// A shard has at least so many entries (or it is the only one): an eighth of them is the share of an address, and keys fall into
/// shards by chance.
const SHARD_CAPACITY_MIN: usize = 4096;

/// Longer CORS header lines are not kept, in bytes.
pub const CORS_MAX: usize = interned::TEXT_MAX;

/// More shards than these do not make 64 threads wait less.
const SHARDS_MAX: usize = 64;

/// Expired entries that are taken out under one lock: some microseconds.
const SWEPT_PER_LOCK: usize = 64;

/// Sessions that are looked at under one lock: some microseconds.
const SEEN_PER_LOCK: usize = 64;

/// A keyed hash of an upstream's name and a sid, under which the table knows a session. 64 bits: among a million sessions
/// the chance that a new one meets the key of another is 1 in 18 million million, and nobody without the table's secret can
/// do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SidKey(u64);

impl SidKey {
    /// A number that is well spread over sessions, and always the same for one.
    pub fn spread(self) -> u64 {
        // The table tells its shards apart by some of its bits.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Learned sids and where their sessions live. `H`, the home, belongs to one entry; what counts sessions counts down when it
/// is dropped.
pub struct Table<H> {
    shards: Box<[Mutex<Shard<H>>]>,
    secret: Secret,
    capacity: usize,
    /// The shard with which the next sweep begins.
    sweep_from: AtomicUsize,
}

/// What learning did.
#[derive(Debug, PartialEq, Eq)]
pub struct Learned<H> {
    /// A living session that made room.
    pub evicted: Option<H>,
    /// Whether the new session is in the table. Else all that could make room are in an exchange.
    pub kept: bool,
}

/// A session, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a, H> {
    /// Where it lives.
    pub home: &'a H,
    /// Who began it.
    pub client: ClientKey,
    /// It is in an exchange.
    pub held: bool,
    /// Since its last exchange; zero while it is in one.
    pub idle: Duration,
    /// What is left of its lifetime if no exchange comes.
    pub left: Duration,
}

/// How far somebody has looked through the table; the default is its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    shard: usize,
    slot: usize,
}

/// A session in an exchange: it is neither evicted nor expired. Dropped without [`Held::release`] it counts as used last
/// when its shard heard of time last: not before the hold, and hardly before now.
#[must_use = "the session is pinned only as long as this lives"]
pub struct Held<H> {
    /// Gone with the pin.
    table: Option<Arc<Table<H>>>,
    key: SidKey,
    epoch: u32,
}

impl<H> Table<H> {
    /// A table for `capacity` sessions (`limits.sids`; at least one). It takes memory as it fills.
    pub fn new(capacity: usize) -> Self {
        Self::with_secret(capacity, Secret::random())
    }

    /// The same, which knows sessions under the same keys as the table that has this secret.
    pub fn with_secret(capacity: usize, secret: Secret) -> Self {
        let capacity = capacity.max(1);
        let shards = (capacity / SHARD_CAPACITY_MIN).clamp(1, SHARDS_MAX);
        let hasher = RandomState::new();
        let capacity_of = |at| capacity / shards + usize::from(at < capacity % shards);
        let shard = |at| Mutex::new(Shard::new(capacity_of(at), hasher.clone()));
        Self { shards: (0..shards).map(shard).collect(), secret, capacity, sweep_from: AtomicUsize::new(0) }
    }

    /// The key of a session, by its upstream and the sid as the client says it (without percent-encoding).
    pub fn key(&self, upstream: &str, sid: &[u8]) -> SidKey {
        let mut hasher = self.secret.hasher();
        hasher.write(upstream.as_bytes());
        // An end mark that is in no text, so that no other pair gives the same bytes.
        hasher.write(&[0xff]);
        hasher.write(sid);
        SidKey(hasher.finish())
    }

    /// Enters a session that `client` just started at `home`; it replaces one with the same key. `cors` are the raw header
    /// lines with which the client can be told later that the session is gone (more than [`CORS_MAX`] bytes are not kept, nor more
    /// than 64 different ones a shard). `lifetime` is what [`super::lifetime`] says.
    pub fn learn(
        &self,
        key: SidKey,
        client: ClientKey,
        home: H,
        cors: Option<&[u8]>,
        lifetime: Duration,
        now: Duration,
    ) -> Learned<H> {
        let new = New { key, client, home, cors, lifetime: milliseconds(lifetime) };
        let (learned, gone) = self.shard(key).learn(new, milliseconds(now));
        drop(gone);
        learned
    }

    /// The session of `key`, used at `now` and pinned until the returned guard ends; `None` if it is unknown or expired.
    /// `read` sees its home and the CORS header lines, under the shard's lock: it must not use the table.
    pub fn hold<R>(
        self: &Arc<Self>,
        key: SidKey,
        now: Duration,
        read: impl FnOnce(&H, Option<&Arc<[u8]>>) -> R,
    ) -> Option<(Held<H>, R)> {
        let held = self.shard(key).hold(key, milliseconds(now), read);
        let (epoch, result) = held.ok()?;
        Some((Held { table: Some(Arc::clone(self)), key, epoch }, result))
    }

    /// Sees the home of the session of `key`, which is no use of it; `None` if it is unknown or expired. `read` is called under the
    /// shard's lock: it must not use the table.
    pub fn peek<R>(&self, key: SidKey, now: Duration, read: impl FnOnce(&H) -> R) -> Option<R> {
        self.shard(key).peek(key, milliseconds(now)).map(read)
    }

    /// Drops at most `most` sessions that are expired at `now`, few under each lock; tells how many. If these were `most`, there
    /// may be more.
    pub fn sweep(&self, now: Duration, most: usize) -> usize {
        let mut gone = Vec::with_capacity(most.min(SWEPT_PER_LOCK));
        let mut dropped = 0;
        let from = self.sweep_from.load(Ordering::Relaxed);
        for at in from..from + self.shards.len() {
            let at = at % self.shards.len();
            loop {
                let wanted = SWEPT_PER_LOCK.min(most - dropped);
                if wanted == 0 {
                    self.sweep_from.store(at, Ordering::Relaxed);
                    return dropped;
                }
                lock(&self.shards[at]).sweep(milliseconds(now), wanted, &mut gone);
                let swept = gone.len();
                dropped += swept;
                gone.clear();
                if swept < wanted {
                    break;
                }
            }
        }
        dropped
    }

    /// Looks at some sessions that are not expired at `now`, few under one lock; where to go on, `None`: that were all. What comes, goes or
    /// is replaced meanwhile may be missed. `see` must not use the table.
    pub fn look(&self, from: Looked, now: Duration, see: impl FnMut(Seen<'_, H>)) -> Option<Looked> {
        let Looked { shard, slot } = from;
        let next = lock(self.shards.get(shard)?).look(slot..slot + SEEN_PER_LOCK, milliseconds(now), see);
        let next = if next {
            Looked { shard, slot: slot + SEEN_PER_LOCK }
        } else {
            Looked { shard: shard + 1, slot: 0 }
        };
        (next.shard < self.shards.len()).then_some(next)
    }

    /// Sessions in the table, also expired ones that were not swept yet. Locks each shard once: for metrics.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sessions for which there is room.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn shard(&self, key: SidKey) -> MutexGuard<'_, Shard<H>> {
        // The middle of the hash: a shard's own table looks at both of its ends.
        let middle = (key.0 >> 24) & u64::from(u32::MAX);
        let at = (middle * self.shards.len() as u64) >> 32;
        lock(&self.shards[usize::try_from(at).unwrap_or(0)])
    }
}

impl<H> Held<H> {
    /// The exchange ended at `now`. If it was the last one of the session, its lifetime begins anew.
    pub fn release(mut self, now: Duration) {
        self.unpin(now);
    }

    /// Under which the table knows it.
    pub fn key(&self) -> SidKey {
        self.key
    }

    /// The CORS header lines of the answer in which the session began.
    pub fn cors(&self) -> Option<Arc<[u8]>> {
        let (key, epoch) = (self.key, self.epoch);
        self.table.as_ref()?.shard(key).cors(key, epoch)
    }

    /// Changes its home, under the shard's lock: `edit` must not use the table.
    pub fn edit(&self, edit: impl FnOnce(&mut H)) {
        if let Some(table) = &self.table
            && let Some(home) = table.shard(self.key).held_mut(self.key, self.epoch)
        {
            edit(home);
        }
    }

    /// Takes it out of the table, though it is in an exchange.
    pub fn forget(&self) {
        // The home is dropped here, outside of the lock.
        let (key, epoch) = (self.key, self.epoch);
        drop(self.table.as_ref().and_then(|table| table.shard(key).forget_held(key, epoch)));
    }

    fn unpin(&mut self, now: Duration) {
        if let Some(table) = self.table.take() {
            table.shard(self.key).release(self.key, self.epoch, milliseconds(now));
        }
    }
}

impl<H> Drop for Held<H> {
    fn drop(&mut self) {
        self.unpin(Duration::ZERO);
    }
}

impl<H> fmt::Debug for Table<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for Held<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.key).finish()
    }
}

/// A panic of somebody's closure under the lock leaves a shard as it was.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
