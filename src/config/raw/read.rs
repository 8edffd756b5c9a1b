//! Readers: each takes a [`Value`] and gives what it holds, or `None` after it has reported what was expected.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{Value, Wrong, hints, show_duration, show_size, units};

/// Most entries of a list: what looks at pairs of them must stay cheap, whatever the file holds.
const ENTRIES: usize = 1000;

/// The value with its place.
pub(in crate::config) fn spanned<'d, T>(
    read: impl Fn(&Value<'d>) -> Option<T>,
) -> impl Fn(&Value<'d>) -> Option<Spanned<T>> {
    move |value| Some(Spanned::new(value.span(), read(value)?))
}

/// `true` or `false`.
pub(in crate::config) fn boolean(value: &Value<'_>) -> Option<bool> {
    let Some(boolean) = value.inner().as_bool() else {
        let write = match value.inner().as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on") => "write true, without quotes",
            Some("false" | "no" | "off") => "write false, without quotes",
            _ => "write true or false",
        };
        value.mismatch("true or false", write);
        return None;
    };
    Some(boolean)
}

/// Any text; callers say more with [`text`].
pub(in crate::config) fn string<'d>(value: &Value<'d>) -> Option<&'d str> {
    let Some(string) = value.inner().as_str() else {
        let write = match value.inner() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {
                format!("write \"{}\" in quotes", value.words())
            }
            DeValue::Array(list) if list.len() == 1 => "write it without the brackets".to_owned(),
            _ => "write a text in quotes".to_owned(),
        };
        value.mismatch("a text", write);
        return None;
    };
    Some(string)
}

/// A text that `parse` understands.
pub(in crate::config) fn text<'d, T>(
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> impl Fn(&Value<'d>) -> Option<T> {
    move |value| {
        // The parser knows better than "in quotes" what is missing from a bare number.
        let number = matches!(value.inner(), DeValue::Integer(_) | DeValue::Float(_));
        let words = if number { value.words() } else { string(value)? };
        match parse(words) {
            Ok(_) if number => string(value).and(None),
            parsed => parsed.map_err(|wrong| value.wrong(wrong)).ok(),
        }
    }
}

/// A duration in `range`.
pub(in crate::config) fn duration<'d>(
    range: RangeInclusive<Duration>,
) -> impl Fn(&Value<'d>) -> Option<Duration> {
    move |value| {
        let parsed = match value.inner() {
            DeValue::String(text) => units::duration(text),
            DeValue::Integer(_) => Err(match value.natural() {
                Some(number) => units::duration_without_unit(number),
                None => Wrong::new("must be a duration", "write for example \"30s\""),
            }),
            _ => {
                value.mismatch("a duration", "write a number and its unit in quotes: \"30s\"");
                return None;
            }
        };
        let parsed = parsed.map_err(|wrong| value.wrong(wrong)).ok()?;
        in_range(value, parsed, &range, |duration| format!("\"{}\"", show_duration(duration)))
    }
}

/// A size in bytes, in `range`.
pub(in crate::config) fn size<'d>(range: RangeInclusive<u64>) -> impl Fn(&Value<'d>) -> Option<u64> {
    move |value| {
        let parsed = match value.inner() {
            DeValue::String(text) => units::size(text),
            DeValue::Integer(_) => Err(match value.natural() {
                Some(number) => units::size_without_unit(number),
                None => Wrong::new("must be a size", "write for example \"64k\""),
            }),
            _ => {
                value.mismatch("a size", "write a number and its unit in quotes: \"64k\"");
                return None;
            }
        };
        let parsed = parsed.map_err(|wrong| value.wrong(wrong)).ok()?;
        in_range(value, parsed, &range, |size| format!("\"{}\"", show_size(size)))
    }
}

/// A whole number in `range`, which the type must hold.
pub(in crate::config) fn count<'d, T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&Value<'d>) -> Option<T> {
    move |value| match value.inner() {
        DeValue::Integer(_) => {
            // What 64 bits do not hold is beyond every range, on the same side.
            let beyond = if value.words().starts_with('-') { i64::MIN } else { i64::MAX };
            let number = value.integer().unwrap_or(beyond);
            T::try_from(in_range(value, number, &range, |number| number.to_string())?).ok()
        }
        DeValue::String(text) if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) => {
            value.mismatch("a number", format!("write {text}, without quotes"));
            None
        }
        _ => {
            let (low, high) = (range.start(), range.end());
            value.mismatch("a whole number", format!("write a number from {low} to {high}"));
            None
        }
    }
}

/// A number with or without a fraction, in `range`.
pub(in crate::config) fn ratio<'d>(range: RangeInclusive<f64>) -> impl Fn(&Value<'d>) -> Option<f64> {
    move |value| {
        let number = match value.inner() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(int) => int.as_str().parse::<f64>().ok().filter(|_| int.radix() == 10),
            _ => {
                value.mismatch("a number", "write for example 1.25, without quotes");
                return None;
            }
        };
        in_range(value, number.unwrap_or(f64::NAN), &range, |number| number.to_string())
    }
}

/// One of a few numbers.
pub(in crate::config) fn number_of<'d>(numbers: &'static [u16]) -> impl Fn(&Value<'d>) -> Option<u16> {
    move |value| {
        let number = value.natural().and_then(|number| u16::try_from(number).ok());
        let found = number.filter(|number| numbers.contains(number));
        if found.is_none() {
            let all: Vec<String> = numbers.iter().map(u16::to_string).collect();
            value.wrong(Wrong::new(format!("must be {}", any_of(&all)), "write one of these numbers"));
        }
        found
    }
}

/// One of a few words.
pub(in crate::config) fn choice<'d, T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Value<'d>) -> Option<T> {
    move |value| {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let Some(given) = value.inner().as_str() else {
            value.mismatch(&any_of(&all), "write one of these words in quotes");
            return None;
        };
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == given) {
            return Some(*found);
        }
        let label = match hints::nearest(given, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {}", any_of(&all)),
        };
        value.wrong(Wrong::new(format!("must be {}", any_of(&all)), label));
        None
    }
}

/// `"off"` = `None`, or what `read` reads.
pub(in crate::config) fn off_or<'d, T>(
    read: impl Fn(&Value<'d>) -> Option<T>,
) -> impl Fn(&Value<'d>) -> Option<Option<T>> {
    word_or("off", read)
}

/// `"auto"` = `None`, or what `read` reads.
pub(in crate::config) fn auto_or<'d, T>(
    read: impl Fn(&Value<'d>) -> Option<T>,
) -> impl Fn(&Value<'d>) -> Option<Option<T>> {
    word_or("auto", read)
}

fn word_or<'d, T>(
    word: &'static str,
    read: impl Fn(&Value<'d>) -> Option<T>,
) -> impl Fn(&Value<'d>) -> Option<Option<T>> {
    move |value| match value.inner() {
        DeValue::String(text) if text == word => Some(None),
        DeValue::Integer(number) if word == "off" && number.as_str() == "0" => {
            value.wrong(Wrong::new("must not be 0", "write \"off\" to switch it off"));
            None
        }
        _ => read(&value.or(word)).map(Some),
    }
}

/// A list whose every element `read` reads; all its bad elements are reported.
pub(in crate::config) fn list<'d, T>(
    read: impl Fn(&Value<'d>) -> Option<T>,
) -> impl Fn(&Value<'d>) -> Option<Vec<T>> {
    move |value| {
        let Some(elements) = value.elements() else {
            let words = value.words();
            let write = if value.inner().is_table() { "...".to_owned() } else { words.to_owned() };
            value.mismatch("a list", format!("write [{write}]"));
            return None;
        };
        if value.inner().as_array().is_some_and(|list| list.len() > ENTRIES) {
            value.wrong(Wrong::new(format!("has more than {ENTRIES} entries"), "that many were never meant"));
            return None;
        }
        // Read first, judge later: `collect` into an Option would stop at the first bad one.
        let read: Vec<Option<T>> = elements.map(|element| read(&element)).collect();
        read.into_iter().collect()
    }
}

fn in_range<T: PartialOrd + Copy>(
    value: &Value<'_>,
    number: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Option<T> {
    if range.contains(&number) {
        return Some(number);
    }
    let (low, high) = (show(*range.start()), show(*range.end()));
    let side = if number < *range.start() { format!("at least {low}") } else { format!("at most {high}") };
    value.wrong(Wrong::new(format!("must be from {low} to {high}"), side));
    None
}

/// "a, b or c"
fn any_of(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
