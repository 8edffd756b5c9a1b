//! Answers `/metrics`, `/-/healthy`, `/-/ready` on `[metrics] address`. Knows no metric; changes nothing.
//!
//! Bounded, for whoever finds the address: connections at a time, time for a head, idle time, life of a connection. No
//! body of a request is read.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::local::clock;
use crate::observe::logging::Occasionally;
use crate::observe::metrics;

/// What one client, or all of them, may take.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Connections at a time; more wait in the kernel's queue.
    connections_max: usize,
    /// For a request's head, and for the time in which a kept connection says nothing.
    head: Duration,
    /// After this a connection is ended behind the answer that is under way.
    life: Duration,
    /// For that answer. A reader that takes nothing is cut.
    rest: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head: Duration::from_secs(5),
    life: Duration::from_mins(1),
    rest: Duration::from_secs(10),
};

/// Bytes of a request's head; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8192;

/// After an accept that failed, which will be for want of descriptors: those of the data path come first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `shutdown` is ready, then cuts what is open and returns. `render` gives the text of a scrape, `ready` says
/// whether traffic is served.
pub async fn serve(
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(BOUNDS, listener, render, ready, shutdown).await;
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let pages = Arc::new(Pages { render, ready });
    let accept_errors = Occasionally::new(Duration::from_secs(10));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &accept_errors), if connections.len() < bounds.connections_max => {
                if let Some(stream) = accepted {
                    connections.spawn(connection(stream, bounds, Arc::clone(&pages)));
                }
            }
        }
    }
    connections.shutdown().await;
}

/// The next connection; `None` after a pause when there was an error.
async fn accept(listener: &TcpListener, errors: &Occasionally) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            if let Some(suppressed) = errors.pass(clock::instant()) {
                tracing::warn!(%error, suppressed, "metrics listener: cannot accept");
            }
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whatever ends it, a time-out or the client, there is nobody to tell.
async fn connection<R, D>(stream: TcpStream, bounds: Bounds, pages: Arc<Pages<R, D>>)
where
    R: Fn() -> String,
    D: Fn() -> bool,
{
    let service = service_fn(|request| {
        let response = pages.answer(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(HEAD_BYTES_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    if timeout(bounds.life, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(bounds.rest, serving).await;
    }
}

/// What can be asked.
struct Pages<R, D> {
    render: R,
    ready: D,
}

impl<R: Fn() -> String, D: Fn() -> bool> Pages<R, D> {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/-/healthy" | "/-/ready") {
            return text(StatusCode::NOT_FOUND, "not found: /metrics, /-/healthy, /-/ready\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => page(StatusCode::OK, metrics::CONTENT_TYPE, (self.render)()),
            "/-/ready" if !(self.ready)() => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            _ => text(StatusCode::OK, "ok"),
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", text)
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "metrics_listener_tests.rs"]
mod tests;
