//! How commands reach a running process, and what they print when they do not.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{BAD_CONFIGURATION, CONFIG_FILE};
use crate::config::{self, locate};
use crate::control::admin::{Client, Failure};

/// The process cannot be reached (`EX_UNAVAILABLE` of sysexits.h).
const UNREACHABLE: u8 = 69;

/// Which process is meant
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The admin socket of the process
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration that the process runs with: it may name its socket
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE, conflicts_with = "socket")]
    config: PathBuf,
}

impl Reach {
    /// The way there.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let named = || {
            // A file that is wrong, or that not everybody may read, must not be in the way.
            let text = String::from_utf8(config::read(&self.config).ok()?).ok()?;
            locate::admin_socket(&text).map(PathBuf::from)
        };
        Client::new(self.socket.clone().or_else(named))
            .map_err(|error| Failure::Unreachable(error.to_string()))
    }
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
pub(super) fn print_json(answer: &impl Serialize) {
    let json = serde_json::to_string_pretty(answer).expect("its maps have texts as keys");
    print(&format!("{json}\n"));
}

/// Prints. Nobody is left to tell when standard output is closed.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
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
