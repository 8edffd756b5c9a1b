//! When the watchdog gets its sign of life: only while every thread that has to go on has beaten since the last one.
//!
//! Pure. Must not: know a clock, or whom it tells.

use std::sync::Arc;
use std::time::Duration;

use crate::worker::Pulse;

/// Who is to be alive, and what was seen of them.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// With the beats that were counted at the last sign.
    pulses: Vec<(Arc<Pulse>, u64)>,
    /// From one sign to the next.
    each: Duration,
    /// When the last one was given.
    last: Duration,
}

impl Watchdog {
    /// `within`: a sign has to come within this, each time; it is given at half of it, as `sd_watchdog_enabled(3)` has it.
    pub(super) fn new(pulses: &[Arc<Pulse>], within: Duration, now: Duration) -> Self {
        let pulses = pulses.iter().map(|pulse| (pulse.clone(), pulse.beats())).collect();
        Watchdog { pulses, each: within / 2, last: now }
    }

    /// A sign is to be given now: it is time, and everybody has beaten since the last, or has come to its end.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let beats = |(pulse, seen): &(Arc<Pulse>, u64)| pulse.has_ended() || pulse.beats() != *seen;
        if now.saturating_sub(self.last) < self.each || !self.pulses.iter().all(beats) {
            return false;
        }
        self.last = now;
        self.pulses.iter_mut().for_each(|(pulse, seen)| *seen = pulse.beats());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_hangs_stops_the_signs() {
        let pulses: Vec<Arc<Pulse>> = (0..3).map(|_| Arc::default()).collect();
        let at = Duration::from_secs;
        let mut watchdog = Watchdog::new(&pulses, at(10), at(100));
        let mut check = |beating: &[usize], now: u64, expected: bool| {
            for index in beating {
                pulses[*index].beat();
            }
            assert_eq!(watchdog.is_due(at(now)), expected, "at {now}");
        };
        check(&[0, 1, 2], 104, false);
        check(&[], 105, true);
        check(&[0, 1, 2], 106, false);
        check(&[0, 1], 110, true);
        // The last hangs, for as long as it does.
        check(&[0, 1], 115, false);
        check(&[0, 1], 120, false);
        check(&[2], 121, true);
        check(&[0, 2], 127, false);
        check(&[1], 128, true);
        // Whoever has come to its end is not waited for.
        pulses[1].end();
        check(&[0, 2], 133, true);
        check(&[0], 138, false);
        pulses[2].end();
        check(&[], 139, true);
    }
}
