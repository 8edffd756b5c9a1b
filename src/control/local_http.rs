//! HTTP/1 for a few clients that are no clients of the proxy: whoever scrapes, and commands. By hyper; knows no page.
//!
//! Bounded, for whoever finds the address: connections at a time, time for a head, idle time, life of a connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::gate::Gate;
use crate::local::clock;
use crate::observe::logging::Occasionally;

/// What one client, or all of them, may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time; more wait in the kernel's queue.
    pub(super) connections_max: usize,
    /// For a request's head, and for the time in which a kept connection says nothing.
    pub(super) head: Duration,
    /// After this a connection is ended behind the answer that is under way.
    pub(super) life: Duration,
    /// For that answer. A reader that takes nothing is cut.
    pub(super) rest: Duration,
}

impl Bounds {
    /// For whoever only looks, at an address that anybody may find.
    pub(super) const LOOK: Bounds = Bounds {
        connections_max: 32,
        head: Duration::from_secs(5),
        life: Duration::from_mins(1),
        rest: Duration::from_secs(10),
    };
}

/// Bytes of a request's head; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8192;

/// After an accept that failed, which will be for want of descriptors: those of the data path come first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A socket that connections come from.
pub(super) trait Accepts {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Whose it is; `None`: the system does not know.
    fn peer(stream: &Self::Stream) -> Option<Peer>;
}

/// The process at the other end of a connection; an extension of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its user.
    pub(super) uid: u32,
    /// Its number, where the system tells.
    pub(super) pid: Option<i32>,
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }

    fn peer(_: &TcpStream) -> Option<Peer> {
        None
    }
}

impl Accepts for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }

    fn peer(stream: &UnixStream) -> Option<Peer> {
        stream.peer_cred().ok().map(|peer| Peer { uid: peer.uid(), pid: peer.pid() })
    }
}

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Serves until `shutdown` is ready, then cuts what is open and returns. `called`: what the log calls the listener.
pub(super) async fn serve<A, F, W>(
    bounds: Bounds,
    called: &'static str,
    listener: A,
    answer: F,
    shutdown: impl Future<Output = ()>,
) where
    A: Accepts,
    F: Fn(Request<Incoming>) -> W + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    let answer = Arc::new(answer);
    let accept_errors = Occasionally::new(Duration::from_secs(10));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.next(), if connections.len() < bounds.connections_max => match accepted {
                Ok(stream) => {
                    let peer = A::peer(&stream);
                    connections.spawn(connection(stream, peer, bounds, answer.clone()));
                }
                Err(error) => {
                    if let Some(suppressed) = accept_errors.pass(clock::instant()) {
                        tracing::warn!(%error, suppressed, "{called} listener: cannot accept");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    connections.shutdown().await;
}

/// A thread that serves an address.
#[derive(Debug)]
pub(super) struct Serving {
    /// Where.
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Serves on a thread of its own, once the gate is open: nobody who looks waits for traffic, nor traffic for who looks. `called`: the
    /// thread, and in the log.
    ///
    /// # Errors
    /// When the system has no thread or no descriptor left.
    pub(super) fn start<F, W>(
        bounds: Bounds,
        called: &'static str,
        socket: std::net::TcpListener,
        gate: Gate,
        answer: F,
    ) -> io::Result<Self>
    where
        F: Fn(Request<Incoming>) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (stop, mut stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let live = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = gate.passes() => {}
                    _ = &mut stopped => return,
                }
                match TcpListener::from_std(socket) {
                    Ok(socket) => serve(bounds, called, socket, answer, async { drop(stopped.await) }).await,
                    Err(error) => tracing::error!(%error, "the {called} listener cannot serve"),
                }
            });
        };
        let thread = std::thread::Builder::new().name(called.to_owned()).spawn(live)?;
        Ok(Serving { address, stop, thread })
    }

    /// Ends it.
    pub(super) fn stop(self) {
        // Whoever no longer listens has ended.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Whatever ends it, a time-out or the client, there is nobody to tell.
async fn connection<S, F, W>(stream: S, peer: Option<Peer>, bounds: Bounds, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> W + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let answering = answer(request);
        async { Ok::<_, Infallible>(answering.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(HEAD_BYTES_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    if timeout(bounds.life, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(bounds.rest, serving).await;
    }
}

/// An answer of this type.
pub(super) fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
