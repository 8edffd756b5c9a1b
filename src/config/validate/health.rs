//! `[upstream.NAME.health]`: how its instances are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::model::{Check, Health};
use super::super::raw::{Table, Wrong, choice, count, duration, percent, text};
use super::super::report::Problem;
use super::names;

const SHORTEST: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_hours(1);

/// The words of `check`.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Auto,
    Off,
    Tcp,
    Http,
    WebSocket,
    EngineIo,
}

/// `engine_io_paths`: where the upstream speaks Engine.IO.
pub(super) fn read(upstream: &mut Table<'_>, engine_io_paths: &[String]) -> Health {
    let second = Duration::from_secs(1);
    let mut table = upstream.table_or_off("health", Some("{ check = \"off\" }"));
    let word = table.get(
        "check",
        Word::Auto,
        choice(&[
            ("auto", Word::Auto),
            ("off", Word::Off),
            ("tcp", Word::Tcp),
            ("http", Word::Http),
            ("websocket", Word::WebSocket),
            ("engine_io", Word::EngineIo),
        ]),
    );
    let path = table.get("path", "/".to_owned(), text(names::path));
    let expect = table.get("expect", vec![200..=299], text(expect));
    let health = Health {
        check: check(&table, word, engine_io_paths.first(), path, expect),
        interval: table.get("interval", second, duration(SHORTEST..=HOUR)),
        fast_interval: table.get("fast_interval", second / 2, duration(SHORTEST..=HOUR)),
        timeout: table.get("timeout", second, duration(Duration::from_millis(10)..=60 * second)),
        rise: table.get("rise", 2, count::<u32>(1..=100)),
        fall: table.get("fall", 3, count::<u32>(1..=100)),
        slow_start: table.get("slow_start", 10 * second, duration(Duration::ZERO..=HOUR)),
        panic_below: table.get("panic_below", 50, text(percent)),
    };
    without_effect(&table, word);
    if health.fast_interval > health.interval
        && let Some(span) = table.key_span("fast_interval")
    {
        let title = format!("`{}.fast_interval` has no effect: it is longer than interval", table.name());
        let label = "write less than the interval, or delete this line";
        table.walk().report_if_whole(Problem::warning(span, title, label));
    }
    table.finish();
    health
}

/// What is asked of an instance; `engine_io`: where, if it is Engine.IO.
fn check(
    table: &Table<'_>,
    word: Word,
    engine_io: Option<&String>,
    path: String,
    expect: Vec<RangeInclusive<u16>>,
) -> Check {
    match (word, engine_io.cloned()) {
        (Word::Off, _) => Check::Off,
        (Word::Auto, Some(path)) => Check::Speaks { path },
        (Word::EngineIo, Some(path)) => Check::EngineIo { path },
        (Word::Http, _) => Check::Http { path, expect },
        (Word::WebSocket, _) => Check::WebSocket { path },
        (Word::Auto | Word::Tcp, _) => Check::Tcp,
        (Word::EngineIo, None) => {
            let span = table.value_span("check").unwrap_or_default();
            let title =
                format!("`{}.check` asks for Engine.IO, and `engine_io_path` is \"off\"", table.name());
            let label = "write \"websocket\", or say where Engine.IO is spoken";
            table.walk().report_if_whole(Problem::error(span, title, label));
            Check::Tcp
        }
    }
}

/// Keys that the check does not look at: a path without check = "http" was meant to be asked for.
fn without_effect(table: &Table<'_>, word: Word) {
    let asks_for = match word {
        // Whoever switches checks off for a while leaves the rest as it is.
        Word::Off | Word::Http => return,
        Word::WebSocket => &["expect"][..],
        Word::Auto | Word::Tcp | Word::EngineIo => &["path", "expect"],
    };
    for key in asks_for {
        if let Some(span) = table.key_span(key) {
            let title = format!("`{}.{key}` has no effect: it is for check = \"http\"", table.name());
            let label = "add check = \"http\", or delete this line";
            table.walk().report_if_whole(Problem::warning(span, title, label));
        }
    }
}

/// Status codes: `"200"`, `"2xx"`, `"200-399"`, several with commas.
fn expect(text: &str) -> Result<Vec<RangeInclusive<u16>>, Wrong> {
    let code =
        |text: &str| text.parse::<u16>().ok().filter(|code| text.len() == 3 && (100..=599).contains(code));
    let one = |part: &str| {
        if let Some(class) = part.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))?;
            return Some(class * 100..=class * 100 + 99);
        }
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (code(low)?, code(high)?);
        (low <= high).then_some(low..=high)
    };
    text.split(',').map(|part| one(part.trim())).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Wrong::new("must be status codes", "write for example \"200\", \"2xx\" or \"200-399\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes() {
        assert_eq!(expect("2xx"), Ok(vec![200..=299]));
        assert_eq!(expect("200, 301-302"), Ok(vec![200..=200, 301..=302]));
        for bad in ["", "ok", "6xx", "xx", "99", "600", "399-200", "200,", "+20", "0xx", "12xx"] {
            assert!(expect(bad).is_err(), "{bad}");
        }
    }
}
