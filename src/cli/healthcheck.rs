//! `stickyd healthcheck`: is the process ready for clients?

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::reach::{Reach, exit, print};
use crate::config;
use crate::control::admin::{Failure, api, is_ready_at};

const EXAMPLES: &str = "\
Examples:
  stickyd healthcheck
  HEALTHCHECK CMD [\"stickyd\", \"healthcheck\"]
      In a Dockerfile.
  script \"/usr/bin/stickyd healthcheck --timeout 1s\"
      In a vrrp_script of keepalived.

Ready is who listens, does not stop and is not retired; what its instances are like is not asked. A process without an admin socket is
asked by /-/ready of its [metrics] address.
Exit codes: 0 ready, 1 it says no, 2 wrong usage, 69 not reached.";

/// Say whether the process is ready, for containers and keepalived
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthcheckArgs {
    /// Wait no longer than this for the answer; at least 1s
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration, default_value = "3s")]
    timeout: Duration,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &HealthcheckArgs) -> ExitCode {
    exit(ask(args).and_then(|line| print(&line)))
}

/// The line that says yes.
fn ask(args: &HealthcheckArgs) -> Result<String, Failure> {
    let asked = args.reach.client().and_then(|client| client.get("/v1/ready", Some(args.timeout)));
    let failure = match asked {
        Ok(api::Ready { ready: true, pid, listeners, .. }) => {
            return Ok(format!("ready: pid {pid} listens on {}\n", listeners.join(", ")));
        }
        Ok(api::Ready { why, pid, .. }) => {
            return Err(Failure::Refused(format!("not ready: pid {pid}: {why}")));
        }
        Err(failure) => failure,
    };
    match (failure, args.reach.metrics_instead()) {
        (Failure::Unreachable(_), Some(address)) => {
            let page = format!("http://{address}/-/ready says so");
            if is_ready_at(address, args.timeout)? {
                Ok(format!("ready: {page}\n"))
            } else {
                Err(Failure::Refused(format!("not ready: {page}")))
            }
        }
        (failure, _) => Err(failure),
    }
}
