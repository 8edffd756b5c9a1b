//! `[admin]`: where commands reach the running process.

use std::path::PathBuf;

/// The socket of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it is.
    pub socket: AdminSocket,
    /// Its permission bits, up to `0o777`.
    pub mode: u32,
    /// Its group. [`GROUP`] need not exist, and the process need not be able to give the socket to it.
    pub group: String,
}

/// The group where the file names none: the package makes it.
pub const GROUP: &str = "stickyd";

/// Where the socket of commands is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminSocket {
    /// `admin.sock` in the runtime directory, if there is one and nobody else serves there.
    Auto,
    /// Here, or the process does not start.
    Path(PathBuf),
    /// Nowhere: signals and the file are the only ways to change anything.
    Off,
}
