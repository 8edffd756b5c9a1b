//! How many of what is open are closed in a step, so that the last goes when the time is over, whatever begins meanwhile.
//!
//! Pure.

use std::time::Duration;

/// What is owed of earlier steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// In millionths of one.
    owed: u64,
}

const ONE: u64 = 1_000_000;

impl Pace {
    /// How many of `open` go in a step of this length, when `left` is left.
    pub(super) fn due(&mut self, open: usize, step: Duration, left: Duration) -> usize {
        if open == 0 {
            self.owed = 0;
            return 0;
        }
        if left <= step {
            return open;
        }
        let part = u128::from(ONE) * step.as_nanos() * open as u128 / left.as_nanos().max(1);
        self.owed = self.owed.saturating_add(u64::try_from(part).unwrap_or(u64::MAX));
        let due = usize::try_from(self.owed / ONE).unwrap_or(usize::MAX).min(open);
        self.owed %= ONE;
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    /// What is open after each step of a drain of `open` over `steps`; `more` begin at each step.
    fn course(mut open: usize, steps: u32, more: usize) -> Vec<usize> {
        let mut pace = Pace::default();
        let step = |number| {
            open -= pace.due(open, STEP, STEP * (steps - number));
            open += more;
            open
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn closes_are_even() {
        let check = |open: usize, steps: u32| {
            for (number, left) in (1..).zip(course(open, steps, 0)) {
                let even = open as f64 * f64::from(steps - number) / f64::from(steps);
                assert!((left as f64 - even).abs() <= 2.0, "{open} over {steps}: {left} after {number}");
            }
        };
        check(1, 1200);
        check(10, 1200);
        check(20_000, 1200);
        check(20_000, 1);
        check(7, 3);
    }

    #[test]
    fn with_no_time_left_all_go() {
        assert_eq!(Pace::default().due(500, STEP, Duration::ZERO), 500);
        assert_eq!(Pace::default().due(0, STEP, Duration::ZERO), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_left_and_nobody_goes_twice(open in 0..50_000_usize, steps in 1..2000_u32, more in 0..3_usize) {
            let course = course(open, steps, more);
            prop_assert_eq!(course.last().copied(), Some(more), "only what began in the last step");
        }
    }
}
