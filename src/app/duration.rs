//! Durations as people write them: `90s`, `30m`, `12h`, `7d`. Pure.

use std::time::Duration;

/// Reads a duration of at least a second and at most ten years.
///
/// # Errors
/// It is none; says how one looks.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: a number with s, m, h or d, such as 12h, and at most 3650d");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(total @ 1..=315_360_000) => Ok(Duration::from_secs(total)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse(text).ok(), expected.map(Duration::from_secs), "{text}");
        };
        check("90s", Some(90));
        check("30m", Some(1800));
        check("12h", Some(43_200));
        check("3650d", Some(315_360_000));
        for wrong in ["", "12", "h", "0s", "3651d", "-1h", "1.5h", "1 h", "1H", "99999999999999999999d"] {
            check(wrong, None);
        }
    }
}
