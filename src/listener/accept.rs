//! The accept loop of one listener on one worker. It survives whatever accept(2) says.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::bind::Listening;
use super::handshake;
use super::introduction;
use super::permit::Permits;
use crate::config::model::ProxyProtocol;
use crate::http::{self, Arrival, Context, Door, Entrance, Remote, guard};
use crate::local::clock;
use crate::local::stream::Stream;
use crate::local::timer;
use crate::observe::events;
use crate::observe::logging::Occasionally;
use crate::observe::metrics::{Limit, Refused};

/// How long accepting rests when the process or the machine has no descriptor or memory left. The connections wait in
/// the kernel's queue meanwhile.
const REST: Duration = Duration::from_millis(100);

/// Kept connections that make room at a time when connections are nearly out: finding them costs a look at all.
const SHED: usize = 16;

/// What a client hears that is one too many: cheap, and the connection is gone at once.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Each is said once a minute, whichever worker meets it: nobody is served meanwhile who could wait for the lock.
static NO_FILES: Occasionally = Occasionally::new(Duration::from_mins(1));
static AT_LIMIT: Occasionally = Occasionally::new(Duration::from_mins(1));
static NO_HEADER: Occasionally = Occasionally::new(Duration::from_mins(1));

/// A listening socket in the hands of this worker's runtime.
#[derive(Debug)]
pub struct Socket(Of);

#[derive(Debug)]
enum Of {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// A descriptor of its own: whoever has `listening` can go on with it.
    ///
    /// # Errors
    /// When the runtime cannot take it, or there is no descriptor left.
    pub fn of(listening: &Listening) -> io::Result<Self> {
        Ok(Socket(match listening {
            Listening::Tcp(tcp) => Of::Tcp(TcpListener::from_std(tcp.try_clone()?)?),
            Listening::Unix(unix) => Of::Unix(UnixListener::from_std(unix.try_clone()?)?),
        }))
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.0 {
            Of::Tcp(tcp) => tcp.accept().await.map(|(tcp, peer)| (Stream::Tcp(tcp), Some(peer))),
            Of::Unix(unix) => unix.accept().await.map(|(unix, _)| (Stream::Unix(Box::new(unix)), None)),
        }
    }
}

/// Accepts until the task is ended.
pub async fn accept(socket: Rc<Socket>, ctx: Rc<Context>, door: Arc<Door>, permits: Arc<Permits>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => admit(&ctx, &door, &permits, stream, peer),
            Err(error) => rest(&ctx, &door, &error).await,
        }
    }
}

/// Accepts those that wait in the kernel's queue, and nobody who comes later.
pub fn accept_waiting(listening: &Listening, ctx: &Rc<Context>, door: &Arc<Door>, permits: &Arc<Permits>) {
    while let Ok((stream, peer)) = accept_now(listening) {
        admit(ctx, door, permits, stream, peer);
    }
}

/// Not by the runtime: that has to turn before it knows that somebody waits.
fn accept_now(listening: &Listening) -> io::Result<(Stream, Option<SocketAddr>)> {
    match listening {
        Listening::Tcp(tcp) => {
            let (stream, peer) = tcp.accept()?;
            stream.set_nonblocking(true)?;
            Ok((Stream::Tcp(TcpStream::from_std(stream)?), Some(peer)))
        }
        Listening::Unix(unix) => {
            let (stream, _) = unix.accept()?;
            stream.set_nonblocking(true)?;
            Ok((Stream::Unix(Box::new(UnixStream::from_std(stream)?)), None))
        }
    }
}

fn admit(
    ctx: &Rc<Context>,
    door: &Arc<Door>,
    permits: &Arc<Permits>,
    mut stream: Stream,
    peer: Option<SocketAddr>,
) {
    let counters = &door.counters[ctx.worker];
    counters.connections.one();
    if permits.is_nearly_out() {
        ctx.idle.shed(SHED);
    }
    let Some(permit) = permits.take() else {
        counters.refused(Refused::Limit);
        counters.limit_hit(Limit::MaxConnections);
        if let Some(more) = AT_LIMIT.pass(clock::instant()) {
            tracing::warn!(
                target: events::LIMIT,
                limit = permits.limit(),
                more,
                "connection limit reached: clients are turned away"
            );
        }
        return last_words(door, &mut stream, FULL);
    };
    counters.connections_open.inc();
    let worker = u32::try_from(ctx.worker).expect("at most 1024 workers");
    let peer = peer.map(Remote::from);
    let arrival =
        Arrival { peer, door: door.clone(), worker, permit, place: None, entrance: Entrance::Plain };
    let is_trusted = || guard::trusts(&ctx.generation().config, peer.map(|peer| peer.ip));
    match door.proxy_protocol {
        ProxyProtocol::Off => enter(ctx, arrival, stream),
        ProxyProtocol::Optional if !is_trusted() => enter(ctx, arrival, stream),
        ProxyProtocol::Required if !is_trusted() => {
            no_header(&arrival, "only trusted_proxies may connect here");
        }
        // A task of its own, which is gone when the header is there: a task keeps the size of its largest wait.
        ProxyProtocol::Optional | ProxyProtocol::Required => {
            tokio::task::spawn_local(introduce(ctx.clone(), arrival, stream));
        }
    }
}

/// Takes the header of the PROXY protocol from a trusted peer.
async fn introduce(ctx: Rc<Context>, mut arrival: Arrival, mut stream: Stream) {
    let patience = ctx.generation().config.timeouts.first_byte;
    let required = arrival.door.proxy_protocol == ProxyProtocol::Required;
    let why = match timer::within(patience, introduction::take(&mut stream, required)).await {
        Some(Ok(source)) => {
            // None: the peer speaks for itself.
            arrival.peer = source.map(Remote::from).or(arrival.peer);
            return enter(&ctx, arrival, stream);
        }
        Some(Err(why)) => why,
        None => "the header of the PROXY protocol did not come in time",
    };
    no_header(&arrival, why);
}

/// Without a word, for there may be anything at the other end.
fn no_header(arrival: &Arrival, why: &str) {
    arrival.counters().refused(Refused::ProxyProtocol);
    if let Some(more) = NO_HEADER.pass(clock::instant()) {
        let (listener, peer) = (&arrival.door.name, arrival.peer.map(SocketAddr::from));
        tracing::warn!(listener, ?peer, more, "{why}: the connection is closed");
    }
}

/// Who the client is, is known as far as the connection can tell: it is let in, or not.
fn enter(ctx: &Rc<Context>, mut arrival: Arrival, mut stream: Stream) {
    if let Some(peer) = arrival.peer.map(|peer| peer.ip)
        && !guard::trusts(&ctx.generation().config, Some(peer))
    {
        match guard::connection(ctx, arrival.counters(), peer) {
            Ok(place) => arrival.place = place,
            Err(words) => return last_words(&arrival.door, &mut stream, words),
        }
    }
    let ways = arrival.door.ways.load_full();
    if let Some(tls) = &ways.tls {
        return handshake::begin(ctx, arrival, stream, tls.clone());
    }
    if ways.redirect {
        arrival.entrance = Entrance::Redirected;
    }
    tokio::task::spawn_local(http::serve(ctx.clone(), arrival, stream));
}

/// Whoever is not let in hears why, if that is cheap.
fn last_words(door: &Door, stream: &mut Stream, words: &[u8]) {
    // Over TLS the words would cost more than the client.
    if door.ways.load().tls.is_none() {
        stream.try_write(words);
    }
}

/// What accept(2) failed with decides whether to rest.
async fn rest(ctx: &Context, door: &Door, error: &io::Error) {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        door.counters[ctx.worker].refused(Refused::Files);
        ctx.pool.clear();
        ctx.idle.shed(SHED);
        if let Some(more) = NO_FILES.pass(clock::instant()) {
            tracing::error!(target: events::LIMIT, listener = door.name, %error, more, "cannot accept; clients wait until descriptors are free");
        }
        timer::sleep(REST).await;
    } else {
        // The client was gone before it was accepted: that is its own affair.
        tracing::debug!(listener = door.name, %error, "accept");
    }
}
