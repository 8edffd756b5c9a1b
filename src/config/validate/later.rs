//! Tables whose behaviour comes later: every key with its reader, default and range, and nothing made of them yet.
//!
//! A wrong value is reported as wrong; a right one as not available (`availability`). What the model needs of a table
//! moves to a file of its own with the behaviour.

use std::time::Duration;

use super::super::raw::{Table, duration};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = s(3600);
const DAY: Duration = s(24 * 3600);

/// The top level's.
pub(super) fn read(top: &mut Table<'_>) {
    upgrade(top.table("upgrade"));
}

fn upgrade(mut table: Table<'_>) {
    table.get("linger", 12 * HOUR, duration(s(0)..=30 * DAY));
    table.get("spread", s(600), duration(s(0)..=DAY));
    table.finish();
}
