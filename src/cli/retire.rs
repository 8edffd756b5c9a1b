//! `stickyd retire`: out of a balancer's rotation.

use std::process::ExitCode;

use clap::Args;

use super::reach::{Reach, count, exit, print, print_json};
use super::state::{LOOK, Progress, Waiting, seconds};
use crate::control::admin::{Failure, api};
use crate::local::clock;

const EXAMPLES: &str = "\
Examples:
  stickyd retire --wait
      health_path says 503 from now on. After [shutdown] ready_delay, in which the balancer notices, tunnels, polls and streams are
      closed over [shutdown] spread, so that their clients go elsewhere; returns when nothing is open.
  stickyd retire --undo

The process stays, and serves whoever the balancer still sends; those are told to go as well, in turn. It is in rotation again after
`stickyd retire --undo`, and after a restart.
Exit codes: 0 done, 1 not done in time, 2 wrong usage, 69 not running.";

/// Leave a balancer's rotation: say 503 to it, serve on, and let the clients go elsewhere
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RetireArgs {
    /// Take it back
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    #[command(flatten)]
    waiting: Waiting,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &RetireArgs) -> ExitCode {
    exit(retire(args).and_then(|retired| {
        if args.json { print_json(&retired) } else { print(&text(&retired, args.waiting.wait)) }
    }))
}

fn retire(args: &RetireArgs) -> Result<api::Retired, Failure> {
    let begin = clock::instant();
    let client = args.reach.client()?;
    let mut retired: api::Retired =
        client.post("/v1/retire", &api::Retire { undo: args.undo }, args.waiting.timeout)?;
    let mut progress = Progress::new(args.json);
    while args.waiting.wait && !is_empty(&retired) {
        progress.show(|| open(&retired));
        let left = args.waiting.timeout.map(|timeout| timeout.saturating_sub(begin.elapsed()));
        let over = left.is_some_and(|left| left.is_zero());
        if over {
            progress.end();
            return Err(Failure::Refused(format!("not done in time, it goes on: {}", open(&retired))));
        }
        std::thread::sleep(left.map_or(LOOK, |left| left.min(LOOK)));
        retired = client.get("/v1/retire", left).inspect_err(|_| progress.end())?;
        if retired.retired.is_none() {
            progress.end();
            return Err(Failure::Refused("somebody has taken it back".to_owned()));
        }
    }
    progress.end();
    Ok(retired)
}

fn is_empty(retired: &api::Retired) -> bool {
    retired.tunnels == 0 && retired.sessions == 0 && retired.requests == 0
}

/// `1 tunnel, 2 sessions, 3 requests are open`
fn open(retired: &api::Retired) -> String {
    let parts = [(retired.tunnels, "tunnel"), (retired.sessions, "session"), (retired.requests, "request")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    if parts.is_empty() { "nothing is open".to_owned() } else { format!("{} open", parts.join(", ")) }
}

fn text(retired: &api::Retired, waited: bool) -> String {
    let Some(how) = retired.retired else { return format!("in rotation: {}\n", open(retired)) };
    let closes = match (how.closes_in, how.told_in) {
        _ if is_empty(retired) => String::new(),
        (0, 0) => "; who comes is told to go in turn".to_owned(),
        (0, told_in) => format!("; all are told within {}", seconds(told_in)),
        (closes_in, told_in) => {
            format!("; the first is told in {}, the last in {}", seconds(closes_in), seconds(told_in))
        }
    };
    let mut text = format!("retired: {}{closes}\n", open(retired));
    if !retired.health_path {
        text.push_str("health_path is off: only /-/ready of [metrics] says 503, so ask that, or set it\n");
    }
    if !waited && !is_empty(retired) {
        text.push_str("--wait waits for the end; `stickyd retire --undo` takes it back\n");
    }
    text
}
