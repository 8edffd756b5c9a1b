//! What the service manager is told (`sd_notify(3)`): datagrams of lines, to the socket that `NOTIFY_SOCKET` names.
//!
//! Knows the protocol; [`herald`] knows what is so and when. Must not: read the environment later than at the start.

pub(super) mod herald;
mod watchdog;
pub(super) mod words;

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::local::clock;

/// How long a datagram may wait for room: a manager that hangs does not hold this process.
const PATIENCE: Duration = Duration::from_millis(500);

/// For what a stop does besides waiting.
const REST_OF_A_STOP: Duration = Duration::from_secs(10);

/// The service manager; by default there is none, and nobody is told anything.
#[derive(Clone, Debug, Default)]
pub struct Manager(Option<Arc<Listening>>);

/// A manager that listens.
#[derive(Debug)]
struct Listening {
    socket: UnixDatagram,
    address: SocketAddr,
    /// It listens to the main process alone, and this one is not it.
    silent: AtomicBool,
    /// The process ends: nothing that is said of it before is so any more.
    ends: AtomicBool,
    /// It wants a sign of life within this, each time.
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        Self::of(|name| env::var_os(name), std::process::id())
    }

    fn of(get: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(name) = get("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Manager(None);
        };
        let number = |name| get(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = get("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        let opened = address(name.as_bytes()).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let (silent, ends) = (AtomicBool::new(false), AtomicBool::new(false));
            Ok(Listening { socket, address, silent, ends, watchdog })
        });
        match opened {
            Ok(listening) => Manager(Some(Arc::new(listening))),
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "NOTIFY_SOCKET: the service manager cannot be told anything");
                Manager(None)
            }
        }
    }

    /// Somebody listens.
    pub(super) fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// A sign of life has to come within this, each time; `None`: nobody wants one.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// Everything listens; `status`: how things are.
    pub(super) fn ready(&self, status: &str) {
        self.say_of_life(&format!("READY=1\nSTATUS={status}"));
    }

    /// How things are.
    pub(super) fn status(&self, status: &str) {
        self.say_of_life(&format!("STATUS={status}"));
    }

    /// Another configuration is loaded, for as long as the result lives. However that ends, the process is ready then.
    pub(super) fn reloading(&self) -> Reloading<'_> {
        let now = clock::now().since_boot().as_micros();
        self.say_of_life(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
        Reloading(self)
    }

    /// The process ends, at the latest after this.
    pub(super) fn stopping(&self, within: Duration) {
        if let Some(listening) = &self.0 {
            listening.ends.store(true, Ordering::Relaxed);
        }
        let usec = (within + REST_OF_A_STOP).as_micros();
        self.say(&format!("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC={usec}"));
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// The process `pid` is the service from now on. The manager does not listen to this one any more, so it says nothing more.
    pub fn main_is(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
        self.be_silent(true);
    }

    /// Whether nothing is said: a process that takes over is heard only once it is the main one, and says [`Manager::ready`] then.
    pub fn be_silent(&self, silent: bool) {
        if let Some(listening) = &self.0 {
            listening.silent.store(silent, Ordering::Relaxed);
        }
    }

    /// The same, until the process ends.
    fn say_of_life(&self, lines: &str) {
        if !self.0.as_ref().is_some_and(|listening| listening.ends.load(Ordering::Relaxed)) {
            self.say(lines);
        }
    }

    fn say(&self, lines: &str) {
        let Some(Listening { socket, address, silent, .. }) = self.0.as_deref() else { return };
        if silent.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), address) {
            tracing::debug!(lines, %error, "the service manager cannot be told");
        }
    }
}

/// Another configuration is loaded. Dropped: that is over.
#[derive(Debug)]
pub(super) struct Reloading<'m>(&'m Manager);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.say_of_life("READY=1");
    }
}

/// A path, or with `@` in front a name of Linux's own (unix(7)).
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

/// One line of what is more: a datagram's lines are told apart by their ends.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_whom() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("stickyd-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (path.display().to_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&abstract_address).unwrap()),
        ];
        for (name, socket) in sockets {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let heard = || {
                let mut buffer = [0; 500];
                let len = socket.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..len]).into_owned()
            };
            let manager =
                Manager::of(|variable| (variable == "NOTIFY_SOCKET").then(|| name.clone().into()), 7);
            manager.ready("well");
            assert_eq!(heard(), "READY=1\nSTATUS=well");
            let before = clock::now();
            drop(manager.reloading());
            let begin = heard();
            let at = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!(before.since_boot().as_micros() <= at && at <= clock::now().since_boot().as_micros());
            assert_eq!(heard(), "READY=1");
            manager.alive();
            assert_eq!(heard(), "WATCHDOG=1");
            manager.main_is(12);
            assert_eq!(heard(), "MAINPID=12");
            manager.status("nobody hears it");
            manager.be_silent(false);
            manager.status("well");
            assert_eq!(heard(), "STATUS=well");
            let reloading = manager.reloading();
            assert!(heard().starts_with("RELOADING=1"));
            manager.stopping(Duration::from_secs(20));
            assert_eq!(heard(), "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=30000000");
            // The regression: the next look at how things are took its place.
            manager.status("well");
            drop(reloading);
            manager.alive();
            assert_eq!(heard(), "WATCHDOG=1");
        }
    }

    #[test]
    fn whom_the_watchdog_is_about() {
        let check = |variables: &[(&str, &str)], expected: Option<u64>| {
            let get = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            let manager = Manager::of(get, 7);
            assert_eq!(manager.watchdog(), expected.map(Duration::from_secs), "{variables:?}");
        };
        let (socket, usec) = (("NOTIFY_SOCKET", "/run/x"), ("WATCHDOG_USEC", "10000000"));
        check(&[socket, usec, ("WATCHDOG_PID", "7")], Some(10));
        check(&[socket, usec], Some(10));
        check(&[socket, usec, ("WATCHDOG_PID", "8")], None);
        check(&[socket, usec, ("WATCHDOG_PID", "")], None);
        check(&[socket, ("WATCHDOG_PID", "7")], None);
        check(&[socket, ("WATCHDOG_USEC", "0")], None);
        check(&[socket, ("WATCHDOG_USEC", "soon")], None);
        check(&[usec], None);
        let none = |name: &str| Manager::of(|variable| (variable == "NOTIFY_SOCKET").then(|| name.into()), 7);
        for name in ["", "relative", "vsock:2:1234"] {
            assert!(!none(name).listens(), "{name}");
        }
    }

    #[test]
    fn lines_are_one() {
        assert_eq!(one_line(" a\n  b\tc\r\n"), "a b c");
    }
}
