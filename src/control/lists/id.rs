//! The name of a tunnel for people: short enough to type, and another tunnel's not soon.
//!
//! It is where the tunnel sits: the number of its seat and its worker, in front of the seat's serial, which begins anywhere when a
//! process begins. Pure.

use crate::tunnel::{Place, SERIALS};

/// Without letters that look like others (Crockford).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits that a serial takes.
const SERIAL: usize = 5;
const _: () = assert!(SERIALS as u64 <= 1 << (5 * SERIAL));

/// The id of the tunnel at this place of a worker; there are so many `workers`.
pub(super) fn show(place: Place, worker: usize, workers: usize) -> String {
    let seat = u64::from(place.key) * workers as u64 + worker as u64;
    let mut text = digits(seat, 1);
    text.push_str(&digits(place.serial.into(), SERIAL));
    text
}

/// The other way round; `None`: no tunnel has such an id.
pub(super) fn read(text: &str, workers: usize) -> Option<(usize, Place)> {
    let (seat, serial) = text.split_at_checked(text.len().checked_sub(SERIAL)?)?;
    let (seat, serial) = (number(seat)?, number(serial)?);
    let workers = workers as u64;
    let place = Place {
        key: u32::try_from(seat.checked_div(workers)?).ok()?,
        serial: u32::try_from(serial).ok().filter(|serial| *serial < SERIALS)?,
    };
    Some((usize::try_from(seat % workers).ok()?, place))
}

fn digits(mut number: u64, least: usize) -> String {
    let mut text = Vec::new();
    while number > 0 || text.len() < least {
        text.push(char::from(DIGITS[(number % 32) as usize]));
        number /= 32;
    }
    text.into_iter().rev().collect()
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    text.bytes().try_fold(0, |number, digit| {
        let digit = digit.to_ascii_lowercase();
        let value = DIGITS.iter().position(|known| *known == digit)?;
        Some(number * 32 + value as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let check = |key, serial, worker, workers, text: &str| {
            let place = Place { key, serial };
            assert_eq!(show(place, worker, workers), text);
            assert_eq!(read(text, workers), Some((worker, place)), "{text}");
            assert_eq!(read(&text.to_uppercase(), workers), Some((worker, place)), "{text}");
        };
        check(0, 0, 0, 1, "000000");
        check(0, 1, 1, 2, "100001");
        check(15, 0xff_ffff, 1, 2, "zfzzzz");
        check(16, 31, 0, 2, "100000z");
        check(50_000, 12_345_678, 3, 8, "c6m3brrae");
        check(u32::MAX, 0xff_ffff, 1023, 1024, "3zzzzzzzzfzzzz");
    }

    #[test]
    fn nobody_is_called_so() {
        let check = |text| assert_eq!(read(text, 2), None, "{text}");
        check("");
        check("00000");
        check("00000o");
        check("0g0000");
        check("-00000");
        check("app/blue");
        check("zzzzzzzzzz00000");
        check("zzzzzzzzzzzzzzzzz00000");
        check("0000é");
        check("é00000");
        assert_eq!(read("000000", 0), None);
    }
}
