//! How commands reach a running process, and what they print when they do not.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{BAD_CONFIGURATION, CONFIG_FILE};
use crate::config::{self, locate};
use crate::control::admin::{Client, Failure, api};

/// The process cannot be reached (`EX_UNAVAILABLE` of sysexits.h).
pub(super) const UNREACHABLE: u8 = 69;

/// Which process is meant
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The admin socket of the process
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration that the process runs with, if it is not the one that is usual
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
}

impl Reach {
    /// By this socket; without one, where a process usually has it.
    pub(super) fn by_socket(socket: Option<PathBuf>) -> Self {
        Reach { socket, config: None }
    }

    /// Where to ask for `/-/ready` of a process that has no admin socket: what the configuration says. `None`: it says nothing, or
    /// there is a socket, and whoever is behind it has to answer.
    pub(super) fn metrics_instead(&self) -> Option<SocketAddr> {
        if self.socket.is_some() {
            return None;
        }
        let file = self.config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
        let socket = socket_of(file);
        let there =
            || Client::new(socket.as_deref().and_then(path_of)).is_ok_and(|client| client.path().exists());
        if socket.as_deref() != Some("off") && there() {
            return None;
        }
        config::load(file).ok()?.config.metrics.map(|page| page.address)
    }

    /// The way there. Where a configuration is named, whoever answers there runs with it: several processes may share a machine.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let reach = |socket| Client::new(socket).map_err(|error| Failure::Unreachable(error.to_string()));
        let Some(file) = &self.config else {
            let usual = || path_of(&socket_of(Path::new(CONFIG_FILE))?);
            return reach(self.socket.clone().or_else(usual));
        };
        let cannot = |why: &dyn Display| Failure::Unreachable(format!("{}: {why}", file.display()));
        let wanted = file.canonicalize().map_err(|error| cannot(&error))?;
        let socket = socket_of(file);
        if socket.as_deref() == Some("off") {
            return Err(cannot(
                &"its [admin] socket is \"off\": a process that runs with it takes no commands",
            ));
        }
        let client = reach(socket.as_deref().and_then(path_of))?;
        let status: api::Status = client.get("/v1/status", None)?;
        let runs = status.config.file.as_deref();
        let same = runs.is_some_and(|runs| {
            Path::new(runs).canonicalize().map_or_else(|_| Path::new(runs) == wanted, |runs| runs == wanted)
        });
        if !same {
            return Err(Failure::Unreachable(format!(
                "the process at {} runs with {}, not with {}; --socket reaches another one",
                client.path().display(),
                runs.unwrap_or("what its command line says"),
                file.display()
            )));
        }
        Ok(client)
    }
}

/// What the file says of its socket. One that is wrong, or that not everybody may read, must not be in the way.
fn socket_of(file: &Path) -> Option<String> {
    let text = String::from_utf8(config::read(file).ok()?).ok()?;
    locate::admin_socket(&text).map(ToOwned::to_owned)
}

fn path_of(socket: &str) -> Option<PathBuf> {
    socket.starts_with('/').then(|| PathBuf::from(socket))
}

/// What a command comes to: prints why it failed.
pub(super) fn exit(result: Result<(), Failure>) -> ExitCode {
    let (code, text) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Unreachable(text)) => (UNREACHABLE, text),
        Err(Failure::Configuration(text)) => (BAD_CONFIGURATION, text),
        Err(Failure::Refused(text)) => (1, text),
    };
    let text = text.trim_end();
    // A report says itself which of its lines are errors.
    let error = if text.starts_with("error:") { "" } else { "error: " };
    let _ = writeln!(std::io::stderr(), "{error}{text}");
    ExitCode::from(code)
}

/// Prints for scripts.
pub(super) fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(answer).expect("its maps have texts as keys");
    print(&format!("{json}\n"))
}

/// Prints. Nobody is left to tell when a pipe's reader has left; a disk that is full is told.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// How long, for people: `34s`, `4m 33s`, `2h 3m`, `3d 4h`.
pub(super) fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// `1 tunnel`, `2 tunnels`.
pub(super) fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times() {
        let check = |seconds, text| assert_eq!(time(seconds), text);
        check(0, "0s");
        check(59, "59s");
        check(60, "1m 0s");
        check(3599, "59m 59s");
        check(3600, "1h 0m");
        check(90_061, "1d 1h");
    }
}
