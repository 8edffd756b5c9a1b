//! Listening sockets that somebody else has opened: the service manager, or the process before this one. Finds which of them
//! belong to a listener of the configuration.
//!
//! Must not: open a socket, know how they came here.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use socket2::{SockAddr, SockRef, Type};

use crate::config::model::ListenAddress;

/// A listening socket of somebody else.
#[derive(Debug)]
pub struct Inherited {
    /// What it was handed over as: the service manager's name for it, or the listener's address as the file has it; may be empty.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
    /// Whoever handed it over keeps it, and clients come to it also when this process is gone.
    pub kept: bool,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address of the network
    Ip(SocketAddr),
    /// The file of a unix socket
    Unix(PathBuf),
}

impl Place {
    /// The address, when it is one of the network.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Place::Ip(address) => Some(*address),
            Place::Unix(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ip(address) => address.fmt(out),
            Place::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl Inherited {
    /// It is a stream socket that listens.
    pub fn listens(&self) -> bool {
        let socket = SockRef::from(&self.socket);
        socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
            && socket.is_listener().is_ok_and(|listens| listens)
    }

    /// Where it listens; `None`: at a unix socket without a path, or nowhere.
    pub fn place(&self) -> Option<Place> {
        let address: SockAddr = SockRef::from(&self.socket).local_addr().ok()?;
        let unix = || address.as_pathname().map(|path| Place::Unix(path.to_owned()));
        address.as_socket().map(Place::Ip).or_else(unix)
    }

    /// It is for the listener that the file has at `address`.
    fn is_for(&self, address: &ListenAddress) -> bool {
        let at = match (address, self.place()) {
            (ListenAddress::Fd(name), _) => self.name == *name,
            (ListenAddress::Ip(wanted), Some(Place::Ip(at))) => at == *wanted,
            (ListenAddress::Any(port), Some(Place::Ip(at))) => at.port() == *port && at.ip().is_unspecified(),
            (ListenAddress::Unix(wanted), Some(Place::Unix(at))) => at == *wanted,
            _ => false,
        };
        at || self.name == address.to_string()
    }
}

impl fmt::Display for Inherited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place().map_or_else(|| "an unnamed socket".to_owned(), |place| place.to_string());
        if self.name.is_empty() { out.write_str(&place) } else { write!(out, "{place} (\"{}\")", self.name) }
    }
}

/// Takes those that are for the listener at `address`: under its name, or at its address.
pub fn take(inherited: &mut Vec<Inherited>, address: &ListenAddress) -> Vec<Inherited> {
    let Some(first) = inherited.iter().find(|one| one.is_for(address)) else { return Vec::new() };
    let place = first.place();
    // Two listeners on port 0 are called the same; each is at one port.
    let any_port = match address {
        ListenAddress::Ip(address) => address.port() == 0,
        ListenAddress::Any(port) => *port == 0,
        ListenAddress::Unix(_) | ListenAddress::Fd(_) => false,
    };
    inherited.extract_if(.., |one| one.is_for(address) && (!any_port || one.place() == place)).collect()
}

/// Says so where a listener that is meant for IPv4 and IPv6 gets sockets of one of them.
pub fn warn_of_one_family(taken: &[Inherited], address: &ListenAddress) {
    if let (ListenAddress::Any(port), Some((family, missing))) = (address, one_family(taken)) {
        tracing::warn!(
            "\":{port}\" is {family} only: that is what was handed over; for {missing} too the socket unit needs \
             ListenStream={port} with BindIPv6Only=both, or an address of each"
        );
    }
}

/// What they have, and what they lack.
fn one_family(taken: &[Inherited]) -> Option<(&'static str, &'static str)> {
    let (mut v4, mut v6) = (false, false);
    for one in taken {
        match one.place() {
            Some(Place::Ip(SocketAddr::V4(_))) => v4 = true,
            Some(Place::Ip(SocketAddr::V6(_))) => {
                v6 = true;
                v4 |= SockRef::from(&one.socket).only_v6().is_ok_and(|only| !only);
            }
            Some(Place::Unix(_)) | None => {}
        }
    }
    match (v4, v6) {
        (true, false) => Some(("IPv4", "IPv6")),
        (false, true) => Some(("IPv6", "IPv4")),
        _ => None,
    }
}

/// Says of what is left that nobody accepts there.
pub fn warn_of(left: &[Inherited]) {
    for one in left {
        tracing::warn!(
            socket = %one,
            "this socket was handed over, and no listener of the configuration is at its address or names it: nobody \
             accepts there (write its address, or \"fd:NAME\", in `listen`)"
        );
    }
}

#[cfg(test)]
mod tests;
