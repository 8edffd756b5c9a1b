//! How fast addresses come, one shard: the generic cell rate algorithm (ITU-T I.371), one number for an address.
//!
//! The number is the moment at which its bucket is full again. Who has a full bucket is as good as unknown, so an entry whose
//! moment has passed is free. Entries lie in sets of eight, which share what the hash says; in a full set the one that
//! is free soonest makes room.

use std::time::Duration;

/// Sets in a shard. A power of two.
const SETS: usize = 2048;
/// Entries of a set.
const WAYS: usize = 8;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two, at least 1.
    interval: u64,
    /// Nanoseconds that a full bucket is ahead.
    depth: u64,
}

impl Rate {
    /// `events` (at least 1) in `per`, of which `burst` (at least 1) may come at once.
    pub fn new(events: u64, per: Duration, burst: u64) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval = (per / events.max(1)).max(1);
        Rate { interval, depth: interval.saturating_mul(burst.max(1)) }
    }
}

/// An address: a hash of it (keyed, of 64 bits: no two have the same), and when its bucket is full again, in
/// nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    hash: u64,
    full: u64,
}

/// Has no memory until it is used.
#[derive(Debug, Default)]
pub(super) struct Rates(Box<[[Bucket; WAYS]]>);

impl Rates {
    pub(super) fn pass(&mut self, hash: u64, rate: Rate, now: Duration) -> Result<(), Duration> {
        if self.0.is_empty() {
            self.0 = vec![[Bucket::default(); WAYS]; SETS].into();
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let set = usize::try_from(hash % SETS as u64).expect("a shard has fewer than 2^32 sets");
        let set = &mut self.0[set];
        let known = set.iter().position(|bucket| bucket.hash == hash);
        let soonest = || set.iter().enumerate().min_by_key(|(_, bucket)| bucket.full).map_or(0, |(at, _)| at);
        let at = known.unwrap_or_else(soonest);
        let full = match known {
            // Whoever used more under an earlier, harder rate than this one has is forgiven the rest.
            Some(at) => set[at].full.clamp(now, now.saturating_add(rate.depth)),
            None => now,
        };
        let next = full.saturating_add(rate.interval);
        let wait = next.saturating_sub(now.saturating_add(rate.depth));
        set[at] = Bucket { hash, full: if wait > 0 { full } else { next } };
        if wait > 0 { Err(Duration::from_nanos(wait)) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rates = Rates::default();
        let rate = Rate::new(20, Duration::from_secs(1), 3);
        let mut check = |at, expected: Result<(), u64>| {
            assert_eq!(rates.pass(7, rate, MS(at)), expected.map_err(MS), "at {at} ms");
        };
        check(1000, Ok(()));
        check(1000, Ok(()));
        check(1000, Ok(()));
        check(1000, Err(50));
        check(1030, Err(20));
        check(1050, Ok(()));
        check(1050, Err(50));
        check(1100, Ok(()));
        // Full again, and not more than full.
        check(9000, Ok(()));
        check(9000, Ok(()));
        check(9000, Ok(()));
        check(9000, Err(50));
        // The clock cannot go back, but if it did nobody would be locked out for longer than for a burst.
        check(2000, Err(50));
    }

    #[test]
    fn another_rate_counts_at_once() {
        let mut rates = Rates::default();
        let hard = Rate::new(1, Duration::from_hours(1), 1);
        assert_eq!(rates.pass(7, hard, MS(0)), Ok(()));
        assert_eq!(rates.pass(7, hard, MS(0)), Err(Duration::from_hours(1)));
        let soft = Rate::new(10, Duration::from_secs(1), 5);
        assert_eq!(rates.pass(7, soft, MS(0)), Err(MS(100)));
        assert_eq!(rates.pass(7, soft, MS(100)), Ok(()));
    }

    #[test]
    fn in_a_full_set_the_one_that_is_free_soonest_makes_room() {
        let mut rates = Rates::default();
        let rate = Rate::new(1, Duration::from_secs(10), 1);
        // All of set 0.
        let hash = |number: u64| (number + 1) * SETS as u64;
        for number in 0..8 {
            assert_eq!(rates.pass(hash(number), rate, MS(1000 + number)), Ok(()));
        }
        assert_eq!(rates.pass(hash(8), rate, MS(1100)), Ok(()));
        assert!(rates.pass(hash(1), rate, MS(1100)).is_err());
        assert!(rates.pass(hash(8), rate, MS(1100)).is_err());
        assert_eq!(rates.pass(hash(0), rate, MS(1100)), Ok(()), "it was forgotten");
    }

    proptest! {
        /// As a bucket that is counted token by token; and over any time no more pass than burst and rate allow.
        #[test]
        fn it_is_a_bucket(
            events in 1..50_u64, burst in 1..20_u64,
            steps in proptest::collection::vec(0..400_u64, 1..200),
        ) {
            let (mut rates, rate) = (Rates::default(), Rate::new(events, Duration::from_secs(1), burst));
            let interval = 1_000_000_000 / events;
            let (mut now, mut passed) = (1_000_000_000_u64, 0_u64);
            // In nanoseconds of rate, as whole tokens would need fractions.
            let (mut tokens, begin) = (interval * burst, now);
            for step in steps {
                now += step * 1_000_000;
                tokens = (tokens + step * 1_000_000).min(interval * burst);
                let expected = if tokens >= interval {
                    tokens -= interval;
                    passed += 1;
                    Ok(())
                } else {
                    Err(Duration::from_nanos(interval - tokens))
                };
                prop_assert_eq!(rates.pass(3, rate, Duration::from_nanos(now)), expected);
                prop_assert!(passed <= burst + (now - begin) / interval + 1);
            }
        }
    }
}
