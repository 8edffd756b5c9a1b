//! `stickyd status`: how everything is, on one screen.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::family::{self, All};
use super::reach::{Reach, count, exit, print, print_json, time};
use super::state::left;
use crate::control::admin::api;
use crate::control::certificates;

const EXAMPLES: &str = "\
Examples:
  stickyd status
  stickyd status --json | jq '.upstreams[].instances[] | select(.takes_clients | not)'

Exit codes: 0 shown, 2 wrong usage, 69 not running.";

/// Show how the running process is: instances, health, tunnels, drains, the last reload
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let all = args.reach.client().and_then(|client| family::status(&client, None));
    exit(all.and_then(|All { status, lingering }| {
        if args.json {
            return print_json(&Json { lingering: lingering.iter().map(Process::of).collect(), status });
        }
        print(&screen(&status, &lingering))
    }))
}

/// For scripts: sums over all processes, and those that linger.
#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    status: api::Status,
    lingering: Vec<Process>,
}

/// A process that lingers.
#[derive(Serialize)]
struct Process {
    pid: u32,
    version: String,
    connections: u64,
    tunnels: u64,
    lingers: Option<api::Lingers>,
}

impl Process {
    fn of(status: &api::Status) -> Self {
        Process {
            pid: status.pid,
            version: status.version.clone(),
            connections: status.connections.open,
            tunnels: family::tunnels(status),
            lingers: status.lingers,
        }
    }

    /// `pid 812, 0.1.0, since 4m 10s: 3120 tunnels; closes them in 11h 40m`.
    fn line(&self, now: u64) -> String {
        let Process { pid, version, connections, tunnels, lingers } = self;
        let (since, ends) = lingers.map_or((0, String::new()), |lingers| {
            let ends = match (lingers.closes_in, lingers.ends_in) {
                (0, ends_in) => format!("; closes them until {} from now", time(ends_in.div_ceil(1000))),
                (closes_in, _) => format!("; closes them in {}", time(closes_in.div_ceil(1000))),
            };
            (now.saturating_sub(lingers.since), ends)
        });
        let since = time(since);
        format!(
            "pid {pid}, {version}, since {since}: {connections} connections, {tunnels} of them tunnels{ends}"
        )
    }
}

/// For people; 80 columns where names are not long.
fn screen(status: &api::Status, lingering: &[api::Status]) -> String {
    let mut text = String::new();
    let ago = |moment: u64| time(status.now.saturating_sub(moment));
    let ready = match (status.ready, status.retired) {
        (false, _) => ", STOPPING".to_owned(),
        (true, Some(since)) => format!(", RETIRED {} ago", ago(since)),
        (true, None) => String::new(),
    };
    let _ =
        writeln!(text, "stickyd {}, pid {}, up {}{ready}", status.version, status.pid, ago(status.started));
    let config = &status.config;
    let file = config.file.as_deref().unwrap_or("the command line");
    let _ = writeln!(
        text,
        "config   {file}, loaded {} ago ({}, {} refused)",
        ago(config.loaded),
        count(config.reloads, "reload"),
        config.refused
    );
    if let Some(refusal) = &config.refusal {
        let _ = writeln!(text, "         REFUSED {} ago: {}", ago(config.last), first(refusal));
        let _ = writeln!(text, "         what was loaded before runs on; `stickyd reload` says all");
    }
    let _ = writeln!(text, "listen   {}", status.listeners.join(", "));
    tls(&mut text, status);
    if let Some(metrics) = &status.metrics {
        let _ = writeln!(text, "metrics  http://{metrics}/metrics");
    }
    if let Some(page) = &status.page {
        let _ = writeln!(text, "page     http://{page}/");
    }
    let _ =
        writeln!(text, "clients  {} of {} connections", status.connections.open, status.connections.limit);
    for one in lingering {
        let _ = writeln!(text, "lingers  {}", Process::of(one).line(status.now));
    }
    status.upstreams.iter().for_each(|one| upstream(&mut text, one));
    text
}

fn tls(text: &mut String, status: &api::Status) {
    let mut refused = None;
    for one in &status.certificates {
        let names = if one.names.is_empty() { &one.file } else { &one.names.join(", ") };
        let how = certificates::validity((one.begins, one.expires), status.now);
        let _ = writeln!(text, "tls      {}: {names}; {how}", one.listener);
        if let Some(why) =
            one.refused.as_ref().filter(|why| refused.replace((*why).clone()).as_ref() != Some(why))
        {
            let _ = writeln!(text, "         CHANGED FILE REFUSED, the old one stays: {}", first(why));
        }
    }
}

/// The first problem of a report, on one line: `error: unknown key, line 7`.
fn first(report: &str) -> String {
    let mut lines = report.lines();
    let title = lines.next().unwrap_or_default();
    // FILE:LINE:COLUMN
    let place = lines.next().and_then(|line| line.trim_start().strip_prefix("--> "));
    let mut place = place.map(|place| place.rsplit(':')).into_iter().flatten().map(str::parse::<u32>);
    match (place.next(), place.next()) {
        (Some(Ok(_)), Some(Ok(line))) => format!("{title}, line {line}"),
        _ => title.to_owned(),
    }
}

fn upstream(text: &mut String, of: &api::Upstream) {
    let sticky = if of.sticky.is_empty() { "not sticky".to_owned() } else { of.sticky.join(", ") };
    let secret = of.secret.as_ref().map(|secret| format!("; secret {secret}")).unwrap_or_default();
    let removed = if of.removed { " (removed from the file)" } else { "" };
    let _ = writeln!(text, "\nupstream {}{removed}: {sticky}{secret}", of.name);
    if of.panic {
        let _ = writeln!(text, "  PANIC: too few instances pass their checks, so checks are not believed");
    }
    let longest = of.instances.iter().map(|instance| instance.name.len()).max().unwrap_or(0).max(8);
    let _ = writeln!(
        text,
        "  {:longest$}  {:8}  {:8}  {:>8}  {:>8}  {:>8}  {:>5}",
        "instance", "wanted", "health", "tunnels", "sessions", "requests", "queue"
    );
    for instance in &of.instances {
        let wanted = if instance.removed { "removed" } else { instance.state.as_str() };
        let health = match instance.health {
            api::Health::Unknown => "-".to_owned(),
            api::Health::Up if instance.share < 100 => format!("up {} %", instance.share),
            api::Health::Up => "up".to_owned(),
            api::Health::Degraded => "DEGRADED".to_owned(),
            api::Health::Down => "DOWN".to_owned(),
        };
        let _ = writeln!(
            text,
            "  {:longest$}  {wanted:8}  {health:8}  {:>8}  {:>8}  {:>8}  {:>5}",
            instance.name, instance.tunnels, instance.sessions, instance.requests, instance.queued
        );
        if instance.health == api::Health::Up && instance.share < 100 {
            let _ = writeln!(
                text,
                "    in its slow start: gets {} % of its share of new clients",
                instance.share
            );
        }
        if matches!(instance.health, api::Health::Degraded | api::Health::Down) {
            let _ = writeln!(text, "    {}", instance.evidence);
        }
        match &instance.drain {
            Some(_) if instance.empty => drop(writeln!(text, "    empty")),
            Some(drain) => drop(writeln!(text, "    {}", left(instance, Some(drain)))),
            None => {}
        }
        if instance.missing {
            text.push_str("    its name no longer has this address: no new clients\n");
        }
        if instance.state != instance.configured && !instance.removed {
            let _ = writeln!(text, "    by command; the file says {}", instance.configured.as_str());
        }
    }
    let listed = |counts: &std::collections::BTreeMap<String, u64>| {
        let some = counts.iter().filter(|(_, count)| **count > 0);
        some.map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
    };
    let (placed, moved) = (listed(&of.decisions), listed(&of.rebinds));
    if !placed.is_empty() {
        let _ = writeln!(text, "  placed by {placed}");
    }
    if !moved.is_empty() {
        let _ = writeln!(text, "  moved for {moved}");
    }
    rebalance(text, of.rebalance);
}

fn rebalance(text: &mut String, of: api::Rebalance) {
    if of.beyond == 0 {
        return;
    }
    let (skew, part) = (of.max_skew / 100, of.max_skew % 100);
    let does = if of.on { "a rebalance closes" } else { "with rebalance.max_skew so, it would close" };
    let _ = writeln!(
        text,
        "  {} beyond {skew}.{part:02} times the fair share: {does} {}",
        count(of.beyond, "tunnel"),
        of.moves
    );
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn the_place_of_a_refusal() {
        let check = |report, line| assert_eq!(first(report), line);
        check(
            "error: a text needs quotes\n  --> /etc/a:b.toml:12:7\n   |\n",
            "error: a text needs quotes, line 12",
        );
        check("error: this is a directory\n --> /etc/stickyd\n", "error: this is a directory");
        check("it removes 2 of 2 instances", "it removes 2 of 2 instances");
        check("", "");
    }
}
