//! The page of the demonstration: one file, and the browser's client of Socket.IO beside it. Nothing of it comes from elsewhere.
//!
//! Instances serve it with `--insecure-demo`, and `stickyd-app demo` besides them, where it is there when all instances are dead.
//! What it shows of instances and asks of them is [`demo`](super::demo)'s; without that it shows the chat alone.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const PAGE: &str = include_str!("page/page.html");

/// socket.io-client 4.8.4, as its authors built it; MIT, see `vendor/socket.io-client.LICENSE`.
const CLIENT: &str = include_str!("page/vendor/socket.io.min.js");

/// Its two paths.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let policy = policy();
    Router::new()
        .route("/", get(async move || answer("text/html; charset=utf-8", &policy, "no-store", PAGE)))
        .route("/demo/socket.io.min.js", get(client))
}

async fn client() -> impl IntoResponse {
    let policy = HeaderValue::from_static("default-src 'none'");
    answer("text/javascript; charset=utf-8", &policy, "no-cache", CLIENT)
}

fn answer(
    kind: &'static str,
    policy: &HeaderValue,
    cache: &'static str,
    text: &'static str,
) -> impl IntoResponse + use<> {
    let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(CONTENT_TYPE, kind),
        fixed(CACHE_CONTROL, cache),
        fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(X_FRAME_OPTIONS, "DENY"),
        fixed(REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, policy.clone()),
    ];
    (headers, text)
}

/// Only this page's own script and style, the client of Socket.IO, and where that goes.
fn policy() -> HeaderValue {
    let inside = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let text =
            PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
        STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    };
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
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
    fn nothing_of_the_page_comes_from_elsewhere() {
        for (from, _) in PAGE.match_indices("//") {
            let before = &PAGE[from.saturating_sub(6)..from];
            assert!(!before.ends_with("https:"), "{}", &PAGE[from - 6..from + 40]);
        }
        assert!(
            !policy().to_str().unwrap().contains("47DEQpj8HBSa"),
            "the hash of nothing: a tag was not found"
        );
    }
}
