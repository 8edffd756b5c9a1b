//! Who closes how many, and when: the arithmetic of a rebalance's pace.
//!
//! Pure.

use std::time::Duration;

/// How many may be closed until the next look, so that over all looks it comes to the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// Time that has passed and was not enough for another one.
    over: Duration,
}

impl Allowance {
    /// For a look that is followed by the next after `time`, with one close in every `pause`. What is not used is gone.
    pub(super) fn of(&mut self, time: Duration, pause: Duration) -> u64 {
        let pause = pause.as_nanos().max(1);
        let time = (self.over + time).as_nanos();
        self.over = Duration::from_nanos(u64::try_from(time % pause).unwrap_or(0));
        u64::try_from(time / pause).unwrap_or(u64::MAX)
    }
}

/// When each worker closes one of its longest idle, and the next: the first `count` of all of them, the longest idle first, evenly over
/// `over`. `idle_since`: of each worker, in order.
pub(super) fn moments<T: Ord + Copy>(
    idle_since: &[&[T]],
    count: usize,
    over: Duration,
) -> Vec<Vec<Duration>> {
    let of =
        |(worker, since): (usize, &&[T])| since.iter().map(move |since| (*since, worker)).collect::<Vec<_>>();
    let mut all: Vec<(T, usize)> = idle_since.iter().enumerate().flat_map(of).collect();
    all.sort_unstable();
    all.truncate(count);
    let mut moments = vec![Vec::new(); idle_since.len()];
    let step = over / u32::try_from(all.len().max(1)).unwrap_or(u32::MAX);
    for (number, (_, worker)) in (0..).zip(all) {
        moments[worker].push(step * number);
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_longest_idle_of_all_go_first() {
        let check = |idle: &[&[u32]], count, expected: &[&[u64]]| {
            let expected: Vec<Vec<_>> =
                expected.iter().map(|moments| moments.iter().copied().map(ms).collect()).collect();
            assert_eq!(moments(idle, count, ms(1000)), expected, "{idle:?} {count}");
        };
        check(&[], 5, &[]);
        check(&[&[]], 5, &[&[]]);
        check(&[&[1, 2, 3, 4]], 2, &[&[0, 500]]);
        check(&[&[1, 3, 5], &[2, 4, 6]], 4, &[&[0, 500], &[250, 750]]);
        check(&[&[1, 2, 3], &[4, 5, 6]], 2, &[&[0, 500], &[]]);
        check(&[&[7], &[], &[5]], 10, &[&[500], &[], &[0]]);
        check(&[&[7], &[5]], 0, &[&[], &[]]);
    }

    #[test]
    fn it_comes_to_the_rate() {
        let check = |pause, looks: usize, expected: &[u64]| {
            let mut allowance = Allowance::default();
            let found: Vec<_> = (0..looks).map(|_| allowance.of(ms(1000), pause)).collect();
            assert_eq!(found, expected, "{pause:?}");
        };
        check(ms(100), 3, &[10, 10, 10]);
        check(ms(300), 6, &[3, 3, 4, 3, 3, 4]);
        check(ms(2000), 5, &[0, 1, 0, 1, 0]);
        check(ms(1000), 2, &[1, 1]);
        check(Duration::from_nanos(1), 1, &[1_000_000_000]);
    }
}
