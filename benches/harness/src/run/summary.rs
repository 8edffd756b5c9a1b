//! The table that a run prints and keeps. Pure but for reading the configurations that it quotes.

use std::fmt::Write as _;
use std::fs;

use super::machine::Facts;
use super::peer::{self, Peer};
use super::stats::{self, Spread};
use super::work::{Figure, Target, Work};
use crate::record::Record;

/// The peer whose targets these are.
const OURS: &str = "stickyd";

/// All tables, in Markdown.
pub(crate) fn table(works: &[Work], peers: &[Peer], records: &[Record]) -> String {
    let mut text = String::new();
    figures(&mut text, works, peers, records);
    ratios(&mut text, works, peers, records);
    closed_loops(&mut text, works, peers, records);
    failures(&mut text, records);
    text
}

/// The figure that counts, and the targets beside.
fn figures(text: &mut String, works: &[Work], peers: &[Peer], records: &[Record]) {
    let proxies: Vec<&str> = super::names(peers).into_iter().filter(|peer| *peer != "direct").collect();
    text.push_str(
        "CPU of the proxy per operation, user memory of the proxy per connection: median (min to max)\n\n",
    );
    row(
        text,
        ["work", "unit"].into_iter().chain(proxies.iter().copied()).chain(["stickyd must reach", "reached"]),
    );
    rule(text, proxies.len() + 4);
    for work in works {
        let cell = |peer: &&str| {
            let spread = stats::figure(records, work.name, peer, work.figure.key());
            spread.map_or_else(|| "-".to_owned(), |spread| spread_text(spread, work.figure))
        };
        let mut cells = vec![work.what.to_owned(), work.figure.unit().to_owned()];
        cells.extend(proxies.iter().map(cell));
        let targets: Vec<String> = work.targets.iter().map(|target| target_text(*target)).collect();
        cells.push(targets.join(", "));
        let reached: Vec<&str> = work.targets.iter().map(|target| reached(work, *target, records)).collect();
        cells.push(reached.join(", "));
        row(text, cells.iter().map(String::as_str));
    }
    text.push('\n');
}

/// Ratios of the same round; the A/A pair shows what a ratio of 1 looks like on this machine.
fn ratios(text: &mut String, works: &[Work], peers: &[Peer], records: &[Record]) {
    let names = super::names(peers);
    let pairs = [("nginx-again", "nginx"), (OURS, "nginx"), (OURS, "haproxy"), ("haproxy", "nginx")];
    let pairs: Vec<_> = pairs.iter().filter(|(a, b)| names.contains(a) && names.contains(b)).collect();
    if pairs.is_empty() {
        return;
    }
    text.push_str("Ratios of the same round: median (min to max). nginx-again / nginx is the noise\n\n");
    let heads: Vec<String> = pairs.iter().map(|(peer, other)| format!("{peer} / {other}")).collect();
    row(text, ["work"].into_iter().chain(heads.iter().map(String::as_str)));
    rule(text, pairs.len() + 1);
    for work in works {
        let cells: Vec<String> = pairs
            .iter()
            .map(|(peer, other)| {
                let ratio = stats::ratio(records, work.name, peer, other, work.figure.key());
                ratio.map_or_else(
                    || "-".to_owned(),
                    |ratio| format!("{:.3} ({:.3} to {:.3})", ratio.median, ratio.min, ratio.max),
                )
            })
            .collect();
        row(text, [work.what].into_iter().chain(cells.iter().map(String::as_str)));
    }
    text.push('\n');
}

/// What else a closed loop tells: medians, to judge the run by, not to compare by.
fn closed_loops(text: &mut String, works: &[Work], peers: &[Peer], records: &[Record]) {
    let works: Vec<&Work> = works.iter().filter(|work| work.figure == Figure::Cpu).collect();
    if works.is_empty() {
        return;
    }
    text.push_str("The closed loops behind it, medians. Rates and latencies move with the neighbours: not for comparison\n\n");
    let keys = [
        ("per s", "per_s"),
        ("p50 us", "p50_us"),
        ("p99 us", "p99_us"),
        ("proxy busy", "proxy_busy"),
        ("others busy", "others_busy"),
        ("client us", "client_us"),
        ("instance us", "instance_us"),
        ("errors", "errors"),
    ];
    row(text, ["work", "peer"].into_iter().chain(keys.iter().map(|(head, _)| *head)));
    rule(text, keys.len() + 2);
    for work in works {
        for peer in super::names(peers) {
            let cells: Vec<String> = keys
                .iter()
                .map(|(_, key)| match stats::figure(records, work.name, peer, key) {
                    // The most of any round: one error in one round is not the median's business.
                    Some(spread) if *key == "errors" => spread.max.to_string(),
                    Some(spread) if key.ends_with("busy") => format!("{:.2}", spread.median),
                    Some(spread) => number(spread.median),
                    None => "-".to_owned(),
                })
                .collect();
            row(text, [work.what, peer].into_iter().chain(cells.iter().map(String::as_str)));
        }
    }
    text.push('\n');
}

/// Measurements that failed or had errors, so that nobody overlooks them in a median.
fn failures(text: &mut String, records: &[Record]) {
    let bad = |record: &&Record| {
        record.text("failed").is_some()
            || record.text("threads_ended").is_some()
            || record.get("errors").is_some_and(|errors| errors > 0.0)
    };
    let lines: Vec<String> = records.iter().filter(bad).map(ToString::to_string).collect();
    if !lines.is_empty() {
        let _ = write!(text, "Failed, or with errors:\n\n```\n{}\n```\n\n", lines.join("\n"));
    }
}

/// `summary.md`: facts, tables, configurations.
pub(crate) fn page(facts: &Facts, table: &str, peers: &[Peer]) -> String {
    let mut text = "# Benchmark run\n\n".to_owned();
    for (name, value) in facts {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let _ = write!(text, "\n{table}## Configurations\n");
    let mut quoted: Vec<&str> = peers.iter().filter_map(|peer| peer.configuration).collect();
    quoted.dedup();
    for name in quoted {
        let content = fs::read_to_string(peer::configurations().join(name)).unwrap_or_default();
        let _ = write!(text, "\n### {name}\n\n```\n{}\n```\n", content.trim_end());
    }
    text
}

fn row<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn rule(text: &mut String, columns: usize) {
    row(text, std::iter::repeat_n("---", columns));
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn spread_text(spread: Spread, figure: Figure) -> String {
    match figure {
        Figure::Cpu => {
            format!("{} ({} to {})", number(spread.median), number(spread.min), number(spread.max))
        }
        Figure::Memory => format!("{:.0} ({:.0} to {:.0})", spread.median, spread.min, spread.max),
    }
}

fn target_text(target: Target) -> String {
    match target {
        Target::Ratio(peer, most) => format!("<= {most:.2} x {peer}"),
        Target::Absolute(most) => format!("<= {most:.0}"),
    }
}

fn reached(work: &Work, target: Target, records: &[Record]) -> &'static str {
    let key = work.figure.key();
    let (spread, most) = match target {
        Target::Ratio(peer, most) => (stats::ratio(records, work.name, OURS, peer, key), most),
        Target::Absolute(most) => (stats::figure(records, work.name, OURS, key), most),
    };
    match spread {
        None => "-",
        Some(spread) if spread.median <= most => "yes",
        Some(_) => "NO",
    }
}

#[cfg(test)]
mod tests {
    use super::super::work;
    use super::*;

    fn rendered(lines: &[&str], peers: &[&str]) -> String {
        let records: Vec<Record> = lines.iter().map(|line| line.parse().expect("a line")).collect();
        let names: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let works = work::chosen(&["echo64".to_owned(), "idle".to_owned()]).expect("workloads");
        table(&works, &peer::chosen(&names).expect("peers"), &records)
    }

    #[test]
    fn a_target_is_reached_or_not_by_the_median_of_paired_rounds() {
        let text = rendered(
            &[
                "work=echo64 round=1 peer=nginx cpu_us=10 errors=0",
                "work=echo64 round=1 peer=haproxy cpu_us=10 errors=0",
                "work=echo64 round=1 peer=stickyd cpu_us=10.2 errors=0",
                "work=idle round=1 peer=nginx anon_bytes=17900 errors=0",
                "work=idle round=1 peer=stickyd anon_bytes=1201 errors=0",
            ],
            &["nginx", "haproxy", "stickyd"],
        );
        assert!(text.contains("| <= 1.03 x nginx, <= 0.88 x haproxy | yes, NO |"), "{text}");
        assert!(
            text.contains("| 17900 (17900 to 17900) | - | 1201 (1201 to 1201) | <= 1200 | NO |"),
            "{text}"
        );
        assert!(!text.contains("Failed"), "{text}");
    }

    #[test]
    fn a_failure_and_an_error_are_told_in_full() {
        let lines = ["work=echo64 round=1 peer=nginx failed=why", "work=idle round=2 peer=nginx errors=3"];
        let text = rendered(&lines, &["nginx", "direct"]);
        assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    }

    #[test]
    fn every_row_of_a_table_has_its_head_s_columns() {
        let text =
            rendered(&["work=echo64 round=1 peer=nginx cpu_us=10"], &["nginx", "nginx-again", "stickyd"]);
        let mut tables = 0;
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.iter().all(|count| *count == columns[0]), "{table}");
            tables += 1;
        }
        assert_eq!(tables, 3);
    }
}
