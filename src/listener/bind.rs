//! Addresses to listening sockets: one per worker, or one shared by all where the kernel cannot share out connections.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::holder;
use super::inherited::{self, Inherited};
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
    /// At least one for each worker: those at its number, and each so many further on as there are workers.
    pub sockets: Vec<Listening>,
    /// The file of a unix socket that nobody else keeps: to be removed at the end.
    pub leaves: Option<PathBuf>,
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
    /// Somebody else was to open it.
    handed_over: bool,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot listen on {}: {}", self.address, self.error)?;
        match (&self.holder, self.error.kind()) {
            (Some(holder), _) => write!(out, "; it is held by {holder}"),
            (None, io::ErrorKind::NotFound) if self.handed_over => out.write_str(
                "; the socket unit that hands it over has to have FileDescriptorName= and to be started \
                 (systemctl start stickyd.socket)",
            ),
            (None, io::ErrorKind::PermissionDenied) => out
                .write_str("; ports below 1024 need CAP_NET_BIND_SERVICE (the shipped unit has it) or root"),
            (None, _) => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

impl BindError {
    /// Whoever was to hand it over has not, or has handed over something else: a mistake of the socket unit.
    pub fn is_of_the_socket_unit(&self) -> bool {
        self.handed_over && matches!(self.error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
    }
}

/// Binds `listener` once for each of `workers`. `unacked`: how long sent data may stay unacknowledged; set here, because
/// accepted sockets inherit it. What of `inherited` belongs to it is taken from there, and nothing is bound then.
///
/// # Errors
/// Why not, and who holds the address.
pub fn bind(
    listener: &Listener,
    workers: usize,
    unacked: Duration,
    inherited: &mut Vec<Inherited>,
) -> Result<Bound, BindError> {
    let backlog = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
    let theirs = inherited::take(inherited, &listener.address);
    if !theirs.is_empty() {
        inherited::warn_of_one_family(&theirs, &listener.address);
        let address = listener.address.to_string();
        let failed = |error| BindError { address, error, holder: None, handed_over: true };
        return adopt(&listener.address, theirs, backlog, workers, unacked).map_err(failed);
    }
    match &listener.address {
        ListenAddress::Fd(_) => Err(BindError {
            address: listener.address.to_string(),
            error: io::Error::new(io::ErrorKind::NotFound, "no socket of that name was handed over"),
            holder: None,
            handed_over: true,
        }),
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

fn bind_tcp(
    address: SocketAddr,
    backlog: i32,
    workers: usize,
    unacked: Duration,
) -> Result<Bound, BindError> {
    let failed = |error: io::Error| BindError {
        address: address.to_string(),
        holder: (error.kind() == io::ErrorKind::AddrInUse).then(|| holder::of(address.port())).flatten(),
        handed_over: false,
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
    Ok(Bound { name: bound.to_string(), address: Some(bound), sockets, leaves: None })
}

/// Sockets that listen already, handed over for one listener. Each gets somebody who accepts: none that is ours may be left with
/// clients in its queue.
fn adopt(
    address: &ListenAddress,
    theirs: Vec<Inherited>,
    backlog: i32,
    workers: usize,
    unacked: Duration,
) -> io::Result<Bound> {
    let places: Vec<_> = theirs.iter().map(Inherited::place).collect();
    let one = places.iter().all(|place| *place == places[0]).then(|| places[0].clone()).flatten();
    let leaves = match address {
        ListenAddress::Unix(path) if theirs.iter().all(|one| !one.kept) => Some(path.clone()),
        _ => None,
    };
    let mut sockets = Vec::new();
    for inherited in theirs {
        if !inherited.listens() {
            let what = format!("{inherited} was handed over for it, which is no listening stream socket");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let socket = Socket::from(inherited.socket);
        let is_tcp = socket.domain()? != Domain::UNIX;
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        if is_tcp {
            for_accepted(&socket, unacked)?;
        }
        // The file's word on the length of the queue; it listens already.
        socket.listen(backlog)?;
        sockets.push(if is_tcp {
            Listening::Tcp(socket.into())
        } else {
            Listening::Unix(std::os::fd::OwnedFd::from(socket).into())
        });
    }
    let count = sockets.len();
    for number in count..workers {
        sockets.push(sockets[number % count].try_clone()?);
    }
    let name = one.as_ref().map_or_else(|| address.to_string(), ToString::to_string);
    Ok(Bound { name, address: one.and_then(|place| place.ip()), sockets, leaves })
}

impl Listening {
    /// The same socket, with the same queue.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Listening::Tcp(tcp) => Listening::Tcp(tcp.try_clone()?),
            Listening::Unix(unix) => Listening::Unix(unix.try_clone()?),
        })
    }
}

/// A bound socket.
fn tcp_socket(address: SocketAddr, share: bool, unacked: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    for_accepted(&socket, unacked)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What accepted sockets inherit.
fn for_accepted(socket: &Socket, unacked: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(given_up(unacked)))?;
    socket.set_tcp_keepalive(&keep_alive(unacked))?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

fn bind_unix(path: &Path, backlog: i32, workers: usize) -> Result<Bound, BindError> {
    let name = format!("unix:{}", path.display());
    let failed = |error| BindError { address: name.clone(), error, holder: None, handed_over: false };
    remove_stale(path).map_err(failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = socket2::SockAddr::unix(path).map_err(failed)?;
    socket.bind(&address).and_then(|()| socket.listen(backlog)).map_err(failed)?;
    let first = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    // The kernel has no SO_REUSEPORT for unix sockets: all workers share one queue.
    let sockets = (0..workers).map(|_| first.try_clone().map(Listening::Unix)).collect::<io::Result<_>>();
    let leaves = Some(path.to_owned());
    Ok(Bound { sockets: sockets.map_err(failed)?, address: None, name: name.clone(), leaves })
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
