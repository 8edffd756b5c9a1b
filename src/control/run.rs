//! The life of the process `stickyd run`: start, say so, wait for signals, stop.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{Running, StartError, Surroundings, start};
use crate::config::Config;
use crate::observe::{logging, panics};

/// Serves until a signal says otherwise. `identity`: see [`start()`].
pub fn run(config: Config, identity: &str) -> ExitCode {
    if let Err(error) = logging::init(&config.log) {
        eprintln!("stickyd: [log]: {error}");
        return ExitCode::from(78);
    }
    panics::watch();
    let running = match start(config, &Surroundings::from_environment(), Some(identity)) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("stickyd: {error}");
            return match error {
                StartError::Config(_) => ExitCode::from(78),
                StartError::Unavailable(_) => ExitCode::FAILURE,
            };
        }
    };
    announce(&running);
    match wait(&running) {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(error) => tracing::error!(%error, "cannot wait for signals; stopping"),
    }
    running.stop();
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

fn announce(running: &Running) {
    let generation = running.generation();
    for (name, _) in running.listeners() {
        tracing::info!(address = name, "listening");
    }
    for upstream in &generation.upstreams {
        let instances: Vec<&str> = upstream.instances.iter().map(|instance| instance.name.as_str()).collect();
        tracing::info!(upstream = upstream.config.name, instances = instances.join(" "), "upstream");
    }
    if let Some(address) = running.metrics() {
        tracing::info!("metrics on http://{address}/metrics");
    }
}

/// Waits for the signal that ends the process; which it was. A second one ends it at once.
fn wait(running: &Running) -> std::io::Result<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut reopen = signal(SignalKind::user_defined1())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok("TERM"),
                _ = interrupt.recv() => return Ok("INT"),
                _ = reopen.recv() => running.reopen_logs(),
                // Reload comes later; until then the signal must at least not end the process.
                _ = hang_up.recv() => tracing::warn!("HUP: reload is not available yet; restart to apply a changed file"),
            }
        }
    });
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: ending at once");
            std::process::exit(1);
        });
    })?;
    name
}
