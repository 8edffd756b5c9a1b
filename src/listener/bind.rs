//! Addresses to listening sockets: one per worker, or one shared by all where the kernel cannot share out connections.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::holder;
use crate::config::model::{ListenAddress, Listener};
use crate::upstream::connect::{given_up, keep_alive};

/// Bytes for a client that the kernel takes before the client's network has taken them. It bounds what slow readers cost in
/// kernel memory, and lets their progress be seen: without it a socket says "writable" again only after megabytes.
const UNSENT_MAX: u32 = 128 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens, as people write it; with the real port where the file says 0.
    pub name: String,
    /// The address, when it is one of the network.
    pub address: Option<SocketAddr>,
    /// One for each worker.
    pub sockets: Vec<Listening>,
}

/// A listening socket, not yet in the hands of a runtime.
#[derive(Debug)]
pub enum Listening {
    /// TCP
    Tcp(std::net::TcpListener),
    /// A unix socket
    Unix(UnixListener),
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: String,
    error: io::Error,
    /// Who listens there already, as far as it can be seen.
    holder: Option<String>,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot listen on {}: {}", self.address, self.error)?;
        match (&self.holder, self.error.kind()) {
            (Some(holder), _) => write!(out, "; it is held by {holder}"),
            (None, io::ErrorKind::PermissionDenied) => out
                .write_str("; ports below 1024 need CAP_NET_BIND_SERVICE (the shipped unit has it) or root"),
            (None, _) => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds `listener` once for each of `workers`. `unacked`: how long sent data may stay unacknowledged; set here, because
/// accepted sockets inherit it.
///
/// # Errors
/// Why not, and who holds the address.
pub fn bind(listener: &Listener, workers: usize, unacked: Duration) -> Result<Bound, BindError> {
    let backlog = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
    match &listener.address {
        ListenAddress::Unix(path) => bind_unix(path, backlog, workers),
        ListenAddress::Ip(address) => bind_tcp(*address, backlog, workers, unacked),
        ListenAddress::Any(port) => {
            let both = bind_tcp((Ipv6Addr::UNSPECIFIED, *port).into(), backlog, workers, unacked);
            match both {
                // A kernel without IPv6.
                Err(error)
                    if error.error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
                {
                    bind_tcp((Ipv4Addr::UNSPECIFIED, *port).into(), backlog, workers, unacked)
                }
                other => other,
            }
        }
    }
}

/// Sockets of one listener that another process has bound, and that listen.
///
/// # Errors
/// When they are no such sockets.
pub fn adopted(sockets: Vec<Listening>) -> io::Result<Bound> {
    let (name, address) = match sockets.first() {
        Some(Listening::Tcp(tcp)) => {
            let address = tcp.local_addr()?;
            (address.to_string(), Some(address))
        }
        Some(Listening::Unix(unix)) => {
            let address = unix.local_addr()?;
            let path = address.as_pathname().ok_or(io::ErrorKind::Unsupported)?;
            (format!("unix:{}", path.display()), None)
        }
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(Bound { name, address, sockets })
}

fn bind_tcp(
    address: SocketAddr,
    backlog: i32,
    workers: usize,
    unacked: Duration,
) -> Result<Bound, BindError> {
    let failed = |error: io::Error| BindError {
        address: address.to_string(),
        holder: (error.kind() == io::ErrorKind::AddrInUse).then(|| holder::of(address.port())).flatten(),
        error,
    };
    // SO_REUSEPORT would join a group that another process listens in: first make sure that there is none.
    if address.port() != 0 {
        tcp_socket(address, false, unacked).map_err(failed)?;
    }
    let first = tcp_socket(address, true, unacked).map_err(failed)?;
    let bound =
        first.local_addr().and_then(|bound| bound.as_socket().ok_or(io::ErrorKind::Unsupported.into()));
    let bound = bound.map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(tcp_socket(bound, true, unacked).map_err(failed)?);
    }
    for socket in &sockets {
        socket.listen(backlog).map_err(failed)?;
    }
    let sockets = sockets.into_iter().map(|socket| Listening::Tcp(socket.into())).collect();
    Ok(Bound { name: bound.to_string(), address: Some(bound), sockets })
}

/// A bound socket whose options accepted sockets inherit.
fn tcp_socket(address: SocketAddr, share: bool, unacked: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(given_up(unacked)))?;
    socket.set_tcp_keepalive(&keep_alive(unacked))?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, backlog: i32, workers: usize) -> Result<Bound, BindError> {
    let name = format!("unix:{}", path.display());
    let failed = |error| BindError { address: name.clone(), error, holder: None };
    remove_stale(path).map_err(failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = socket2::SockAddr::unix(path).map_err(failed)?;
    socket.bind(&address).and_then(|()| socket.listen(backlog)).map_err(failed)?;
    let first = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    // The kernel has no SO_REUSEPORT for unix sockets: all workers share one queue.
    let sockets = (0..workers).map(|_| first.try_clone().map(Listening::Unix)).collect::<io::Result<_>>();
    Ok(Bound { sockets: sockets.map_err(failed)?, address: None, name: name.clone() })
}

/// Removes a socket that a process which is gone left behind: one at which nobody answers. Anything else at that path stays.
///
/// # Errors
/// When something else is there, or somebody answers (`AddrInUse`).
pub fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else, not a socket"));
    }
    // Without blocking: a live listener with a full queue would not answer either.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_at_which_nobody_answers_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        assert!(remove_stale(&path).is_ok());
        std::fs::write(&path, "precious").unwrap();
        assert!(remove_stale(&path).is_err() && path.exists());
        std::fs::remove_file(&path).unwrap();
        let live = UnixListener::bind(&path).unwrap();
        assert!(remove_stale(&path).is_err() && path.exists());
        drop(live);
        assert!(remove_stale(&path).is_ok() && !path.exists());
    }
}
