//! Answers `/metrics`, `/-/healthy`, `/-/ready` on `[metrics] address`. Knows no metric; changes nothing.
//!
//! No body of a request is read.

use std::future::{Ready, ready};

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::local_http::{Answer, page};
use crate::observe::metrics;

/// Answers a request. `render` gives the text of a scrape, `is_ready` says whether traffic is served.
pub(super) fn answers(
    render: impl Fn() -> String + Send + Sync + 'static,
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
) -> impl Fn(Request<Incoming>) -> Ready<Answer> + Send + Sync + 'static {
    let pages = Pages { render, ready: is_ready };
    move |request| ready(pages.answer(&request))
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
