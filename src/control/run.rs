//! The life of the process `stickyd run`: start, say so, wait for signals, stop.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::start::{Origin, start_with};
use super::{Adoption, File, Running, StartError, Surroundings, inherit, terminal};
use crate::config::{self, Config};
use crate::local::clock;
use crate::observe::{events, logging, panics};

/// Serves until a signal says otherwise.
/// `adoption`: what another process hands over to this one; it is told when that fails.
pub fn run(config: Config, origin: Origin, adoption: Option<Adoption>) -> ExitCode {
    let teller = adoption.as_ref().and_then(Adoption::teller);
    let (running, signals) = match begin(config, origin, adoption) {
        Ok(begun) => begun,
        Err((code, why)) => {
            eprintln!("stickyd: {why}");
            if let Some(teller) = teller {
                teller.failed(code, why);
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

/// From the begin to a process that serves; or the exit code, and why.
fn begin(
    config: Config,
    origin: Origin,
    adoption: Option<Adoption>,
) -> Result<(Running, Signals), (u8, String)> {
    // First of all: their numbers are known, and nobody else reads the environment yet.
    // To start again would hand over the same.
    let inherited = inherit::from_environment().map_err(|why| (78, why))?;
    logging::init(&config.log, clock::wall).map_err(|error| (78, format!("[log]: {error}")))?;
    panics::watch();
    // Before anything is served: from then on a signal must not end the process unheard, and descriptors may run out.
    let mut signals = Signals::listen().map_err(|error| (1, format!("cannot wait for signals: {error}")))?;
    let surroundings = Surroundings::from_environment();
    let file = origin.file.clone();
    let mut told_to_end = || signals.tell_to_end();
    let running = start_with(config, &surroundings, Some(origin), inherited, adoption, &mut told_to_end);
    let running = running.map_err(|error| match error {
        StartError::Config(why) => (78, explained(file.as_ref(), why)),
        StartError::Unavailable(why) => (1, why),
    })?;
    Ok((running, signals))
}

/// Shows where the file names what cannot be used.
fn explained(file: Option<&File>, why: String) -> String {
    let text = file.and_then(|file| Some((&file.path, config::read_any(&file.path).ok()?)));
    match text {
        Some((path, text)) => {
            config::blame(&path.display().to_string(), &String::from_utf8_lossy(&text), &why)
        }
        None => why,
    }
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

    /// One that ends the process has come already.
    fn tell_to_end(&mut self) -> bool {
        let Signals { runtime, terminate, interrupt, .. } = self;
        let came = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        // The runtime hears of it when it turns.
        runtime.block_on(async { timeout(Duration::from_millis(1), came).await.is_ok() })
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
