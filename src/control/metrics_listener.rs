//! Answers `/metrics`, `/-/healthy`, `/-/ready` on `[metrics] address`. Knows no metric; changes nothing.
//!
//! No body of a request is read.

use std::future::{Future, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use super::local_http::{self, Answer, Bounds, page};
use crate::observe::metrics;

const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    head: Duration::from_secs(5),
    life: Duration::from_mins(1),
    rest: Duration::from_secs(10),
};

/// Serves until `shutdown` is ready, then cuts what is open and returns. `render` gives the text of a scrape, `is_ready` says
/// whether traffic is served.
pub async fn serve(
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(BOUNDS, listener, render, is_ready, shutdown).await;
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let pages = Pages { render, ready: is_ready };
    let answer = move |request| ready(pages.answer(&request));
    local_http::serve(bounds, "metrics", listener, answer, shutdown).await;
}

/// What can be asked.
struct Pages<R, D> {
    render: R,
    ready: D,
}

impl<R: Fn() -> String, D: Fn() -> bool> Pages<R, D> {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
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

fn text(status: StatusCode, text: &'static str) -> Answer {
    page(status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
#[path = "metrics_listener_tests.rs"]
mod tests;
