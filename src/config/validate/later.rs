//! Tables whose behaviour comes later: every key with its reader, default and range, and nothing made of them yet.
//!
//! A wrong value is reported as wrong; a right one as not available (`availability`). What the model needs of a table
//! moves to a file of its own with the behaviour.

use std::time::Duration;

use super::super::raw::{
    Table, Wrong, boolean, choice, count, duration, number_of, off_or, percent, rate, ratio, text,
};
use super::{address, names};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = s(3600);
const DAY: Duration = s(24 * 3600);
const CLOSE_CODES: &[u16] = &[1001, 1012, 1013];

/// The top level's.
pub(super) fn read(top: &mut Table<'_>) {
    admin(top.table_or_off("admin", Some("{ address = \"off\" }")));
    reload(top.table("reload"));
    upgrade(top.table("upgrade"));
}

/// An upstream's.
pub(super) fn read_upstream(upstream: &mut Table<'_>) {
    health(upstream.table_or_off("health", Some("{ check = \"off\" }")));
    down(upstream.table("down"));
    drain(upstream.table("drain"));
}

fn health(mut table: Table<'_>) {
    table.get(
        "check",
        "auto",
        choice(&[
            ("auto", "auto"),
            ("off", "off"),
            ("tcp", "tcp"),
            ("http", "http"),
            ("websocket", "websocket"),
            ("engine_io", "engine_io"),
        ]),
    );
    table.get("path", "/".to_owned(), text(names::path));
    table.get("expect", vec![(200, 299)], text(expect));
    table.get("interval", s(1), duration(Duration::from_millis(100)..=HOUR));
    table.get("fast_interval", Duration::from_millis(500), duration(Duration::from_millis(100)..=HOUR));
    table.get("timeout", s(1), duration(Duration::from_millis(10)..=s(60)));
    table.get("rise", 2, count::<u32>(1..=100));
    table.get("fall", 3, count::<u32>(1..=100));
    table.get("slow_start", s(10), duration(s(0)..=HOUR));
    table.get("panic_below", 50, text(percent));
    table.finish();
}

/// Status codes: `"200"`, `"2xx"`, `"200-399"`, several with commas.
fn expect(text: &str) -> Result<Vec<(u16, u16)>, Wrong> {
    let code =
        |text: &str| text.parse::<u16>().ok().filter(|code| text.len() == 3 && (100..=599).contains(code));
    let one = |part: &str| {
        if let Some(class) = part.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))?;
            return Some((class * 100, class * 100 + 99));
        }
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (code(low)?, code(high)?);
        (low <= high).then_some((low, high))
    };
    text.split(',').map(|part| one(part.trim())).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Wrong::new("must be status codes", "write for example \"200\", \"2xx\" or \"200-399\"")
    })
}

fn down(mut table: Table<'_>) {
    table.get("close", "silent", choice(&[("silent", "silent"), ("always", "always"), ("never", "never")]));
    table.get("rate", per_second(1000), text(|text| rate(text, false)));
    table.get("close_code", 1012, number_of(CLOSE_CODES));
    table.get("deadline", s(5), duration(s(0)..=HOUR));
    table.finish();
}

fn drain(mut table: Table<'_>) {
    table.get("grace", s(0), duration(s(0)..=DAY));
    table.get("spread", s(60), duration(s(0)..=DAY));
    table.get("close_code", 1012, number_of(CLOSE_CODES));
    table.get("deadline", s(300), duration(s(1)..=7 * DAY));
    table.finish();
}

/// `[upstream.NAME.rebalance]`; of it `rest` already counts.
pub(super) fn rebalance(upstream: &mut Table<'_>) -> Duration {
    let mut table = upstream.table_or_off("rebalance", Some("{ max_skew = \"off\" }"));
    table.get("max_skew", None, off_or(ratio(1.01..=100.0)));
    table.get("rate", per_second(10), text(|text| rate(text, false)));
    let rest = table.get("rest", s(600), duration(s(0)..=DAY));
    table.finish();
    rest
}

fn admin(mut table: Table<'_>) {
    table.get("socket", "/run/stickyd/admin.sock".into(), text(names::file));
    table.get("mode", 0o660, text(mode));
    table.get("group", "stickyd".to_owned(), text(names::name));
    table.get("address", Some(([127, 0, 0, 1], 7080).into()), off_or(text(address::socket)));
    table.finish();
}

/// Permission bits in octal.
fn mode(text: &str) -> Result<u32, Wrong> {
    let digits = text.len() == 4 && text.starts_with('0') && text.bytes().all(|c| matches!(c, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(bits) if digits => Ok(bits),
        Ok(bits) if bits <= 0o777 => {
            Err(Wrong::new("must be four octal digits", format!("write \"{bits:04o}\"")))
        }
        _ => Err(Wrong::new("must be four octal digits", "write for example \"0660\"")),
    }
}

fn reload(mut table: Table<'_>) {
    table.get("watch", true, boolean);
    table.get("max_removed", 50, text(percent));
    table.finish();
}

fn upgrade(mut table: Table<'_>) {
    table.get("linger", 12 * HOUR, duration(s(0)..=30 * DAY));
    table.get("spread", s(600), duration(s(0)..=DAY));
    table.finish();
}

fn per_second(events: u64) -> super::super::raw::Rate {
    super::super::raw::Rate { events, per: s(1), burst: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes() {
        assert_eq!(expect("2xx"), Ok(vec![(200, 299)]));
        assert_eq!(expect("200, 301-302"), Ok(vec![(200, 200), (301, 302)]));
        for bad in ["", "ok", "6xx", "xx", "99", "600", "399-200", "200,", "+20"] {
            assert!(expect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn permissions() {
        assert_eq!((mode("0660"), mode("0600")), (Ok(0o660), Ok(0o600)));
        for bad in ["", "660", "0o660", "0888", "rw-rw----", "+660"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
