//! HTTP/1 for a few clients that are no clients of the proxy: whoever scrapes, and commands. By hyper; knows no page.
//!
//! Bounded, for whoever finds the address: connections at a time, time for a head, idle time, life of a connection.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
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
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

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
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accepts for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
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
                Ok(stream) => drop(connections.spawn(connection(stream, bounds, answer.clone()))),
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

/// Whatever ends it, a time-out or the client, there is nobody to tell.
async fn connection<S, F, W>(stream: S, bounds: Bounds, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> W + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(|request| {
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
