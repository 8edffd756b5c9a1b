//! Reaching an instance: its address, and a connected socket to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
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

/// Where an instance is.
#[derive(Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    known: Mutex<Known>,
    /// Held while a resolver is asked: many clients at a time are one question.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    /// A literal: never asked for.
    Literal(SocketAddr),
    /// A name: its last address, and when the resolver was last asked.
    Name { address: Option<SocketAddr>, asked: Option<Moment> },
}

impl Endpoint {
    /// `host` is a name or an address literal.
    pub fn new(host: &str, port: u16) -> Self {
        let known = match host.parse::<IpAddr>() {
            Ok(ip) => Known::Literal(SocketAddr::new(ip, port)),
            Err(_) => Known::Name { address: None, asked: None },
        };
        Endpoint {
            host: host.to_owned(),
            port,
            known: Mutex::new(known),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The address to connect to. A name keeps its address while the answer still holds it, and the last one when the
    /// resolver fails.
    async fn address(&self) -> Result<SocketAddr, Failed> {
        if let Some(answer) = self.recent() {
            return answer;
        }
        let last = self.last();
        let _asking = match (self.asking.try_lock(), last) {
            (Ok(asking), _) => asking,
            // Somebody asks already: the last address is good enough meanwhile.
            (Err(_), Some(last)) => return Ok(last),
            (Err(_), None) => self.asking.lock().await,
        };
        match self.recent() {
            Some(answer) => answer,
            None => self.ask(last).await,
        }
    }

    async fn ask(&self, last: Option<SocketAddr>) -> Result<SocketAddr, Failed> {
        let answer = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let answer: Vec<SocketAddr> = answer.map(Iterator::collect).unwrap_or_default();
        let address = last.filter(|last| answer.contains(last)).or(answer.first().copied()).or(last);
        *self.known() = Known::Name { address, asked: Some(clock::coarse()) };
        address.ok_or_else(no_address)
    }

    /// What is known well enough not to ask again.
    fn recent(&self) -> Option<Result<SocketAddr, Failed>> {
        let (address, asked) = match *self.known() {
            Known::Literal(address) => return Some(Ok(address)),
            Known::Name { address, asked } => (address, asked?),
        };
        let every = if address.is_some() { RESOLVE_EVERY } else { RETRY_EVERY };
        (clock::coarse().since(asked) < every).then(|| address.ok_or_else(no_address))
    }

    fn last(&self) -> Option<SocketAddr> {
        match *self.known() {
            Known::Literal(address) => Some(address),
            Known::Name { address, .. } => address,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_address() -> Failed {
    Failed::new(ConnectError::Dns, "the name has no address")
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

/// Connects to `endpoint` within `timeouts.connect`, from one of `sources` (in turn, by `turn`) when there are any.
///
/// # Errors
/// Why not. "No local port" says nothing of the instance.
pub async fn connect(
    endpoint: &Endpoint,
    sources: &[IpAddr],
    turn: u64,
    timeouts: &Timeouts,
) -> Result<Stream, Failed> {
    let connecting = async {
        let address = endpoint.address().await?;
        let stream = dial(address, sources, turn).await.map_err(Failed::of)?;
        keep_watch(&stream, timeouts.unacked).map_err(Failed::of)?;
        Ok(Stream::Tcp(stream))
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
