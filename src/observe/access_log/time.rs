//! Moments as text: the proleptic Gregorian calendar in UTC, pure. No crate for one function that cannot change.

use std::time::{SystemTime, UNIX_EPOCH};

/// The last second that has a year of four digits: 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Writes moments; keeps the last second's text, because many lines are of one second.
#[derive(Debug)]
pub(in crate::observe) struct Stamp {
    second: u64,
    /// `2026-11-24T04:26:01`
    iso: [u8; 19],
    /// `24/Nov/2026:04:26:01`
    combined: [u8; 20],
}

impl Stamp {
    pub(in crate::observe) fn new() -> Self {
        let mut stamp = Self { second: 0, iso: [0; 19], combined: [0; 20] };
        stamp.set(0);
        stamp
    }

    /// RFC 3339 with milliseconds: `2026-11-24T04:26:01.123Z`.
    pub(in crate::observe) fn iso(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let milliseconds = self.turn_to(time);
        let mut fraction = *b".000Z";
        digits(&mut fraction[1..4], milliseconds);
        out.extend_from_slice(&self.iso);
        out.extend_from_slice(&fraction);
    }

    /// That of the combined log format: `24/Nov/2026:04:26:01 +0000`.
    pub(super) fn combined(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        self.turn_to(time);
        out.extend_from_slice(&self.combined);
        out.extend_from_slice(b" +0000");
    }

    /// Makes the texts those of `time` and returns its milliseconds. What is outside the years 1970 to 9999 is their
    /// nearest second: a broken clock must not break the log.
    fn turn_to(&mut self, time: SystemTime) -> u32 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs().min(LAST);
        if second != self.second {
            self.set(second);
        }
        since.subsec_millis()
    }

    fn set(&mut self, second: u64) {
        let civil = Civil::of(second);
        self.second = second;
        self.iso = *b"0000-00-00T00:00:00";
        digits(&mut self.iso[0..4], civil.year);
        digits(&mut self.iso[5..7], civil.month);
        digits(&mut self.iso[8..10], civil.day);
        self.combined = *b"00/---/0000:00:00:00";
        digits(&mut self.combined[0..2], civil.day);
        self.combined[3..6].copy_from_slice(MONTHS[civil.month as usize - 1]);
        digits(&mut self.combined[7..11], civil.year);
        for (at, value) in [civil.hour, civil.minute, civil.second].into_iter().enumerate() {
            digits(&mut self.iso[11 + 3 * at..13 + 3 * at], value);
            digits(&mut self.combined[12 + 3 * at..14 + 3 * at], value);
        }
    }
}

/// Fills `out` with the last digits of `value`.
pub(super) fn digits(out: &mut [u8], mut value: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A second by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// Of a second since the epoch, at most [`LAST`]. Days are counted in eras of 400 years that begin on a 1st of
    /// March, so that the leap day is a year's last (Howard Hinnant, "chrono-compatible low-level date algorithms").
    #[expect(clippy::cast_possible_truncation, reason = "at most LAST: days fit in 22 bits")]
    fn of(second: u64) -> Self {
        const ERA: u32 = 146_097;
        let of_day = (second % 86_400) as u32;
        // 719 468 days from 0000-03-01 to the epoch.
        let days = (second / 86_400) as u32 + 719_468;
        let (era, of_era) = (days / ERA, days % ERA);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March; five of them have 153 days.
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u32::from(month <= 2);
        Self { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments() {
        fn check(milliseconds: u64, iso: &str, combined: &str) {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            let (mut stamp, mut out) = (Stamp::new(), Vec::new());
            stamp.iso(time, &mut out);
            out.push(b' ');
            stamp.combined(time, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("{iso} {combined} +0000"), "{milliseconds}");
        }
        // Expected values are from GNU date.
        check(0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z", "28/Feb/2000:23:59:59");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z", "29/Feb/2000:00:00:00");
        check(1_772_323_199_000, "2026-02-28T23:59:59.000Z", "28/Feb/2026:23:59:59");
        check(1_772_323_200_000, "2026-03-01T00:00:00.000Z", "01/Mar/2026:00:00:00");
        check(1_798_761_599_007, "2026-12-31T23:59:59.007Z", "31/Dec/2026:23:59:59");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z", "01/Mar/2100:00:00:00");
        check(253_402_300_799_999, "9999-12-31T23:59:59.999Z", "31/Dec/9999:23:59:59");
        check(253_402_300_800_000, "9999-12-31T23:59:59.000Z", "31/Dec/9999:23:59:59");
    }

    #[test]
    fn before_the_epoch_is_the_epoch() {
        let mut out = Vec::new();
        Stamp::new().iso(UNIX_EPOCH - Duration::from_secs(1), &mut out);
        assert_eq!(out, b"1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_kept_second_is_not_shown_for_another() {
        let mut stamp = Stamp::new();
        let show = |stamp: &mut Stamp, seconds| {
            let mut out = Vec::new();
            stamp.iso(UNIX_EPOCH + Duration::from_secs(seconds), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(show(&mut stamp, 5), "1970-01-01T00:00:05.000Z");
        assert_eq!(show(&mut stamp, 5), "1970-01-01T00:00:05.000Z");
        assert_eq!(show(&mut stamp, 4), "1970-01-01T00:00:04.000Z");
    }

    /// Every day of 8 000 years follows the one before it, by the rules of the calendar as one learns them.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        let mut seen = 0;
        for second in (0..=LAST).step_by(86_400) {
            let civil = Civil::of(second);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day), "{second}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
            seen += 1;
        }
        assert_eq!(seen, 2_932_897);
    }
}
