//! `[upstream.NAME.down]`, `[upstream.NAME.drain]` and `[upstream.NAME.rebalance]`: how the tunnels of an instance are closed when it
//! is to carry none, or fewer.

use std::ops::Range;
use std::time::Duration;

use super::super::model::{self, Down, Drain, Rebalance, WhenDown};
use super::super::raw::{Rate, Table, choice, duration, number_of, off_or, rate, ratio, show_duration, text};
use super::super::report::Problem;
use super::sticky::hundredths;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const CLOSE_CODES: &[u16] = &[1001, 1012, 1013];

/// `[upstream.NAME.down]`
pub(super) fn down(upstream: &mut Table<'_>) -> Down {
    let mut table = upstream.table("down");
    let thousand = Rate { events: 1000, per: SECOND, burst: None };
    let down = Down {
        close: table.get(
            "close",
            WhenDown::Silent,
            choice(&[("silent", WhenDown::Silent), ("always", WhenDown::Always), ("never", WhenDown::Never)]),
        ),
        per_second: per_second(table.get("rate", thousand, text(|text| rate(text, false)))),
        close_code: table.get("close_code", 1012, number_of(CLOSE_CODES)),
        deadline: table.get("deadline", 5 * SECOND, duration(Duration::ZERO..=HOUR)),
    };
    table.finish();
    down
}

/// `[upstream.NAME.drain]`
pub(super) fn drain(upstream: &mut Table<'_>) -> Drain {
    let mut table = upstream.table("drain");
    let drain = Drain {
        grace: table.get("grace", Duration::ZERO, duration(Duration::ZERO..=DAY)),
        spread: table.get("spread", 60 * SECOND, duration(Duration::ZERO..=DAY)),
        close_code: table.get("close_code", 1012, number_of(CLOSE_CODES)),
        deadline: table.get("deadline", 300 * SECOND, duration(SECOND..=7 * DAY)),
    };
    let needed = drain.grace + drain.spread;
    let culprit = ["deadline", "spread", "grace"].iter().find_map(|key| table.value_span(key));
    if let (true, Some(span)) = (needed > drain.deadline, culprit) {
        let (needed, deadline) = (show_duration(needed), show_duration(drain.deadline));
        let title = format!(
            "`{}`: grace and spread together ({needed}) are longer than the deadline ({deadline})",
            table.name()
        );
        let label = "what is still open at the deadline is cut all at once: write a later deadline";
        table.walk().report_if_whole(Problem::warning(span, title, label));
    }
    table.finish();
    drain
}

/// `[upstream.NAME.rebalance]`, and where the document says `max_skew`.
pub(super) fn rebalance(upstream: &mut Table<'_>) -> (Rebalance, Option<Range<usize>>) {
    let mut table = upstream.table_or_off("rebalance", Some("{ max_skew = \"off\" }"));
    let ten = Rate { events: 10, per: SECOND, burst: None };
    let max_skew = table.get("max_skew", None, off_or(ratio(1.01..=100.0))).map(hundredths);
    let Rate { events, per, .. } = table.get("rate", ten, text(|text| rate(text, false)));
    let rest = table.get("rest", 600 * SECOND, duration(Duration::ZERO..=DAY));
    if let (Some(_), true, Some(span)) = (max_skew, rest.is_zero(), table.value_span("rest")) {
        let title =
            format!("`{}`: a client that is moved may come right back, to be moved again", table.name());
        table.walk().report_if_whole(Problem::warning(span, title, "delete this line, or write \"10m\""));
    }
    let span = table.value_span("max_skew");
    table.finish();
    let rate = model::Rate { events: u32::try_from(events).unwrap_or(u32::MAX), per };
    (Rebalance { max_skew, rate, rest }, span)
}

/// Whole closes in a second, at least one.
fn per_second(rate: Rate) -> u32 {
    let per = rate.per.as_millis().max(1);
    u32::try_from(u128::from(rate.events) * 1000 / per).unwrap_or(u32::MAX).max(1)
}
