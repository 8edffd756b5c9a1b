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
    /// Where the status page is.
    pub page: AdminPage,
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

/// Where the status page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminPage {
    /// At [`AdminPage::USUAL`], if nobody else listens there.
    Usual,
    /// Here, which is elsewhere, or the process does not start.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl AdminPage {
    /// Where it is when the file does not say.
    pub const USUAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7080));

    /// The address that it asks for; `None`: it is off.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            AdminPage::Usual => Some(Self::USUAL),
            AdminPage::At(address) => Some(address),
            AdminPage::Off => None,
        }
    }
}
