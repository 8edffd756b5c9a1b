//! Reaching an instance: its address, and a connected socket to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::model::Timeouts;
use crate::local::clock::{self, Moment};
use crate::local::stream::Stream;
use crate::local::timer;
use crate::observe::metrics::ConnectError;

/// How long the answer of a resolver is used before it is asked again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// How long a name without an address is not asked for again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where an instance is.
#[derive(Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    known: Mutex<Known>,
    /// Held by whoever waits for a first answer: many clients at a time are one question.
    first: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Known {
    /// A literal: never asked for.
    Literal(SocketAddr),
    /// A name: its addresses, the one that worked last in front, and when the resolver was asked last.
    Name { addresses: Vec<SocketAddr>, asked: Option<Moment> },
}

impl Endpoint {
    /// `host` is a name or an address literal.
    pub fn new(host: &str, port: u16) -> Self {
        let known = match host.parse::<IpAddr>() {
            Ok(ip) => Known::Literal(SocketAddr::new(ip, port)),
            Err(_) => Known::Name { addresses: Vec::new(), asked: None },
        };
        Endpoint {
            host: host.to_owned(),
            port,
            known: Mutex::new(known),
            first: tokio::sync::Mutex::default(),
        }
    }

    /// The addresses to try, in their order. Known ones are used at once, and asked for anew behind the back of whoever
    /// connects: a resolver that hangs takes no instance out. Only a name without any is waited for.
    async fn addresses(self: &Arc<Self>) -> Vec<SocketAddr> {
        let (addresses, due) = self.look(true);
        if !addresses.is_empty() {
            if due {
                let endpoint = self.clone();
                tokio::task::spawn_local(async move { endpoint.ask().await });
            }
            return addresses;
        }
        let _first = self.first.lock().await;
        let (addresses, due) = self.look(true);
        if addresses.is_empty() && due {
            self.ask().await;
        }
        self.look(false).0
    }

    /// What is known, and whether it is time to ask; `claim`: then the caller asks, and nobody else does.
    fn look(&self, claim: bool) -> (Vec<SocketAddr>, bool) {
        match &mut *self.known() {
            Known::Literal(address) => (vec![*address], false),
            Known::Name { addresses, asked } => {
                let every = if addresses.is_empty() { RETRY_EVERY } else { RESOLVE_EVERY };
                let now = clock::coarse();
                let due = asked.is_none_or(|asked| now.since(asked) >= every);
                // Waiting for a first answer is ordered by `first`.
                if claim && due && !addresses.is_empty() {
                    *asked = Some(now);
                }
                (addresses.clone(), due)
            }
        }
    }

    /// Asks the resolver. Addresses that still hold keep their order; an empty answer or a failure keeps them all.
    async fn ask(&self) {
        let answer = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let answer: Vec<SocketAddr> = answer.map(Iterator::collect).unwrap_or_default();
        if let Known::Name { addresses, asked } = &mut *self.known() {
            *asked = Some(clock::coarse());
            if !answer.is_empty() {
                addresses.retain(|address| answer.contains(address));
                let new: Vec<_> = answer.into_iter().filter(|address| !addresses.contains(address)).collect();
                addresses.extend(new);
                addresses.truncate(ADDRESSES_MAX);
            }
        }
    }

    /// This address works: it is tried first from now on.
    fn prefer(&self, address: SocketAddr) {
        if let Known::Name { addresses, .. } = &mut *self.known()
            && let Some(at) = addresses.iter().position(|known| *known == address)
        {
            addresses[..=at].rotate_right(1);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
/// addresses the next is tried when one refuses.
///
/// # Errors
/// Why not. "No local port" and "files" say nothing of the instance.
pub async fn connect(
    endpoint: &Arc<Endpoint>,
    sources: &[IpAddr],
    turn: u64,
    timeouts: &Timeouts,
) -> Result<Stream, Failed> {
    let Some(addresses) = timer::within(timeouts.connect, endpoint.addresses()).await else {
        return Err(Failed::new(ConnectError::Dns, "the resolver does not answer in time"));
    };
    let connecting = async {
        let mut result = Err(Failed::new(ConnectError::Dns, "the name has no address"));
        for address in addresses {
            let dialled = dial(address, sources, turn).await;
            let watched = dialled.and_then(|stream| keep_watch(&stream, timeouts.unacked).map(|()| stream));
            match watched {
                Ok(stream) => {
                    endpoint.prefer(address);
                    return Ok(Stream::Tcp(stream));
                }
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
    socket.set_tcp_user_timeout(Some(unacked))?;
    socket.set_tcp_keepalive(&keep_alive(unacked))
}

/// Probes of a silent peer such that it is found dead after about `unacked`: how many go unanswered is left to
/// `TCP_USER_TIMEOUT`, which counts in time.
pub fn keep_alive(unacked: Duration) -> TcpKeepalive {
    let second = Duration::from_secs(1);
    TcpKeepalive::new().with_time((unacked / 2).max(second)).with_interval((unacked / 6).max(second))
}

#[cfg(test)]
mod tests;
