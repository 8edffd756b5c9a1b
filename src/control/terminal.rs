//! What `stickyd run` says to whoever started it by hand: where it listens, what it found, how to ask it, how to stop it.
//!
//! Only on a terminal; for a service manager lines of the log say the same.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::Running;
use super::admin::Client;
use crate::config::model::{Check, InstanceState, Shutdown};
use crate::generation::{Generation, Open};
use crate::local::clock;
use crate::upstream::health::State;
use crate::upstream::{Instance, Upstream};

/// For the first checks: one that refuses is down after three.
const PATIENCE: Duration = Duration::from_millis(2500);

/// From one look at them to the next.
const LOOK: Duration = Duration::from_millis(20);

/// Whether somebody reads the log as it is written.
pub(super) fn has_the_log() -> bool {
    io::stderr().is_terminal()
}

/// Says what there is to say at the start, if somebody is there; what the first checks found once they have found something.
pub(super) fn greet(running: &Running) {
    if !has_the_log() && !io::stdout().is_terminal() {
        return;
    }
    say(&greeting(running));
    let (publisher, ready) = (running.publisher.clone(), running.ready.clone());
    let wait = move || {
        let until = clock::now().after(PATIENCE);
        let waits = |upstream: &Upstream| upstream.named().iter().any(|one| is_unknown(upstream, one));
        while publisher.current().upstreams.iter().any(|upstream| waits(upstream)) && clock::now() < until {
            thread::sleep(LOOK);
        }
        if ready.load(Ordering::Relaxed) {
            say(&found(&publisher.current()));
        }
    };
    // Nobody waits for it: a signal must be heard meanwhile, and it ends by itself.
    if let Err(error) = thread::Builder::new().name("greeting".to_owned()).spawn(wait) {
        tracing::debug!(%error, "no thread for the greeting");
    }
}

fn say(text: &str) {
    // Nobody is left to tell when the terminal is gone.
    let _ = if has_the_log() {
        io::stderr().lock().write_all(text.as_bytes())
    } else {
        io::stdout().lock().write_all(text.as_bytes())
    };
}

fn is_checked(upstream: &Upstream, instance: &Instance) -> bool {
    upstream.config.health.check != Check::Off && instance.state() != InstanceState::Maintain
}

fn is_unknown(upstream: &Upstream, instance: &Instance) -> bool {
    is_checked(upstream, instance) && instance.vitals.state() == State::Unknown
}

fn greeting(running: &Running) -> String {
    let generation = running.generation();
    let mut text = format!("stickyd {} serves, pid {}\n", env!("CARGO_PKG_VERSION"), std::process::id());
    for (name, _) in running.listeners() {
        let _ = writeln!(text, "  listen     {name}");
    }
    if let Some(address) = running.metrics() {
        let _ = writeln!(text, "  metrics    http://{address}/metrics");
    }
    if let Some(address) = running.page() {
        let _ = writeln!(text, "  page       http://{address}/");
    }
    match &running.admin_socket {
        Some(path) if Client::new(None).is_ok_and(|usual| usual.path() == path) => {
            text.push_str("  look       stickyd status, in another terminal\n");
        }
        Some(path) => {
            let _ = writeln!(text, "  look       stickyd status --socket {}", path.display());
        }
        None => text.push_str("  look       no commands: there is no [admin] socket\n"),
    }
    let Shutdown { spread, .. } = generation.config.shutdown;
    let _ = writeln!(text, "  stop       Ctrl-C: tunnels are closed over {spread:?}; again: at once");
    text
}

/// What the checks have found.
fn found(generation: &Generation) -> String {
    let mut text = String::new();
    generation.upstreams.iter().for_each(|one| upstream(&mut text, generation, one));
    text
}

fn upstream(text: &mut String, generation: &Generation, of: &Upstream) {
    let name = &of.config.name;
    let named = of.named();
    let file = generation.config.upstreams.iter().find(|file| file.name == *name);
    let has_names = file.is_some_and(|file| file.expanded().next().is_some());
    let is = |state: State| {
        let is = |instance: &&Arc<Instance>| is_checked(of, instance) && instance.vitals.state() == state;
        named.iter().filter(is).count()
    };
    let checked = named.iter().filter(|instance| is_checked(of, instance)).count();
    let states = [
        (is(State::Up), "up"),
        (is(State::Degraded), "degraded"),
        (is(State::Down), "DOWN"),
        (is(State::Unknown), "not known yet"),
        (named.len() - checked, "not checked"),
    ];
    let states: Vec<String> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    let instances = match named.len() {
        0 if has_names => "its names are being looked up".to_owned(),
        1 => "1 instance".to_owned(),
        several => format!("{several} instances"),
    };
    let colon = if states.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "  upstream   {name}, {instances}{colon}{}", states.join(", "));
    for instance in named {
        if matches!(instance.vitals.state(), State::Degraded | State::Down) {
            let _ = writeln!(text, "             {}: {}", instance.name, instance.vitals.evidence());
        }
    }
}

/// What a stop waits for. `signal`: which asked for it; `delay`: what is left of `ready_delay`.
pub(super) fn stopping(signal: &str, open: Open, how: &Shutdown, delay: Duration) -> String {
    let again = if signal == "INT" { "Ctrl-C again" } else { "a second signal" };
    let first = if delay.is_zero() { String::new() } else { format!("serving on for {delay:?}, then ") };
    let what = match (open.tunnels, open.requests) {
        (0, 0) if delay.is_zero() => return "stopping: nothing is open".to_owned(),
        (0, 0) => "ending".to_owned(),
        (0, requests) => format!("waiting for {} for {:?}", count(requests, "request"), how.deadline),
        (tunnels, 0) => format!("closing {} over {:?}", count(tunnels, "tunnel"), how.spread),
        (tunnels, requests) => format!(
            "closing {} over {:?}, waiting for {} for {:?}",
            count(tunnels, "tunnel"),
            how.spread,
            count(requests, "request"),
            how.deadline
        ),
    };
    format!("stopping: {first}{what}; {again} ends at once")
}

/// How it ended. `cut`: what was left at the deadline.
pub(super) fn stopped(cut: Open, how: &Shutdown) -> String {
    let parts = [(cut.tunnels, "tunnel"), (cut.requests, "request")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    if parts.is_empty() {
        return "stopped: all that was open has ended".to_owned();
    }
    format!("stopped: after {:?} what was left was cut: {}", how.deadline, parts.join(", "))
}

fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_waits_for_and_comes_to() {
        let seconds = Duration::from_secs;
        let how = Shutdown { ready_delay: seconds(0), spread: seconds(5), deadline: seconds(10) };
        let open = |tunnels, requests| Open { tunnels, sessions: 0, requests };
        let check = |signal, (tunnels, requests), delay, text| {
            assert_eq!(stopping(signal, open(tunnels, requests), &how, seconds(delay)), text);
        };
        check("INT", (120, 0), 0, "stopping: closing 120 tunnels over 5s; Ctrl-C again ends at once");
        check("TERM", (0, 1), 0, "stopping: waiting for 1 request for 10s; a second signal ends at once");
        check("INT", (0, 0), 0, "stopping: nothing is open");
        check("INT", (0, 0), 3, "stopping: serving on for 3s, then ending; Ctrl-C again ends at once");
        let both = "stopping: closing 1 tunnel over 5s, waiting for 2 requests for 10s; a second signal ends at once";
        check("TERM", (1, 2), 0, both);
        let check = |tunnels, requests, text| assert_eq!(stopped(open(tunnels, requests), &how), text);
        check(0, 0, "stopped: all that was open has ended");
        check(3, 1, "stopped: after 10s what was left was cut: 3 tunnels, 1 request");
    }
}
