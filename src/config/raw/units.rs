//! Numbers with units as people write them: durations, sizes, rates, shares. Pure text in, value out.

use std::time::Duration;

/// Why a text is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Wrong {
    /// Goes on after the key's name: "needs a unit".
    pub(in crate::config) what: String,
    /// What to type instead.
    pub(in crate::config) write: String,
}

impl Wrong {
    pub(in crate::config) fn new(what: impl Into<String>, write: impl Into<String>) -> Self {
        Self { what: what.into(), write: write.into() }
    }
}

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// What people call units elsewhere.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("ms", &["msec", "msecs", "millis", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
];

/// `"250ms"`, `"90s"`, `"24h"`, `"1h30m"`; largest unit first. Too much for 64 bits of milliseconds is the maximum.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Wrong> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() || last == u64::MAX {
        let (number, unit, after) = number_and_unit(rest);
        let Some(number) = number else {
            return Err(not_a_duration(text));
        };
        let Some((_, factor)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
            let bare = unit.is_empty() && rest == text && after.is_empty();
            return Err(if bare {
                duration_without_unit(number)
            } else if unit.is_empty() {
                not_a_duration(text)
            } else {
                wrong_unit(text, number, unit, rest)
            });
        };
        if *factor >= last {
            return Err(Wrong::new("has its units in the wrong order", "largest first: \"1h30m\""));
        }
        last = *factor;
        total = total.saturating_add(number.saturating_mul(*factor));
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

fn not_a_duration(text: &str) -> Wrong {
    if text.contains(['.', ',']) && text.starts_with(|c: char| c.is_ascii_digit()) {
        return Wrong::new(
            "must be a whole number of its unit",
            "write \"1500ms\" for one and a half seconds",
        );
    }
    Wrong::new(
        "must be a duration",
        "write a number and its unit: \"250ms\", \"30s\", \"5m\", \"24h\", \"7d\"",
    )
}

fn wrong_unit(text: &str, number: u64, unit: &str, rest: &str) -> Wrong {
    let lower = unit.to_ascii_lowercase();
    let known = SPELLINGS.iter().find(|(name, others)| *name == lower || others.contains(&lower.as_str()));
    match known {
        Some((name, _)) if rest == text => {
            Wrong::new("has an unknown unit", format!("write \"{number}{name}\""))
        }
        _ => Wrong::new("has an unknown unit", "the units are ms, s, m, h, d: \"1h30m\""),
    }
}

/// What to say to a bare number where a duration belongs.
pub(in crate::config) fn duration_without_unit(number: u64) -> Wrong {
    let seconds = show_duration(Duration::from_secs(number));
    let write = if number == 0 {
        "write \"0s\"".to_owned()
    } else if number.is_multiple_of(1000) {
        let ms = show_duration(Duration::from_millis(number));
        format!("write \"{seconds}\" if these are seconds, \"{ms}\" if they are milliseconds")
    } else if number >= 60 {
        format!("write \"{seconds}\" if these are seconds, \"{number}ms\" if they are milliseconds")
    } else {
        format!("write \"{number}s\" (seconds), \"{number}m\" (minutes) or \"{number}ms\"")
    };
    Wrong::new("needs a unit", write)
}

const SIZES: &[(&str, u64)] = &[
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
];

/// `"512b"`, `"64k"` = 65 536 bytes, `"10m"`, `"1g"`, in either case; `KiB`, `MiB`, `GiB` mean the same.
pub(in crate::config) fn size(text: &str) -> Result<u64, Wrong> {
    let (number, unit, after) = number_and_unit(text);
    let (Some(number), "") = (number, after) else {
        return Err(Wrong::new(
            "must be a size",
            "write a number and its unit: \"512b\", \"64k\", \"10m\", \"1g\"",
        ));
    };
    let lower = unit.to_ascii_lowercase();
    if let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == lower) {
        return Ok(number.saturating_mul(*factor));
    }
    Err(match lower.as_str() {
        "" => size_without_unit(number),
        "kb" | "mb" | "gb" => {
            let letter = &lower[..1];
            let bytes = match letter {
                "k" => "1 024",
                "m" => "1 048 576",
                _ => "1 073 741 824",
            };
            Wrong::new("has an ambiguous unit", format!("write \"{number}{letter}\" (times {bytes} bytes)"))
        }
        _ => Wrong::new("has an unknown unit", "the units are b, k, m, g: \"64k\" is 65 536 bytes"),
    })
}

/// What to say to a bare number where a size belongs.
pub(in crate::config) fn size_without_unit(number: u64) -> Wrong {
    let exact = [("g", 1_u64 << 30), ("m", 1 << 20), ("k", 1 << 10)];
    let write = match exact.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("write \"{}{unit}\"", number / factor),
        None if number < 1024 => format!("write \"{number}m\", \"{number}k\" or \"{number}b\" (bytes)"),
        None => format!("write \"{number}b\" (bytes)"),
    };
    Wrong::new("needs a unit", write)
}

/// Events in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Rate {
    /// At least 1.
    pub(in crate::config) events: u64,
    /// One second, minute or hour.
    pub(in crate::config) per: Duration,
    /// How many may come at once.
    pub(in crate::config) burst: Option<u64>,
}

/// `"1000/s"`, `"90/m"`, `"5/h"`; with `burst`, `"20/s burst 40"` too.
pub(in crate::config) fn rate(text: &str, burst_allowed: bool) -> Result<Rate, Wrong> {
    let example = if burst_allowed { "\"20/s\" or \"20/s burst 40\"" } else { "\"1000/s\"" };
    let wrong = |what: &str| Wrong::new(what, format!("write for example {example}"));
    let (rate, burst) = match text.split_once(' ') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let Some((events, per)) = rate.split_once('/') else {
        return Err(match rate.parse::<u64>() {
            Ok(number) => Wrong::new("needs a unit", format!("write \"{number}/s\" (a second)")),
            Err(_) => wrong("must be a rate"),
        });
    };
    let per = match per {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => {
            return Err(Wrong::new(
                "has an unknown unit",
                format!("write \"{events}/s\", \"{events}/m\" or \"{events}/h\""),
            ));
        }
    };
    let count = |text: &str| text.parse::<u64>().ok().filter(|n| (1..=1_000_000_000).contains(n));
    let events = count(events).ok_or_else(|| wrong("must be a rate of 1 to 1 000 000 000"))?;
    let burst = match burst {
        None => None,
        Some(_) if !burst_allowed => return Err(wrong("has no burst")),
        Some(burst) => {
            let number = burst.strip_prefix("burst ").and_then(count);
            Some(number.ok_or_else(|| wrong("must be a rate, then \"burst\" and a number"))?)
        }
    };
    Ok(Rate { events, per: Duration::from_secs(per), burst })
}

/// `"50%"`, 0 to 100.
pub(in crate::config) fn percent(text: &str) -> Result<u8, Wrong> {
    let Some(number) = text.strip_suffix('%') else {
        return Err(match text.parse::<u8>() {
            Ok(number) if number <= 100 => Wrong::new("needs a unit", format!("write \"{number}%\"")),
            _ => Wrong::new("must be a share", "write for example \"50%\""),
        });
    };
    match number.parse::<u8>() {
        Ok(number) if number <= 100 => Ok(number),
        _ => Err(Wrong::new("must be a share of \"0%\" to \"100%\"", "write for example \"50%\"")),
    }
}

/// Leading digits, the letters behind them, the rest. No number: there were no digits, or too many.
fn number_and_unit(text: &str) -> (Option<u64>, &str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    // Saturates: a number that large fails every range.
    let number = if digits == 0 { None } else { Some(number.parse().unwrap_or(u64::MAX)) };
    let trimmed = rest.strip_prefix(' ').filter(|rest| !rest.is_empty()).unwrap_or(rest);
    let letters = trimmed.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, after) = trimmed.split_at(letters);
    (number, unit, after)
}

/// A duration as it would be written: the largest unit that is exact.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // A day is "24h" to the reader of a default, "7d" when it is several.
    let fits = |(_, factor): &&(&str, u64)| {
        ms.is_multiple_of(*factor) && (*factor < 86_400_000 || ms > 86_400_000) && ms >= *factor
    };
    match DURATIONS.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", ms / factor),
        None => "0s".to_owned(),
    }
}

/// A size as it would be written: the largest unit that is exact.
pub(in crate::config) fn show_size(bytes: u64) -> String {
    let fits =
        |(name, factor): &&(&str, u64)| name.len() == 1 && bytes >= *factor && bytes.is_multiple_of(*factor);
    match SIZES.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => "0b".to_owned(),
    }
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
