//! When everybody has left: what the proxy counted, what its access log says, and what clients counted must be the same.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::file::File;
use crate::schedule::may_be_removed;
use crate::scrape::{Scrape, Scraper, label};
use crate::site::{Process, Site};
use crate::tally::Tally;

/// Everything that is open has ended, and nothing is left behind, within this.
const PATIENCE: Duration = Duration::from_secs(40);

/// Memory that may be left, kilobytes: what the allocator keeps for the next ones.
const MEMORY: u64 = 8 * 1024;

/// What is open, and must not be when nobody is there. The connection of a scrape is none of a listener's.
const OPEN: [&str; 5] = [
    "stickyd_tunnels_open",
    "stickyd_requests_open",
    "stickyd_connections_open",
    "stickyd_upgrades_queued",
    "stickyd_upgrades_in_flight",
];

/// Why no tunnel of a soak may end.
const NEVER: [&str; 9] = [
    "protocol_error",
    "internal_error",
    "message_too_big",
    "idle",
    "shutdown",
    "rebalanced",
    "command",
    "stalled",
    "ping_timeout",
];

/// How many, by instance, reason and close code.
type Closed = BTreeMap<(usize, String, String), u64>;

/// Waits until nothing is open, and compares.
pub(super) async fn close(
    site: &Site,
    tally: &Tally,
    scraper: &mut Scraper,
    at_start: Process,
) -> io::Result<()> {
    let begin = Instant::now();
    let scrape = loop {
        let scrape = scraper.scrape().await?;
        let open: Vec<_> =
            OPEN.iter().map(|name| (name, scrape.sum(name, &[]))).filter(|(_, open)| *open != 0.0).collect();
        if open.is_empty() {
            break scrape;
        }
        if begin.elapsed() > PATIENCE {
            tally.violated(format!("everybody has left, but {open:?}"));
            break scrape;
        }
        sleep(Duration::from_millis(100)).await;
    };
    for (name, why) in [
        ("stickyd_panics_total", "a panic"),
        ("stickyd_log_lines_dropped_total", "the access log lost lines"),
    ] {
        if scrape.count(name, &[]) > 0 {
            tally.violated(why);
        }
    }
    compare(site, tally, &scrape).await;
    leftovers(site, tally, at_start).await;
    Ok(())
}

/// Descriptors and memory are what they were before anybody came.
async fn leftovers(site: &Site, tally: &Tally, at_start: Process) {
    let begin = Instant::now();
    loop {
        let now = site.process();
        // The scrape's connection is one.
        if now.files <= at_start.files + 2
            && now.resident <= at_start.resident + MEMORY
            && now.threads <= at_start.threads
        {
            return;
        }
        if begin.elapsed() > PATIENCE {
            return tally.violated(format!("left behind: {now:?}, at the start {at_start:?}"));
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// The tunnels: the metrics, the access log, the clients.
async fn compare(site: &Site, tally: &Tally, scrape: &Scrape) {
    let closed = closed_of(scrape);
    let begin = Instant::now();
    // Its writer is a thread of its own.
    let (opened_log, closed_log) = loop {
        let (opened, closed) = access_log(&site.read("access.log"));
        let ended: u64 = closed.values().sum();
        if ended == opened.iter().sum::<u64>() && ended >= closed_total(scrape)
            || begin.elapsed() > Duration::from_secs(10)
        {
            break (opened, closed);
        }
        sleep(Duration::from_millis(200)).await;
    };
    println!(
        "\ntunnels: opened by clients, in the access log, in the metrics; closed in the log, in the metrics"
    );
    for (slot, of_clients) in tally.slots.iter().map(|slot| slot.opened.get()).enumerate() {
        let of_slot = |closed: &Closed| {
            closed.iter().filter(|((of, ..), _)| *of == slot).map(|(_, count)| count).sum::<u64>()
        };
        let in_log = opened_log.get(slot).copied().unwrap_or(0);
        let shown: u64 =
            of_instance(scrape, "stickyd_tunnels_opened_total", slot).map(|(_, count)| count).sum();
        let (ended_log, ended) = (of_slot(&closed_log), of_slot(&closed));
        println!("  instance {slot}: {of_clients:6} {in_log:6} {shown:6} {ended_log:6} {ended:6}");
        // What was removed and came back counts anew, so its metrics know the last part only.
        let kept = !may_be_removed(slot);
        if of_clients != in_log
            || in_log != ended_log
            || shown != ended
            || kept && shown != in_log
            || shown > in_log
        {
            tally.violated(format!("instance {slot}: tunnels do not add up"));
        }
    }
    reasons(tally, &closed, &closed_log);
}

fn reasons(tally: &Tally, closed: &Closed, closed_log: &Closed) {
    let kept = |closed: &Closed| -> Closed {
        closed
            .iter()
            .filter(|((slot, ..), count)| !may_be_removed(*slot) && **count > 0)
            .map(|(key, count)| (key.clone(), *count))
            .collect()
    };
    let (kept_metrics, kept_log) = (kept(closed), kept(closed_log));
    if kept_metrics != kept_log {
        tally.violated(format!("reasons do not agree: metrics {kept_metrics:?}, access log {kept_log:?}"));
    }
    let mut by_reason: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for ((_, reason, code), count) in closed_log {
        *by_reason.entry((reason, code)).or_default() += count;
    }
    println!("\ntunnels by reason and close code (access log, all instances):");
    for ((reason, code), count) in by_reason {
        println!("  {count:>9}  {reason} {code}");
        if NEVER.contains(&reason) {
            tally.violated(format!("{count} tunnels ended for {reason}"));
        }
    }
}

/// The samples of a metric that are of an instance, with all its names.
fn of_instance<'s>(scrape: &'s Scrape, name: &'s str, slot: usize) -> impl Iterator<Item = (&'s str, u64)> {
    scrape
        .samples(name)
        .filter(move |(sample, _)| label(sample, "instance").and_then(File::slot) == Some(slot))
        .map(|(sample, value)| (sample, value as u64))
}

fn closed_total(scrape: &Scrape) -> u64 {
    scrape.count("stickyd_tunnels_closed_total", &[])
}

fn closed_of(scrape: &Scrape) -> Closed {
    let mut closed = Closed::new();
    for (sample, count) in scrape.samples("stickyd_tunnels_closed_total") {
        let text = |name| label(sample, name).unwrap_or_default().to_owned();
        let Some(slot) = File::slot(&text("instance")) else { continue };
        *closed.entry((slot, text("reason"), text("code"))).or_default() += count as u64;
    }
    closed
}

/// Opened by instance, closed by instance, reason and code.
fn access_log(log: &str) -> (Vec<u64>, Closed) {
    let (mut opened, mut closed) = (Vec::new(), Closed::new());
    for line in log.lines().filter(|line| line.contains("\"event\":\"ws_")) {
        // The last line may be half there.
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(slot) = line["instance"].as_str().and_then(File::slot) else { continue };
        if line["event"] == "ws_open" {
            opened.resize(opened.len().max(slot + 1), 0);
            opened[slot] += 1;
        } else {
            let reason = line["reason"].as_str().unwrap_or_default().to_owned();
            *closed.entry((slot, reason, class(line["close_code"].as_u64()))).or_default() += 1;
        }
    }
    (opened, closed)
}

/// How the metrics call a close code.
fn class(code: Option<u64>) -> String {
    match code {
        None => "none".to_owned(),
        Some(4_000..5_000) => "4xxx".to_owned(),
        Some(code) => code.to_string(),
    }
}

/// The proxy's own log: no errors but refused files.
pub(super) fn logs(site: &Site, tally: &Tally) {
    let log = site.read("stickyd.log");
    let mut refused = 0;
    for line in log.lines() {
        if line.contains("the configuration is refused") {
            refused += 1;
        } else if line.contains("\"ERROR\"") || line.contains("panicked") || !line.starts_with('{') {
            tally.violated(format!("the log says: {line}"));
        }
    }
    println!(
        "log: {} lines, {refused} of refused files; instances say: {:?}",
        log.lines().count(),
        site.read("instances.log")
    );
}
