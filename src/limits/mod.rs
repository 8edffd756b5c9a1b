//! What each address has open, and how fast it comes: shared by all workers, and never larger than it may be, whoever comes.
//!
//! Pure: addresses and times in, decisions out. Two tables, each in shards behind a lock of its own:
//!
//! - `counts.rs`: addresses that have something open. As many as there are connections at most (twice, for those that a trusted
//!   proxy names), so `limits.max_connections` bounds it, and nothing is ever forgotten of it: a place that is taken is given
//!   back when its [`Place`] is dropped, whatever the reason.
//! - `rates.rs`: addresses that came lately, 4 MiB once a rate is set and never more. One that has not come for as long as its
//!   burst takes to refill is not in it. When more come within that time than it holds (262 144), the one that would be forgiven
//!   soonest is forgiven at once. So with a quarter of a million addresses of his own an attacker can have other
//!   addresses forgiven what they used of their rate, and his own; he cannot have anybody refused, nor reset what is open. The
//!   hash is keyed, so nobody knows which addresses share a place.
//!
//! Must not: know a clock, which limits there are, who is exempt.

mod counts;
mod rates;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::affinity::ClientKey;
use counts::Counts;
use rates::Rates;

pub use counts::{Taken, Wanted};
pub use rates::Rate;

/// So many workers at a time can look at something without a wait. A power of two.
const SHARDS: usize = 16;

/// All addresses.
#[derive(Debug, Default)]
pub struct Addresses {
    counts: [Mutex<Counts>; SHARDS],
    rates: [Mutex<Rates>; SHARDS],
    hasher: RandomState,
}

/// What an address has open, until this is dropped. A box, because tunnels hold it for days.
#[derive(Debug)]
pub struct Place(Box<Held>);

#[derive(Debug)]
struct Held {
    addresses: Arc<Addresses>,
    key: ClientKey,
    wanted: Wanted,
    /// Goes with it.
    also: Option<Place>,
}

impl Place {
    /// Both in one, for whoever has no room for two.
    pub fn both(one: Option<Place>, other: Option<Place>) -> Option<Place> {
        match (one, other) {
            (Some(mut one), Some(other)) => {
                one.0.also = Place::both(one.0.also.take(), Some(other));
                Some(one)
            }
            (one, other) => one.or(other),
        }
    }
}

impl Addresses {
    /// One more of what is `wanted`, and how many there are with it. Whoever finds that too many drops the place.
    pub fn take(self: &Arc<Self>, key: ClientKey, wanted: Wanted) -> (Place, Taken) {
        let taken = self.counts(key).take(key, wanted);
        (Place(Box::new(Held { addresses: self.clone(), key, wanted, also: None })), taken)
    }

    /// One more event at `now` (since boot).
    ///
    /// # Errors
    /// It comes too early; how long until it would not.
    pub fn pass(&self, key: ClientKey, rate: Rate, now: Duration) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(key);
        // The low bits choose within the shard.
        lock(&self.rates[(hash >> 32) as usize % SHARDS]).pass(hash, rate, now)
    }

    /// Addresses that have something open.
    pub fn open(&self) -> usize {
        self.counts.iter().map(|counts| lock(counts).len()).sum()
    }

    fn counts(&self, key: ClientKey) -> MutexGuard<'_, Counts> {
        lock(&self.counts[(self.hasher.hash_one(key) >> 32) as usize % SHARDS])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Held { addresses, key, wanted, also: _ } = &*self.0;
        addresses.counts(*key).give_back(*key, *wanted);
    }
}

/// A panic while it was held can only have been one of memory running out: the numbers are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> ClientKey {
        ClientKey::of(std::net::Ipv4Addr::from(number).into(), 32, 64)
    }

    #[test]
    fn a_place_is_given_back_however_it_goes() {
        let addresses = Arc::new(Addresses::default());
        let connection = Wanted { connection: true, tunnel: false };
        let (first, taken) = addresses.take(key(1), connection);
        assert_eq!(taken, Taken { connections: 1, tunnels: 0 });
        let (second, taken) = addresses.take(key(1), Wanted { tunnel: true, ..connection });
        assert_eq!(taken, Taken { connections: 2, tunnels: 1 });
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = second;
            panic!("on purpose");
        }));
        assert!(panics.is_err());
        assert_eq!(addresses.take(key(1), connection).1, Taken { connections: 2, tunnels: 0 });
        assert_eq!(addresses.open(), 1);
        let (second, _) = addresses.take(key(2), connection);
        let both = Place::both(Place::both(None, Some(first)), Some(second));
        assert_eq!(addresses.open(), 2);
        drop(Place::both(both, None));
        assert_eq!(addresses.open(), 0);
    }

    #[test]
    fn a_place_is_a_word() {
        assert_eq!(size_of::<Option<Place>>(), 8);
    }

    /// A million addresses, each once: the table stays as large as it may be, and who keeps coming is still held back.
    #[test]
    fn a_million_addresses_make_it_no_larger() {
        let addresses = Addresses::default();
        let rate = Rate::new(1, Duration::from_hours(1), 1);
        let now = Duration::from_hours(1000);
        let mut passed = 0;
        for number in 0..1_000_000 {
            passed += u32::from(addresses.pass(key(number), rate, now).is_ok());
        }
        assert_eq!(passed, 1_000_000, "nobody is refused for what others do");
        let memory: usize = addresses.rates.iter().map(|rates| lock(rates).bytes()).sum();
        assert_eq!(memory, 4 << 20);
        let last = (999_000..1_000_000).filter(|number| addresses.pass(key(*number), rate, now).is_err());
        assert!(last.count() > 900);
    }
}
