//! Tables whose behaviour comes later: every key with its reader, default and range, and nothing made of them yet.
//!
//! A wrong value is reported as wrong; a right one as not available (`availability`). What the model needs of a table
//! moves to a file of its own with the behaviour.

use std::time::Duration;

use super::super::raw::{Table, duration, off_or, rate, ratio, text};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = s(3600);
const DAY: Duration = s(24 * 3600);

/// The top level's.
pub(super) fn read(top: &mut Table<'_>) {
    upgrade(top.table("upgrade"));
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

fn upgrade(mut table: Table<'_>) {
    table.get("linger", 12 * HOUR, duration(s(0)..=30 * DAY));
    table.get("spread", s(600), duration(s(0)..=DAY));
    table.finish();
}

fn per_second(events: u64) -> super::super::raw::Rate {
    super::super::raw::Rate { events, per: s(1), burst: None }
}
