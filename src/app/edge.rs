//! What every answer gets, so that clients see what Node's server gives: CORS, `Cache-Control: no-store` on polls, the
//! errors of Engine.IO with a number for a code. And no new sessions while the instance stops.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, UPGRADE, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::context::Context;
use super::gone::Parked;
use super::line::End;

/// Where Socket.IO is.
pub(super) const PATH: &str = "/socket.io";

/// Bytes of an error of Engine.IO; they have about 50.
const ERROR_BYTES_MAX: usize = 1024;

/// Wraps everything that an instance answers.
pub(super) async fn around(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let allowed = allowed_origin(&context.settings.cors, request.headers());
    let is_engine = is_engine(request.uri().path());
    if request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN) {
        let asked = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        return preflight(allowed, asked);
    }
    let sid = sid(request.uri().query().unwrap_or_default());
    let is_handshake = is_engine && sid.is_none();
    if let Some(sid) = sid
        && request.headers().contains_key(UPGRADE)
        && let Some(end) = request.extensions().get::<End>()
    {
        context.lines.note(sid, end);
    }
    let is_poll = is_engine && request.method() == Method::GET && !request.headers().contains_key(UPGRADE);
    let parked = sid.filter(|_| is_poll).map(|sid| Parked::new(sid, &next, &context));
    let mut response = if is_handshake && context.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        next.run(request).await
    };
    if let Some(parked) = parked {
        parked.answered();
    }
    if is_engine {
        response = as_node_says(response).await;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    allow(response.headers_mut(), allowed);
    response
}

fn is_engine(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn sid(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("sid="))
}

/// The origin that an answer may be shown to, where the settings allow it.
fn allowed_origin(cors: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let is_allowed = cors.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes());
    is_allowed.then(|| origin.clone())
}

fn allow(headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// The answer to a browser that asks before it calls from another origin.
fn preflight(allowed: Option<HeaderValue>, asked: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if allowed.is_some() {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST,DELETE"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = asked {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
        allow(headers, allowed);
    }
    response
}

/// An error of Engine.IO with a number for its code: `{"code":1,...}`, where socketioxide says `{"code":"1",...}`.
async fn as_node_says(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status() != StatusCode::BAD_REQUEST || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ERROR_BYTES_MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let corrected = unquote_code(&String::from_utf8_lossy(&body));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(corrected))
}

fn unquote_code(error: &str) -> String {
    match error.strip_prefix(r#"{"code":""#).and_then(|rest| rest.split_once('"')) {
        Some((code, rest)) if code.parse::<u8>().is_ok() => format!(r#"{{"code":{code}{rest}"#),
        _ => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_number_for_its_code() {
        let check = |error: &str, expected: &str| assert_eq!(unquote_code(error), expected);
        check(
            r#"{"code":"1","message":"Session ID unknown"}"#,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        );
        check(r#"{"code":1,"message":"m"}"#, r#"{"code":1,"message":"m"}"#);
        check(r#"{"code":"x","message":"m"}"#, r#"{"code":"x","message":"m"}"#);
        check("", "");
    }

    #[test]
    fn only_named_origins_are_allowed() {
        let check = |cors: &[&str], origin: &'static str, expected: bool| {
            let cors: Vec<String> = cors.iter().map(|&origin| origin.to_owned()).collect();
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            assert_eq!(allowed_origin(&cors, &headers).is_some(), expected, "{cors:?} {origin}");
        };
        check(&[], "https://myapp.com", false);
        check(&["https://myapp.com"], "https://myapp.com", true);
        check(&["https://myapp.com"], "https://myapp.com.evil", false);
        check(&["*"], "https://any.where", true);
        assert_eq!(allowed_origin(&["*".to_owned()], &HeaderMap::new()), None);
    }

    #[test]
    fn the_engine_has_its_path_and_what_is_below() {
        let check = |path: &str, expected: bool| assert_eq!(is_engine(path), expected, "{path}");
        check("/socket.io/", true);
        check("/socket.io", true);
        check("/socket.iox/", false);
        check("/", false);
    }
}
