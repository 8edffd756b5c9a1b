//! Who wants something: what the log and the events say of it.

use std::fmt;

use super::local_http::Peer;

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The configuration, which has changed, or as it was at the start.
    File,
    /// Whoever saved the file, which is watched.
    Watch,
    /// Whoever sent HUP.
    Hup,
    /// A command; `None`: of the program itself, or the system does not know whose.
    Command(Option<Peer>),
}

impl fmt::Display for By {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::File => out.write_str("the file"),
            By::Watch => out.write_str("the watched file"),
            By::Hup => out.write_str("HUP"),
            By::Command(None) => out.write_str("a command"),
            By::Command(Some(Peer { uid, pid: Some(pid) })) => write!(out, "uid {uid}, pid {pid}"),
            By::Command(Some(Peer { uid, pid: None })) => write!(out, "uid {uid}"),
        }
    }
}
