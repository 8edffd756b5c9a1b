//! Reaching an instance: a connected socket to one of its addresses.

mod endpoint;
mod name;
mod proxy_header;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

pub use endpoint::Endpoint;
pub use proxy_header::header as proxy_header;
pub use tls::Secured;

use crate::config::model::{Resolve, Timeouts};
use crate::local::stream::Stream;
use crate::local::timer;
use crate::observe::metrics::ConnectError;

/// Why there is no connection.
#[derive(Debug)]
pub struct Failed {
    /// For the metric.
    pub kind: ConnectError,
    /// For the log.
    pub error: io::Error,
}

impl Failed {
    fn new(kind: ConnectError, text: &str) -> Self {
        Failed { kind, error: io::Error::other(text.to_owned()) }
    }

    fn of(error: io::Error) -> Self {
        let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        let kind = match error.kind() {
            _ if exhausted.contains(&error.raw_os_error()) => ConnectError::Files,
            io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => ConnectError::NoLocalPort,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ConnectError::Timeout
            }
            _ => ConnectError::Reset,
        };
        Failed { kind, error }
    }
}

/// Connects to `endpoint` within `timeouts.connect`, from one of `sources` (in turn, by `turn`) when there are any. Of a name's
/// addresses the next is tried when one refuses; `resolve` says how often the name is looked up. `first`: the very first bytes of the
/// connection.
///
/// # Errors
/// Why not. "No local port" and "files" say nothing of the instance.
pub async fn connect(
    endpoint: &Arc<Endpoint>,
    sources: &[IpAddr],
    turn: u64,
    timeouts: &Timeouts,
    resolve: Resolve,
    first: &[u8],
) -> Result<Stream, Failed> {
    let Some(addresses) = timer::within(timeouts.connect, endpoint.addresses(resolve)).await else {
        return Err(Failed::new(ConnectError::Dns, "the resolver does not answer in time"));
    };
    let connecting = async {
        let mut result = Err(Failed::new(ConnectError::Dns, "the name has no address"));
        for address in addresses {
            let dialled = dial(address, sources, turn).await;
            let watched = dialled.and_then(|stream| keep_watch(&stream, timeouts.unacked).map(|()| stream));
            let introduced = match watched {
                Ok(mut stream) if !first.is_empty() => stream.write_all(first).await.map(|()| stream),
                other => other,
            };
            match introduced {
                Ok(stream) => match endpoint.secure(Stream::Tcp(stream)).await {
                    Ok(stream) => {
                        endpoint.works(address);
                        return Ok(stream);
                    }
                    Err(error) => result = Err(Failed { kind: ConnectError::Tls, error }),
                },
                Err(error) => result = Err(Failed::of(error)),
            }
        }
        result
    };
    timer::within(timeouts.connect, connecting)
        .await
        .unwrap_or_else(|| Err(Failed::new(ConnectError::Timeout, "no answer in time")))
}

async fn dial(address: SocketAddr, sources: &[IpAddr], turn: u64) -> io::Result<TcpStream> {
    let sources: Vec<IpAddr> =
        sources.iter().copied().filter(|source| source.is_ipv4() == address.is_ipv4()).collect();
    let Some(start) = turn.checked_rem(sources.len() as u64) else {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        return socket.connect(address).await;
    };
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for source in sources.iter().cycle().skip(usize::try_from(start).unwrap_or(0)).take(sources.len()) {
        result = dial_from(*source, address).await;
        // Only the want of a local port is a reason to try the next source.
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            _ => break,
        }
    }
    result
}

async fn dial_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // The port is chosen at connect, against the whole 4-tuple: each source has all its ports for each instance.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    TcpSocket::from_std_stream(socket.into()).connect(address).await
}

/// What is sent goes out at once, and a peer that is gone is noticed.
fn keep_watch(stream: &TcpStream, unacked: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(given_up(unacked)))?;
    socket.set_tcp_keepalive(&keep_alive(unacked))
}

/// What to tell the kernel for `unacked` (`TCP_USER_TIMEOUT`): it looks when it would send again, and counts from the first byte
/// that is lost, a little after the peer was. A sixteenth less, and it is over within `unacked`.
pub fn given_up(unacked: Duration) -> Duration {
    unacked / 16 * 15
}

/// Probes of a silent peer such that it is found dead after about `unacked`: how many go unanswered is left to
/// `TCP_USER_TIMEOUT`, which counts in time.
pub fn keep_alive(unacked: Duration) -> TcpKeepalive {
    let second = Duration::from_secs(1);
    TcpKeepalive::new().with_time((unacked / 2).max(second)).with_interval((unacked / 6).max(second))
}

#[cfg(test)]
mod tests;
