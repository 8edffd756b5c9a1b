//! The life of the process `stickyd run`: start, say so, wait for signals, stop.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start::{Origin, start_with};
use super::{Adoption, Running, StartError, Surroundings, inherit, terminal};
use crate::config::Config;
use crate::local::clock;
use crate::observe::{events, logging, panics};

/// Serves until a signal says otherwise.
/// `adoption`: what another process hands over to this one; it is told when that fails.
pub fn run(config: Config, origin: Origin, adoption: Option<Adoption>) -> ExitCode {
    // First of all: their numbers are known, and nobody else reads the environment yet.
    let inherited = match inherit::from_environment() {
        Ok(inherited) => inherited,
        Err(why) => {
            eprintln!("stickyd: {why}");
            // To start again would hand over the same.
            return ExitCode::from(78);
        }
    };
    if let Err(error) = logging::init(&config.log, clock::wall) {
        eprintln!("stickyd: [log]: {error}");
        if let Some(adoption) = adoption {
            adoption.failed(78, format!("[log]: {error}"));
        }
        return ExitCode::from(78);
    }
    panics::watch();
    // Before anything is served: from then on a signal must not end the process unheard, and descriptors may run out.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("stickyd: cannot wait for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let teller = adoption.as_ref().and_then(Adoption::teller);
    let surroundings = Surroundings::from_environment();
    let running = match start_with(config, &surroundings, Some(origin), inherited, adoption) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("stickyd: {error}");
            let code = match error {
                StartError::Config(_) => 78,
                StartError::Unavailable(_) => 1,
            };
            if let Some(teller) = teller {
                teller.failed(code, error.to_string());
            }
            return ExitCode::from(code);
        }
    };
    drop(teller);
    announce(&running);
    running.tell_ready();
    let signal = signals.wait(&running);
    let (generation, how) = (running.generation(), running.generation().config.shutdown);
    let (open, delay) = (generation.open(), running.rotation.is_left_of(how.ready_delay));
    drop(generation);
    let (tunnels, requests) = (open.tunnels, open.requests);
    tracing::info!(target: events::STOP, signal, tunnels, requests, "{}", terminal::stopping(signal, open, &how, delay));
    let cut = running.stop();
    tracing::info!("{}", terminal::stopped(cut, &how));
    ExitCode::SUCCESS
}

fn announce(running: &Running) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(target: events::START, version, pid = std::process::id(), "started");
    terminal::greet(running);
    if terminal::has_the_log() {
        return;
    }
    let generation = running.generation();
    for (name, _) in running.listeners() {
        tracing::info!(address = name, "listening");
    }
    // As the file has them: of the names that it expands the instances are not known yet.
    for upstream in &generation.config.upstreams {
        let instances: Vec<&str> = upstream.instances.iter().map(|instance| instance.name.as_str()).collect();
        tracing::info!(upstream = upstream.name, instances = instances.join(" "), "upstream");
    }
    if let Some(address) = running.metrics() {
        tracing::info!("metrics on http://{address}/metrics");
    }
    if let Some(address) = running.page() {
        tracing::info!("status page on http://{address}/");
    }
}

/// What a signal asks for.
enum Heard {
    End(&'static str),
    Reopen,
    Reload,
}

/// The signals that concern the process.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Hears them from now on; none is lost until [`Signals::wait`] asks.
    fn listen() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let reopen = signal(SignalKind::user_defined1())?;
        let hang_up = signal(SignalKind::hangup())?;
        drop(entered);
        Ok(Signals { runtime, terminate, interrupt, reopen, hang_up })
    }

    /// Waits for the signal that ends the process; which it was. A second one ends it at once.
    fn wait(self, running: &Running) -> &'static str {
        let Signals { runtime, mut terminate, mut interrupt, mut reopen, mut hang_up } = self;
        let name = loop {
            let heard = runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => Heard::End("TERM"),
                    _ = interrupt.recv() => Heard::End("INT"),
                    _ = reopen.recv() => Heard::Reopen,
                    _ = hang_up.recv() => Heard::Reload,
                    () = running.is_over() => Heard::End("none: another process has taken over"),
                }
            });
            match heard {
                Heard::End(name) => break name,
                Heard::Reopen => running.reopen_logs(),
                Heard::Reload => running.load_again(),
            }
        };
        let second = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            tracing::warn!("second signal: ending at once");
            std::process::exit(1);
        };
        if let Err(error) = std::thread::Builder::new().name("signals".to_owned()).spawn(second) {
            tracing::warn!(%error, "a second signal will not be heard");
        }
        name
    }
}
