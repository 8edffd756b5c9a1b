//! The status page on `[admin] address`: one file, read-only, for a browser of this machine.
//!
//! Nothing that changes anything is reachable here. Anybody on the machine may look, so it shows no client's address; and a page of
//! another site in somebody's browser may not, so `Host` has to be an address or `localhost` (DNS rebinding).

use std::future::{Ready, ready};
use std::net::{IpAddr, TcpListener};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};

use super::super::local_http::{Answer, Bounds, Serving, page};
use super::super::notify::words;
use super::super::start::{StartError, unavailable};
use super::api;
use super::status::View;

const PAGE: &str = include_str!("page/page.html");

/// Shows it.
///
/// # Errors
/// When there is no thread for it.
pub(in crate::control) fn serve(socket: TcpListener, view: View) -> Result<Serving, StartError> {
    let policy = policy();
    let view = View { page: socket.local_addr().ok().map(|address| address.to_string()), ..view };
    let answers =
        move |request: Request<Incoming>| -> Ready<Answer> { ready(answer(&request, &view, &policy)) };
    Serving::start(Bounds::LOOK, "status", socket, answers).map_err(unavailable)
}

/// What anybody on the machine may see: of a refused file what is wrong and where, for a line of it may hold a secret.
fn shown(view: &View) -> api::Status {
    let mut status = view.status();
    status.config.refusal = status.config.refusal.as_deref().map(words::brief);
    status
}

fn answer<B>(request: &Request<B>, view: &View, policy: &HeaderValue) -> Answer {
    if !is_here(request) {
        let text = "open it by the address of this machine, or as localhost\n";
        return page(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", text);
    }
    let (kind, body) = match request.uri().path() {
        "/" => ("text/html; charset=utf-8", PAGE.to_owned()),
        "/status.json" => ("application/json", serde_json::to_string(&shown(view)).unwrap_or_default()),
        _ => return page(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found: /, /status.json\n"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD: it only shows\n";
        let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", text);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let mut answer = page(StatusCode::OK, kind, body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// Whoever asks has the page open as a page of this machine.
fn is_here<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = host.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// Only this page's own script and style, and its own figures.
fn policy() -> HeaderValue {
    let inside = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let text =
            PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
        STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    };
    // `style` attributes are set by the script alone, which a policy lets through (CSP 3, 8.3: by CSSOM).
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        inside("script"),
        inside("style")
    );
    HeaderValue::from_str(&policy).expect("it is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whoever_asks_for_an_address_or_localhost() {
        let check = |hosts: &[&str], expected: bool| {
            let mut request = Request::builder().uri("/");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            assert_eq!(is_here(&request.body(()).unwrap()), expected, "{hosts:?}");
        };
        for host in
            ["127.0.0.1:7080", "127.0.0.1", "[::1]:7080", "LOCALHOST:80", "10.1.2.3:7080", "[fe80::1]"]
        {
            check(&[host], true);
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7080",
            "127.0.0.1.nip.io",
            "",
            "127.0.0.1:80@evil",
            "x y",
        ] {
            check(&[host], false);
        }
        check(&[], false);
        check(&["127.0.0.1", "evil.example"], false);
    }

    #[test]
    fn the_page_is_whole() {
        assert_eq!(PAGE.matches("<script>").count(), 1);
        assert_eq!(PAGE.matches("<style>").count(), 1);
        // Nothing of elsewhere, and texts are never markup.
        for never in ["http://", "https://", "innerHTML", "insertAdjacentHTML", " src=", " onclick"] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(never);
            assert!(!found, "{never}");
        }
        assert_eq!(policy().to_str().unwrap().matches("'sha256-").count(), 2);
    }
}
