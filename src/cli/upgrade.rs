//! `stickyd upgrade`: a new binary takes over.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::reach::{Reach, exit, print, print_json};
use crate::config;
use crate::control::admin::{Failure, api};

const EXAMPLES: &str = "\
Examples:
  stickyd upgrade
      The program that now lies where the running one was started from takes over.
  stickyd upgrade --binary /opt/stickyd-1.3/stickyd
  stickyd upgrade --timeout 10s --json

The new process reads the configuration, takes over every listening socket, sessions, health and states, and serves. The old one
keeps its tunnels, obeys all commands, and ends when they have: at most [upgrade] linger later.
If the new process fails before it serves, the old one serves on, and nothing has changed.
A container ends with its first process: there it is refused. Start another container, and `stickyd retire --wait` this one.
Exit codes: 0 it has taken over, 1 it failed, 2 wrong usage, 69 not running, 78 it does not take the configuration.";

/// The new process has so long to be ready.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time-out; a command is answered within a minute.
const TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// Let a new binary take over: no tunnel is closed, no connection refused
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UpgradeArgs {
    /// The program, if it is another one than that from which the process was started
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// How long it may take to be ready, 1s to 50s; without it 30s
    #[arg(long, value_name = "DURATION", value_parser = patience)]
    timeout: Option<Duration>,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

fn patience(text: &str) -> Result<Duration, String> {
    let timeout = config::parse_duration(text)?;
    if (Duration::from_secs(1)..=TIMEOUT_MAX).contains(&timeout) {
        Ok(timeout)
    } else {
        Err("1s to 50s".to_owned())
    }
}

/// What somebody wants to know first, when it has failed.
fn serves_on(failure: Failure) -> Failure {
    let told =
        |text: String| format!("{}\nThe process that runs serves on; nothing has changed.", text.trim_end());
    match failure {
        Failure::Refused(text) => Failure::Refused(told(text)),
        Failure::Configuration(text) => Failure::Configuration(told(text)),
        // What has become of it is not known.
        failure @ Failure::Unreachable(_) => failure,
    }
}

pub(super) fn run(args: &UpgradeArgs) -> ExitCode {
    exit(upgrade(args))
}

fn upgrade(args: &UpgradeArgs) -> Result<(), Failure> {
    // The running process may be in another directory.
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
    };
    let binary = args.binary.as_ref().map(absolute).transpose()?;
    let within = u64::try_from(args.timeout.unwrap_or(TIMEOUT).as_millis()).unwrap_or(u64::MAX);
    let client = args.reach.client()?;
    let asked = client.post("/v1/upgrade", &api::Upgrade { binary, within }, None);
    let upgraded: api::Upgraded = asked.map_err(serves_on)?;
    if args.json {
        return print_json(&upgraded);
    }
    let api::Upgraded { pid, lingers, connections, tunnels, sids, took, paused } = upgraded;
    let waited = format!("clients waited for at most {paused} ms; it took {took} ms");
    let left = match connections {
        0 => format!("process {lingers} has nothing open, and ends"),
        _ => format!("process {lingers} lingers with {connections} connections, {tunnels} of them tunnels"),
    };
    print(&format!("process {pid} serves, with {sids} sessions of the old one; {waited}\n{left}\n"))
}
