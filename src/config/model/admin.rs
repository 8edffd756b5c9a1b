//! `[admin]`: where commands reach the running process, and where people look at it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// The socket of commands, and the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it is.
    pub socket: AdminSocket,
    /// Its permission bits, up to `0o777`.
    pub mode: u32,
    /// Its group. [`GROUP`] need not exist, and the process need not be able to give the socket to it.
    pub group: String,
    /// Where the status page is; `None`: nowhere.
    pub page: Option<Page>,
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

/// Where something is shown to people and programs of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The address.
    pub address: SocketAddr,
    /// The file names it: then it has to be free. Where it is when the file says nothing, it gives way to whoever is there.
    pub named: bool,
}

impl Page {
    /// Of the status page when the file does not say.
    pub const STATUS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7080));

    /// Of metrics when the file does not say.
    pub const METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9117));
}
