//! `stickyd cordon`, `drain`, `maintain`, `resume`: what is wanted of instances.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::family;
use super::reach::{Reach, count, exit, print, print_json, time};
use crate::config;
use crate::config::model::InstanceState;
use crate::control::admin::{Client, Failure, api};
use crate::local::clock;

/// What is true of each of these commands.
macro_rules! help {
    ($examples:literal) => {
        concat!(
            "Examples:\n  ",
            $examples,
            "\nWith one upstream its name may be left out; 'UPSTREAM/*' is all of it (in quotes, for the shell).\n",
            "What is wanted is kept over restarts and reloads, until the file says something else of the instance.\n",
            "Exit codes: 0 done, 1 refused or not done in time, 2 wrong usage, 69 not running."
        )
    };
}

pub(super) const CORDON: &str = help!(
    "\
  stickyd cordon socketio/blue-1 socketio/blue-2
      No new clients there; nothing is closed, bound clients still come.
  stickyd cordon 'socketio/*' --force
"
);

pub(super) const DRAIN: &str = help!(
    "\
  stickyd drain socketio/blue-1 --wait
      No new clients, and what is open is closed at the pace of [upstream.NAME.drain]; returns when nothing is left.
  stickyd drain socketio/blue-1 --wait --timeout 5m
"
);

pub(super) const MAINTAIN: &str = help!(
    "\
  stickyd maintain socketio/blue-1
      As `stickyd drain`, and it is not checked either.
  stickyd maintain socketio/blue-1 --wait
"
);

pub(super) const RESUME: &str = help!(
    "\
  stickyd resume socketio/blue-1
      New clients again; it is checked first, and begins slowly.
  stickyd resume socketio/blue-1 --wait --timeout 2m
      Returns when it is up and its slow start is over; one without checks is so at once.
"
);

/// Instances
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Which ones
    #[arg(value_name = "UPSTREAM/INSTANCE", required = true)]
    instances: Vec<String>,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How long to wait
#[derive(Debug, Default, Args)]
pub(super) struct Waiting {
    /// Return when it is done, and show how far it is
    #[arg(long)]
    pub(super) wait: bool,
    /// Wait no longer than this, for example 90s or 5m; what was begun goes on
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration, requires = "wait")]
    pub(super) timeout: Option<Duration>,
}

/// Even the last
#[derive(Debug, Default, Args)]
pub(super) struct Forced {
    /// Also where no other instance is left for new clients
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct CordonArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    forced: Forced,
}

/// Of `drain` and `maintain`.
#[derive(Debug, Args)]
pub(super) struct EmptyArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    forced: Forced,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    waiting: Waiting,
}

/// How often the process is asked how far it is.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// How often a line is printed where nobody looks at a terminal.
const LINE: Duration = Duration::from_secs(5);

/// How long a process may be away, because it is started anew, while nobody said how long to wait.
const AWAY: Duration = Duration::from_secs(30);

pub(super) fn cordon(args: &CordonArgs) -> ExitCode {
    run(InstanceState::Cordon, &args.named, &Waiting::default(), args.forced.force)
}

pub(super) fn empty(state: InstanceState, args: &EmptyArgs) -> ExitCode {
    run(state, &args.named, &args.waiting, args.forced.force)
}

pub(super) fn resume(args: &ResumeArgs) -> ExitCode {
    run(InstanceState::Ready, &args.named, &args.waiting, false)
}

fn run(state: InstanceState, named: &Named, waiting: &Waiting, force: bool) -> ExitCode {
    let want = || {
        let begin = clock::instant();
        let client = named.reach.client()?;
        let question = api::Want { instances: named.instances.clone(), state, force };
        let mut wanted: api::Wanted = client.post("/v1/state", &question, waiting.timeout)?;
        // It is so by now: what lingers shall not be in the way of it.
        let those =
            family::tell::<api::Wanted>(&client, "/v1/state", &api::Want { force: true, ..question })?;
        for other in those.iter().flat_map(|answer| &answer.instances) {
            let same =
                |one: &&mut api::Instance| (&one.upstream, &one.name) == (&other.upstream, &other.name);
            if let Some(instance) = wanted.instances.iter_mut().find(same) {
                family::sum(instance, other);
            }
        }
        if waiting.wait {
            let progress = Progress::new(named.json);
            Wait { client, state, begin, timeout: waiting.timeout, lost: None }.until_done(wanted, progress)
        } else {
            Ok(wanted)
        }
    };
    exit(want().and_then(|wanted| {
        if named.json {
            return print_json(&wanted);
        }
        let mut text: String = wanted.instances.iter().map(|instance| line(instance) + "\n").collect();
        let empties = matches!(state, InstanceState::Drain | InstanceState::Maintain);
        if empties && !waiting.wait && !wanted.instances.iter().all(|one| one.empty) {
            text.push_str("--wait waits for the end; `stickyd resume` takes it back\n");
        }
        print(&text)
    }))
}

/// Until all of them are what is wanted.
struct Wait {
    client: Client,
    state: InstanceState,
    begin: Instant,
    timeout: Option<Duration>,
    /// Since when the process does not answer.
    lost: Option<Instant>,
}

impl Wait {
    fn until_done(mut self, wanted: api::Wanted, mut progress: Progress) -> Result<api::Wanted, Failure> {
        let mut instances = wanted.instances;
        let state = self.state;
        while !instances.iter().all(|instance| is_done(state, instance)) {
            progress.show(|| remaining(&instances));
            if self.left().is_some_and(|left| left.is_zero()) {
                progress.end();
                let left = instances.iter().filter(|instance| !is_done(state, instance));
                let left = left.map(line).collect::<Vec<_>>().join("; ");
                return Err(Failure::Refused(format!("not done in time, it goes on: {left}")));
            }
            std::thread::sleep(self.left().map_or(LOOK, |left| left.min(LOOK)));
            if let Some(status) = self.look().inspect_err(|_| progress.end())? {
                instances = found_again(&status, &instances).inspect_err(|_| progress.end())?;
            }
            if let Some(other) = instances.iter().find(|instance| instance.state != state) {
                progress.end();
                let text = format!("somebody else wants something else by now: {}", line(other));
                return Err(Failure::Refused(text));
            }
        }
        progress.end();
        Ok(api::Wanted { instances })
    }

    /// How much longer.
    fn left(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.saturating_sub(self.begin.elapsed()))
    }

    /// How everything is; `None`: the process does not answer now. It may be started anew, and wants the same then.
    fn look(&mut self) -> Result<Option<api::Status>, Failure> {
        match family::status(&self.client, self.left()) {
            Ok(all) => {
                self.lost = None;
                Ok(Some(all.status))
            }
            Err(failure @ Failure::Unreachable(_)) => {
                let lost = *self.lost.get_or_insert_with(clock::instant);
                let over = self.left().map_or(lost.elapsed() >= AWAY, |left| left.is_zero());
                if over { Err(failure) } else { Ok(None) }
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The same instances, as they are now.
fn found_again(status: &api::Status, instances: &[api::Instance]) -> Result<Vec<api::Instance>, Failure> {
    let known = || status.upstreams.iter().flat_map(|upstream| &upstream.instances);
    let same = |of: &api::Instance| {
        known().find(|known| (&known.upstream, &known.name) == (&of.upstream, &of.name)).cloned()
    };
    let gone = || Failure::Refused("an instance has left: the file no longer names it".to_owned());
    instances.iter().map(same).collect::<Option<_>>().ok_or_else(gone)
}

fn is_done(state: InstanceState, instance: &api::Instance) -> bool {
    match state {
        InstanceState::Cordon => true,
        InstanceState::Drain | InstanceState::Maintain => instance.empty,
        InstanceState::Ready => {
            !instance.checked || (instance.health == api::Health::Up && instance.share == 100)
        }
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
        (InstanceState::Cordon, _) => match open(instance) {
            Some(open) => format!("{name}  {open} stay"),
            None => format!("{name}  {NOTHING}"),
        },
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

const NOTHING: &str = "nothing is open";

/// What is open at it; `None`: nothing.
fn open(instance: &api::Instance) -> Option<String> {
    let parts =
        [(instance.tunnels, "tunnel"), (instance.sessions, "session"), (instance.requests, "request")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How far its drain is.
pub(super) fn left(instance: &api::Instance, drain: Option<&api::Drain>) -> String {
    let open = open(instance);
    let Some(drain) = drain else { return open.unwrap_or_else(|| NOTHING.to_owned()) };
    let begins = match drain.closes_in {
        0 => String::new(),
        closes_in => format!("; the first is closed in {}", seconds(closes_in)),
    };
    let ends = match (drain.told_in, drain.cut_in) {
        (0, cut_in) => format!("; all are told, what is left is cut in {}", seconds(cut_in)),
        (told_in, _) => format!("; the last is told in {}", seconds(told_in)),
    };
    let open = open.unwrap_or_else(|| "0".to_owned());
    format!("{open} of {} at its begin{begins}{ends}", drain.began_with)
}

pub(super) fn seconds(millis: u64) -> String {
    time(millis.div_ceil(1000))
}

/// How far it is, on one line that changes, or by a line now and then.
pub(super) struct Progress {
    terminal: bool,
    silent: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new(silent: bool) -> Self {
        Progress { terminal: std::io::stderr().is_terminal(), silent, last: None }
    }

    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let now = clock::instant();
        let due = self.terminal || self.last.is_none_or(|last| now.duration_since(last) >= LINE);
        if self.silent || !due {
            return;
        }
        self.last = Some(now);
        let text = text();
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{}", text.chars().take(terminal_width()).collect::<String>())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    pub(super) fn end(&self) {
        if self.terminal && self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Those that are not empty.
fn remaining(instances: &[api::Instance]) -> String {
    let lines: Vec<String> = instances.iter().filter(|instance| !instance.empty).map(line).collect();
    lines.join(" | ")
}

/// A line that is longer would leave its begin behind each time.
fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(79, |size| usize::from(size.ws_col.max(21)) - 1)
}
