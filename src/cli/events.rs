//! `stickyd events`: what happened lately.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::reach::{Reach, exit, print};
use crate::config;
use crate::control::admin::{Client, Failure, api};
use crate::local::clock;

const EXAMPLES: &str = "\
Examples:
  stickyd events --since 1h
      Health, panic, reloads, refusals, commands, drains, re-binds, limits, names, start: the oldest first. Times are UTC.
  stickyd events --follow --upstream socketio
  stickyd events --json | jq 'select(.kind == \"down\")'
      An object a line; kinds: start, stop, retire, reload, refusal, up, degraded, down, panic, state, drained, rebind, rebalance,
      limit, name.

The process keeps the last 4096 since its start; the log has the same lines for longer.
Exit codes: 0 shown, 2 wrong usage, 69 not running.";

/// Show what happened lately: health, reloads, commands, drains, re-binds, limits
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EventsArgs {
    /// Not what is longer ago than this, for example 1h
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    since: Option<Duration>,
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only what is about this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// For scripts: an object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How often somebody who follows asks.
const LOOK: Duration = Duration::from_secs(1);

/// How long a process may be away, because it is started anew, while somebody follows.
const AWAY: Duration = Duration::from_secs(30);

/// Lines are no longer than this, if their words allow it.
const WIDTH: usize = 80;

pub(super) fn run(args: &EventsArgs) -> ExitCode {
    exit(args.reach.client().and_then(|client| show(args, &client)))
}

fn show(args: &EventsArgs, client: &Client) -> Result<(), Failure> {
    let since = args.since.map_or(0, |ago| clock::epoch_seconds().saturating_sub(ago.as_secs()));
    let heard = ask(client, 0, since)?;
    let from_start = args.since.is_none() && heard.overwritten > 0;
    if from_start && !args.json {
        print(&format!("{} older ones are no longer kept\n", heard.overwritten))?;
    }
    print(&lines(args, &heard.events))?;
    if args.follow { follow(args, client, heard) } else { Ok(()) }
}

fn follow(args: &EventsArgs, client: &Client, mut heard: api::Events) -> Result<(), Failure> {
    let mut lost: Option<Instant> = None;
    loop {
        std::thread::sleep(LOOK);
        let mut next = match ask(client, heard.last, 0) {
            Ok(next) => next,
            // It may be started anew.
            Err(failure @ Failure::Unreachable(_)) => {
                if lost.get_or_insert_with(clock::instant).elapsed() >= AWAY {
                    return Err(failure);
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        lost = None;
        if next.pid != heard.pid {
            next = ask(client, 0, 0)?;
        } else if next.overwritten > heard.last && !args.json {
            print(&format!("{} were overwritten before they were seen\n", next.overwritten - heard.last))?;
        }
        print(&lines(args, &next.events))?;
        heard = next;
    }
}

fn ask(client: &Client, after: u64, since: u64) -> Result<api::Events, Failure> {
    client.get(&format!("/v1/events?after={after}&since={since}"), None)
}

fn lines(args: &EventsArgs, events: &[api::Event]) -> String {
    let wanted = |event: &&api::Event| args.upstream.is_none() || event.upstream == args.upstream;
    let mut text = String::new();
    for event in events.iter().filter(wanted) {
        if args.json {
            let json = serde_json::to_string(event).expect("its maps have texts as keys");
            let _ = writeln!(text, "{json}");
        } else {
            text.push_str(&for_people(event));
        }
    }
    text
}

/// `11-24 12:03:04Z  app/blue: instance is down: 3 checks failed: connection refused`
fn for_people(event: &api::Event) -> String {
    // RFC 3339, in UTC: without the year and the milliseconds.
    let time = format!("{} {}Z", event.time.get(5..10).unwrap_or("?"), event.time.get(11..19).unwrap_or("?"));
    let about = match (&event.upstream, &event.instance) {
        (Some(upstream), Some(instance)) => format!("{upstream}/{instance}: "),
        (Some(upstream), None) => format!("{upstream}: "),
        _ => String::new(),
    };
    let mut sentence = event.text.lines();
    let mut first = format!("{about}{}", sentence.next().unwrap_or_default());
    if let Some(evidence) = event.details.get("evidence") {
        let _ = write!(first, ": {}", word(evidence));
    }
    let told = ["evidence", "before", "state", "file"];
    let details = event.details.iter().filter(|(name, _)| !told.contains(&name.as_str()));
    let details: Vec<String> = details.map(|(name, value)| format!("{name} {}", word(value))).collect();
    if !details.is_empty() {
        let _ = write!(first, " ({})", details.join(", "));
    }
    let mut text = wrapped(&format!("{time}  "), &first);
    // The lines of a plan or a report are as they are.
    for line in sentence {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
    text
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// In lines of at most [`WIDTH`], the words of the second and later ones below those of the first.
fn wrapped(begin: &str, text: &str) -> String {
    let (mut out, mut used) = (begin.to_owned(), begin.chars().count());
    let indent = used;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > indent {
            if used + 1 + length > WIDTH {
                let _ = write!(out, "\n{}", " ".repeat(indent));
                used = indent;
            } else {
                out.push(' ');
                used += 1;
            }
        }
        out.push_str(word);
        used += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_for_people() {
        let check = |json: Value, text: &str| {
            assert_eq!(for_people(&serde_json::from_value(json).unwrap()), text);
        };
        let event = serde_json::json!({
            "seq": 7, "at": 1_795_521_784, "time": "2026-11-24T12:03:04.005Z", "kind": "down", "level": "warn",
            "upstream": "app", "instance": "blue", "text": "instance is down",
            "details": { "evidence": "3 checks failed: connection refused", "n": 3 },
        });
        let text = "11-24 12:03:04Z  app/blue: instance is down: 3 checks failed: connection refused\n                 (n 3)\n";
        check(event, text);
        let event = serde_json::json!({
            "seq": 8, "at": 1_795_521_784, "time": "2026-11-24T12:03:04.005Z", "kind": "reload", "level": "info",
            "text": "loaded:\nupstream app: instance blue removed",
            "details": { "by": "uid 0, pid 7", "file": "/etc/x.toml" },
        });
        check(event, "11-24 12:03:04Z  loaded: (by uid 0, pid 7)\n  upstream app: instance blue removed\n");
    }
}
