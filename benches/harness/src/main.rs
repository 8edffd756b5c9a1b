//! The benchmark harness: load generator, instance and side-by-side runner in one binary.
//! `benches/README.md` says how to run it and how to read it.

mod conversation;
mod dial;
mod http;
mod instance;
mod load;
mod poll;
mod record;
mod run;
mod sample;
mod websocket;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use load::hold::Kind;

#[derive(Parser)]
#[command(about = "Side-by-side benchmarks of stickyd, nginx and HAProxy", disable_version_flag = true)]
enum Command {
    /// Run the peers side by side and print the table
    Run(run::Options),
    /// Serve as the instance behind the proxies: WebSocket echo, GET, /hang
    Instance {
        /// Address of one instance; may be repeated
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
    },
    /// WebSocket echo, closed loop
    Echo(load::echo::Options),
    /// Connect, upgrade, echo, Close; again
    Upgrade(load::upgrades::Options),
    /// Keep-alive GET of 128 bytes, closed loop
    Http(load::requests::Options),
    /// Memory of idle tunnels
    Idle {
        #[command(flatten)]
        hold: load::hold::Options,
        /// Send a message of this many bytes through each tunnel first
        #[arg(long)]
        touch: Option<usize>,
    },
    /// Memory of idle keep-alive connections
    Keepalive(load::hold::Options),
    /// Memory of pending long-polls
    Longpoll(load::hold::Options),
}

fn main() -> ExitCode {
    match execute(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("harness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    raise_file_limit()?;
    let record = match command {
        Command::Run(options) => return run::run(&options, stop_flag()?.as_ref()),
        Command::Instance { listen } => {
            instance::Instance::bind(&listen)?.serve(stop_flag()?.as_ref())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Echo(options) => load::echo::run(&options)?,
        Command::Upgrade(options) => load::upgrades::run(&options)?,
        Command::Http(options) => load::requests::run(&options)?,
        Command::Idle { hold, touch } => load::hold::run(&hold, Kind::Tunnel { touch })?,
        Command::Keepalive(options) => load::hold::run(&options, Kind::KeepAlive)?,
        Command::Longpoll(options) => load::hold::run(&options, Kind::LongPoll)?,
    };
    println!("{record}");
    Ok(ExitCode::SUCCESS)
}

/// Soft limit of open files up to the hard one; peers inherit it.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}

/// Set by the signals that end a program, so that what was started can be stopped.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
