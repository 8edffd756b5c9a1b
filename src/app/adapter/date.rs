//! Dates of MessagePack (extension -1), as the text that JSON has for them. Pure.

/// `1970-01-01T00:00:00.000Z`, for the 4, 8 or 12 bytes of a timestamp. None for other bytes, and beyond the years that
/// JavaScript can say with four digits.
pub(super) fn iso(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    if nanos >= 1_000_000_000 || !(-62_167_219_200..=253_402_300_799).contains(&seconds) {
        return None;
    }
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let (second, millis) = (seconds.rem_euclid(86_400), nanos / 1_000_000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Year, month and day so many days after 1970-01-01. Counted in eras of 400 years that begin in March, so that the day
/// that not every year has comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_what_javascript_says() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            assert_eq!(iso(bytes).as_deref(), expected, "{bytes:?}");
        };
        check(&[0, 0, 0, 0], Some("1970-01-01T00:00:00.000Z"));
        check(&1_582_934_400_u32.to_be_bytes(), Some("2020-02-29T00:00:00.000Z"));
        check(&0xffff_ffff_u32.to_be_bytes(), Some("2106-02-07T06:28:15.000Z"));
        let both = (123_000_000_u64 << 34) + 1_732_486_276;
        check(&both.to_be_bytes(), Some("2024-11-24T22:11:16.123Z"));
        let mut before = 999_000_000_u32.to_be_bytes().to_vec();
        before.extend((-1_i64).to_be_bytes());
        check(&before, Some("1969-12-31T23:59:59.999Z"));
        let mut far = [0; 4].to_vec();
        far.extend(i64::MAX.to_be_bytes());
        check(&far, None);
        check(&u64::MAX.to_be_bytes(), None);
        check(&[], None);
    }
}
