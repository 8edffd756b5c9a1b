//! Numbers with one writer: a worker changes them without a lock or a shared cache line, a scrape sums over the
//! workers. Knows no metric and no label.
//!
//! "One writer" is a promise of the caller, not checked: two threads that change one number lose counts, nothing
//! worse. Whoever keeps these side by side for several workers pads them (`#[repr(align(128))]`, two cache lines,
//! because x86 prefetches in pairs).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A counter that exactly one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only from the owning worker's thread (a plain load and store, not a locked instruction).
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn one(&self) {
        self.add(1);
    }

    /// The value now, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down, changed by exactly one thread. Signed, because a thing may begin on one worker and
/// end on another: then only the sum over the workers means something.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more; only from the owning worker's thread.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less; only from the owning worker's thread.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    #[inline]
    fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// This worker's part of the sum, from any thread; may be negative.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Most bounds that a [`Histogram`] can have.
pub const MAX_BOUNDS: usize = 16;

/// A distribution over fixed buckets, changed by exactly one thread. Holds no heap memory.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Not cumulative. The one behind the last bound takes what is larger than all of them.
    buckets: [Count; MAX_BOUNDS + 1],
    /// The sum of what was observed, as the bits of an `f64`: whole nanoseconds in 64 bits would wrap after some
    /// 70 000 tunnels of three days.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one. `bounds` are upper bounds in seconds (inclusive), finite, strictly ascending, at most
    /// [`MAX_BOUNDS`].
    ///
    /// # Panics
    /// When they are not; with constant bounds this is found by the first test that runs.
    pub fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= MAX_BOUNDS, "too many bounds");
        assert!(
            bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|b| b.is_finite()),
            "bounds must ascend"
        );
        Self { bounds, buckets: Default::default(), sum: AtomicU64::new(0) }
    }

    /// Takes one value; only from the owning worker's thread. What cannot be a duration (negative, not a number)
    /// counts as 0, so that one bad value cannot spoil the sum for good.
    #[inline]
    pub fn observe(&self, seconds: f64) {
        let seconds = if seconds.is_finite() && seconds > 0.0 { seconds } else { 0.0 };
        // From the left: most values are small, and there are at most 16.
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].one();
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + seconds;
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }

    /// Adds what this worker saw to `total`, from any thread. `total` must be of the same bounds.
    pub fn add_to(&self, total: &mut HistogramTotal) {
        debug_assert!(self.bounds == total.bounds, "histograms of different bounds do not add up");
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.sum += f64::from_bits(self.sum.load(Ordering::Relaxed));
    }
}

/// The sum of [`Histogram`]s over the workers.
#[derive(Debug)]
pub struct HistogramTotal {
    bounds: &'static [f64],
    buckets: [u64; MAX_BOUNDS + 1],
    sum: f64,
}

impl HistogramTotal {
    /// Nothing yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: [0; MAX_BOUNDS + 1], sum: 0.0 }
    }

    /// Upper bounds with how many values were at most as large, ascending; without the infinite one.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().zip(&self.buckets).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }

    /// How many values there were: by construction the sum of the buckets, also while workers count on.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.5, 1.0, 10.0];

    #[test]
    fn gauge_sums_over_workers() {
        let (a, b) = (Gauge::default(), Gauge::default());
        a.inc();
        a.inc();
        b.dec();
        assert_eq!((a.get(), b.get(), a.get() + b.get()), (2, -1, 1));
    }

    #[test]
    fn a_value_lands_in_the_first_bucket_that_holds_it() {
        fn check(value: f64, expected: [u64; 4]) {
            let histogram = Histogram::new(BOUNDS);
            histogram.observe(value);
            let mut total = HistogramTotal::new(BOUNDS);
            histogram.add_to(&mut total);
            let mut got: Vec<u64> = total.cumulative().map(|(_, count)| count).collect();
            got.push(total.count());
            assert_eq!(got, expected, "{value}");
        }
        check(0.0, [1, 1, 1, 1]);
        check(0.5, [1, 1, 1, 1]);
        check(0.500_001, [0, 1, 1, 1]);
        check(1.0, [0, 1, 1, 1]);
        check(10.0, [0, 0, 1, 1]);
        check(10.1, [0, 0, 0, 1]);
        check(-1.0, [1, 1, 1, 1]);
        check(f64::NAN, [1, 1, 1, 1]);
        check(f64::INFINITY, [1, 1, 1, 1]);
    }

    #[test]
    fn workers_add_up() {
        let (a, b) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
        a.observe(0.25);
        a.observe(f64::NAN);
        b.observe(20.0);
        let mut total = HistogramTotal::new(BOUNDS);
        a.add_to(&mut total);
        b.add_to(&mut total);
        assert_eq!(total.count(), 3);
        assert!((total.sum() - 20.25).abs() < 1e-9, "{}", total.sum());
    }

    #[test]
    #[should_panic(expected = "bounds must ascend")]
    fn bounds_out_of_order_are_refused() {
        Histogram::new(&[1.0, 1.0]);
    }
}
