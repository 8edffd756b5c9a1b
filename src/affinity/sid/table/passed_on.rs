//! The table's sessions, for a process that takes over from this one: the same keys, because it is told the secret.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::{SidKey, Table, lock, milliseconds};
use crate::affinity::ClientKey;

/// What keys are hashed with. Whoever knows it can make sessions that meet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u64; 2]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one.
    pub(super) fn random() -> Self {
        // Its hash of nothing, under keys that it draws.
        let draw = || RandomState::new().build_hasher().finish();
        Secret([draw(), draw()])
    }

    /// For whoever takes over.
    pub fn words(self) -> [u64; 2] {
        self.0
    }

    /// Of these words.
    pub fn of(words: [u64; 2]) -> Self {
        Secret(words)
    }

    /// SipHash-2-4, which is the same in every version of this program.
    #[expect(deprecated, reason = "std has no other hasher with keys of one's own")]
    pub(super) fn hasher(self) -> std::hash::SipHasher {
        std::hash::SipHasher::new_with_keys(self.0[0], self.0[1])
    }
}

/// A session as another table learns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<T> {
    /// Under which both know it.
    pub key: SidKey,
    /// Whose address started it.
    pub client: ClientKey,
    /// Where it lives.
    pub home: T,
    /// The CORS header lines of the answer in which it began.
    pub cors: Option<Arc<[u8]>>,
    /// How long it lives after its last use.
    pub lifetime: Duration,
    /// It was used after its start.
    pub used: bool,
}

/// How far a list of all sessions is; the default: at the begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    shard: usize,
    slot: usize,
}

impl SidKey {
    /// For whoever has the secret too.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Of such a number.
    pub fn of(number: u64) -> Self {
        SidKey(number)
    }
}

impl<H> Table<H> {
    /// What its keys are hashed with.
    pub fn secret(&self) -> Secret {
        self.secret
    }

    /// Up to `most` sessions from `place` on, and where to go on; `None`: these were the last. `of` says what becomes of a home,
    /// under the shard's lock: it must not use the table. Sessions that are learned meanwhile may be missing.
    pub fn list<T>(
        &self,
        place: Place,
        most: usize,
        mut of: impl FnMut(&H) -> T,
    ) -> (Vec<Known<T>>, Option<Place>) {
        let mut known = Vec::new();
        let Some(shard) = self.shards.get(place.shard) else { return (known, None) };
        let next = lock(shard).list(place.slot, most, &mut known, &mut of);
        let next = match next {
            Some(slot) => Place { slot, ..place },
            None => Place { shard: place.shard + 1, slot: 0 },
        };
        (known, (next.shard < self.shards.len()).then_some(next))
    }

    /// What is known of the session of `key`, for another table. `of` is as in [`Table::list`].
    pub fn known<T>(&self, key: SidKey, of: impl FnOnce(&H) -> T) -> Option<Known<T>> {
        self.shard(key).known_by(key, of)
    }

    /// Learns a session that another table with the same secret knows. Its lifetime begins anew at `now`.
    pub fn take_over(&self, known: Known<H>, now: Duration) {
        let Known { key, client, home, cors, lifetime, used } = known;
        self.learn(key, client, home, cors.as_deref(), lifetime, now);
        if used {
            self.shard(key).is_used(key, milliseconds(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn another_table_knows_the_same() {
        let before = Arc::new(Table::new(10_000));
        let client = ClientKey::of(Ipv4Addr::LOCALHOST.into(), 32, 128);
        let (lifetime, now) = (Duration::from_secs(55), Duration::from_secs(1000));
        for number in 0..5000_u32 {
            let key = before.key("app", &number.to_be_bytes());
            let cors = (number % 2 == 0).then_some(b"Vary: Origin\r\n".as_slice());
            before.learn(key, client, number, cors, lifetime, now);
            if number % 3 == 0 {
                before.hold(key, now, |_, _| ()).unwrap().0.release(now);
            }
        }
        // It has other shards.
        let after = Arc::new(Table::with_secret(100_000, Secret::of(before.secret().words())));
        let (mut place, mut pieces) = (Some(Place::default()), 0);
        while let Some(from) = place {
            let (known, next) = before.list(from, 100, |home| *home);
            assert!(known.len() <= 100);
            for mut one in known {
                assert_eq!((one.used, one.cors.is_some()), (one.home % 3 == 0, one.home % 2 == 0));
                one.key = SidKey::of(one.key.number());
                after.take_over(one, now);
            }
            (place, pieces) = (next, pieces + 1);
        }
        assert!(pieces >= 50, "{pieces}");
        assert_eq!(after.len(), 5000);
        for number in 0..5000_u32 {
            let key = after.key("app", &number.to_be_bytes());
            let (held, home) = after.hold(key, now + lifetime / 2, |home, _| *home).unwrap();
            assert_eq!(home, number);
            assert_eq!(held.cors().is_some(), number % 2 == 0);
        }
        let key = after.key("app", &7_u32.to_be_bytes());
        assert_eq!(after.known(key, |home| *home).unwrap().home, 7);
        assert!(after.known(after.key("app", b"nobody's"), |_| ()).is_none());
        let (known, _) = after.list(Place::default(), usize::MAX, |_| ());
        assert!(known.iter().all(|one| one.used && one.lifetime == lifetime && one.client == client));
    }
}
