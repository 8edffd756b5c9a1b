//! `stickyd cordon`, `drain`, `maintain`, `resume`: what is wanted of instances.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::reach::{Reach, count, exit, print, print_json, time};
use crate::config;
use crate::config::model::InstanceState;
use crate::control::admin::{Client, Failure, api};
use crate::local::clock;

const EXAMPLES: &str = "\
Examples:
  stickyd cordon socketio/blue-1 socketio/blue-2
      No new clients there; nothing is closed, bound clients still come.
  stickyd drain socketio/blue-1 --wait
      And what is open is closed at the pace of [upstream.NAME.drain]; returns when nothing is left.
  stickyd maintain socketio/blue-1
      And it is not checked either.
  stickyd resume socketio/blue-1 --wait --timeout 2m
      New clients again; returns when it is up and its slow start is over.

With one upstream its name may be left out. What is wanted is kept over restarts and reloads,
until the file says something else of the instance.
Exit codes: 0 done, 1 refused or not done in time, 2 wrong usage, 69 not running.";

/// Instances, and how long to wait
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StateArgs {
    /// Which ones
    #[arg(value_name = "UPSTREAM/INSTANCE", required = true)]
    instances: Vec<String>,
    /// Return when it is done, and show how far it is
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this, for example 90s or 5m; what was begun goes on
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration, requires = "wait")]
    timeout: Option<Duration>,
    /// Also where no other instance is left for new clients
    #[arg(long)]
    force: bool,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How often the process is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// How often a line is printed where nobody looks at a terminal.
const LINE: Duration = Duration::from_secs(5);

pub(super) fn run(state: InstanceState, args: &StateArgs) -> ExitCode {
    let want = || {
        let client = args.reach.client()?;
        let (instances, force) = (args.instances.clone(), args.force);
        let wanted: api::Wanted = client.post("/v1/state", &api::Want { instances, state, force })?;
        if !args.wait {
            return Ok(wanted.instances);
        }
        wait(&client, state, wanted.instances, args)
    };
    exit(want().map(|instances: Vec<api::Instance>| {
        if args.json {
            return print_json(&api::Wanted { instances });
        }
        for instance in &instances {
            print(&format!("{}\n", line(instance)));
        }
        let more = match state {
            InstanceState::Drain | InstanceState::Maintain
                if !args.wait && !instances.iter().all(|one| one.empty) =>
            {
                "--wait waits for the end; `stickyd resume` takes it back\n"
            }
            _ => "",
        };
        print(more);
    }))
}

/// Until all of them are what is wanted.
fn wait(
    client: &Client,
    state: InstanceState,
    mut instances: Vec<api::Instance>,
    args: &StateArgs,
) -> Result<Vec<api::Instance>, Failure> {
    let begin = clock::instant();
    let mut progress = Progress::new(args.json);
    loop {
        if instances.iter().all(|instance| is_done(state, instance)) {
            progress.end();
            return Ok(instances);
        }
        progress.show(&instances);
        if args.timeout.is_some_and(|timeout| begin.elapsed() >= timeout) {
            progress.end();
            let left: Vec<String> =
                instances.iter().filter(|instance| !is_done(state, instance)).map(line).collect();
            return Err(Failure::Refused(format!("not done in time, it goes on: {}", left.join("; "))));
        }
        std::thread::sleep(LOOK);
        let status: api::Status = client.get("/v1/status")?;
        let known = || status.upstreams.iter().flat_map(|upstream| &upstream.instances);
        let same = |of: &api::Instance| {
            known().find(|known| (&known.upstream, &known.name) == (&of.upstream, &of.name)).cloned()
        };
        let now: Option<Vec<_>> = instances.iter().map(same).collect();
        let gone = || Failure::Refused("an instance has left: the file no longer names it".to_owned());
        instances = now.ok_or_else(gone)?;
        if let Some(other) = instances.iter().find(|instance| instance.state != state) {
            let text = format!("somebody else wants something else by now: {}", line(other));
            return Err(Failure::Refused(text));
        }
    }
}

fn is_done(state: InstanceState, instance: &api::Instance) -> bool {
    match state {
        InstanceState::Cordon => true,
        InstanceState::Drain | InstanceState::Maintain => instance.empty,
        InstanceState::Ready => instance.health == api::Health::Up && instance.share == 100,
    }
}

/// `socketio/blue-1  drain  312 of 1204 left: 310 tunnels, 2 sessions; the last is told in 34s`.
pub(super) fn line(instance: &api::Instance) -> String {
    let name = format!("{}/{}  {}", instance.upstream, instance.name, instance.state.as_str());
    match (instance.state, &instance.drain) {
        (InstanceState::Drain | InstanceState::Maintain, _) if instance.empty => format!("{name}  empty"),
        (InstanceState::Drain | InstanceState::Maintain, drain) => {
            format!("{name}  {}", left(instance, drain.as_ref()))
        }
        (InstanceState::Cordon, _) => format!("{name}  {} stay", open(instance)),
        (InstanceState::Ready, _) => {
            let health = match instance.health {
                api::Health::Unknown => "not checked",
                api::Health::Up if instance.share < 100 => "up, in its slow start:",
                api::Health::Up => "up",
                api::Health::Degraded => "degraded:",
                api::Health::Down => "down:",
            };
            match instance.health {
                api::Health::Up if instance.share < 100 => {
                    format!("{name}  {health} {} % of its share of new clients", instance.share)
                }
                api::Health::Degraded | api::Health::Down => {
                    format!("{name}  {health} {}", instance.evidence)
                }
                _ => format!("{name}  {health}"),
            }
        }
    }
}

/// What is open at it.
fn open(instance: &api::Instance) -> String {
    let parts =
        [(instance.tunnels, "tunnel"), (instance.sessions, "session"), (instance.requests, "request")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    if parts.is_empty() { "nothing is open,".to_owned() } else { parts.join(", ") }
}

/// How far its drain is.
pub(super) fn left(instance: &api::Instance, drain: Option<&api::Drain>) -> String {
    let Some(drain) = drain else { return open(instance) };
    let begins = match drain.closes_in {
        0 => String::new(),
        closes_in => format!("; the first is closed in {}", seconds(closes_in)),
    };
    let ends = match (drain.told_in, drain.cut_in) {
        (0, cut_in) => format!("; all are told, what is left is cut in {}", seconds(cut_in)),
        (told_in, _) => format!("; the last is told in {}", seconds(told_in)),
    };
    format!("{} of {} at its begin{begins}{ends}", open(instance), drain.began_with)
}

fn seconds(millis: u64) -> String {
    time(millis.div_ceil(1000))
}

/// How far it is, on one line that changes, or by a line now and then.
struct Progress {
    terminal: bool,
    silent: bool,
    last: Option<Instant>,
}

impl Progress {
    fn new(silent: bool) -> Self {
        Progress { terminal: std::io::stderr().is_terminal(), silent, last: None }
    }

    fn show(&mut self, instances: &[api::Instance]) {
        let now = clock::instant();
        let due = self.terminal || self.last.is_none_or(|last| now.duration_since(last) >= LINE);
        if self.silent || !due {
            return;
        }
        self.last = Some(now);
        let lines: Vec<String> = instances.iter().filter(|instance| !instance.empty).map(line).collect();
        let text = lines.join(" | ");
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{}", text.chars().take(terminal_width()).collect::<String>())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    fn end(&self) {
        if self.terminal && self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A line that is longer would leave its begin behind each time.
fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(79, |size| usize::from(size.ws_col.max(21)) - 1)
}
