//! The dates in a certificate, which the library that verifies it does not show.
//!
//! Pure: reads as much of DER (X.690, RFC 5280 section 4.1) as is needed to get there.

/// When the certificate begins and ceases to be valid, in seconds since the epoch; `None`: it is none.
pub(super) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (tbs, _) = value(SEQUENCE, value(SEQUENCE, certificate)?.0)?;
    // The version is left out where it is the first.
    let after_version = value(VERSION, tbs).map_or(tbs, |(_, rest)| rest);
    let (_, rest) = value(INTEGER, after_version)?;
    let (_signature, rest) = value(SEQUENCE, rest)?;
    let (_issuer, rest) = value(SEQUENCE, rest)?;
    let (dates, _) = value(SEQUENCE, rest)?;
    let (begins, rest) = time(dates)?;
    let (ends, _) = time(rest)?;
    Some((begins, ends))
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of the value with this tag at the start of `bytes`, and what is behind it.
fn value(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A date at the start of `bytes`: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, short) = match bytes.first()? {
        &UTC_TIME => value(UTC_TIME, bytes).map(|(text, rest)| (text, rest, true))?,
        _ => value(GENERALIZED_TIME, bytes).map(|(text, rest)| (text, rest, false))?,
    };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != if short { 12 } else { 14 } || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |at: usize| i64::from(digits[at] - b'0') * 10 + i64::from(digits[at + 1] - b'0');
    let (year, at) = match short {
        // RFC 5280 section 4.1.2.5.1
        true if two(0) >= 50 => (1900 + two(0), 2),
        true => (2000 + two(0), 2),
        false => (two(0) * 100 + two(2), 4),
    };
    let days = days(year, two(at), two(at + 2));
    let seconds = (two(at + 4) * 60 + two(at + 6)) * 60 + two(at + 8);
    Some((days * 86_400 + seconds, rest))
}

/// Days from the epoch to a date of the Gregorian calendar: years that begin in March have their leap day at the end.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        let check = |(year, month, day), expected| assert_eq!(days(year, month, day), expected, "{year}");
        check((1970, 1, 1), 0);
        check((1969, 12, 31), -1);
        check((2000, 2, 29), 11_016);
        check((2000, 3, 1), 11_017);
        check((2026, 11, 24), 20_781);
        check((2100, 3, 1), 47_541);
        check((9999, 12, 31), 2_932_896);
    }

    #[test]
    fn dates() {
        let check = |tag: u8, text: &str, expected: Option<i64>| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes(), b"x"].concat();
            assert_eq!(time(&bytes), expected.map(|time| (time, &b"x"[..])), "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "261124120601Z", Some(20_781 * 86_400 + 43_561));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(UTC_TIME, "261124120601", None);
        check(UTC_TIME, "2611241206Z", None);
        check(UTC_TIME, "26112412060xZ", None);
        check(INTEGER, "261124120601Z", None);
    }

    #[test]
    fn dates_of_a_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["app.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2061, 7, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let seconds = |year, month, day| days(year, month, day) * 86_400;
        assert_eq!(validity(certificate.der()), Some((seconds(2024, 2, 29), seconds(2061, 7, 1))));
        // Whatever is cut off, it is none, and no panic.
        for len in 0..certificate.der().len() {
            assert_eq!(validity(&certificate.der()[..len]), None);
        }
    }
}
