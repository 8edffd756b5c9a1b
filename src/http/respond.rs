//! The one place where a failure becomes a status.

use crate::codec::body::BadBody;
use crate::codec::request::BadRequest;
use crate::codec::response::BadResponse;
use crate::observe::metrics::{Limit, Refused};

/// Why an exchange came to no answer of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request's head is refused.
    BadRequest(BadRequest),
    /// The request's body is refused.
    BadBody(BadBody),
    /// The request's body is larger than allowed.
    BodyTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// The body made no progress in time.
    BodyTimeout,
    /// No `[[route]]` takes it.
    NoRoute,
    /// No instance can be reached.
    NoInstance,
    /// No file descriptor is left to connect with.
    NoFiles,
    /// No local port is left to connect from.
    NoLocalPort,
    /// The instance ended the connection before its answer was whole.
    InstanceClosed,
    /// The instance's answer is not clean HTTP.
    BadAnswer(BadResponse),
    /// The body of the instance's answer is not clean HTTP.
    BadAnswerBody(BadBody),
    /// The instance answered the upgrade with a 101 that does not fit it, or a 101 that nobody asked for.
    BadSwitch,
    /// The instance sends interim answers without end.
    InterimAnswers,
    /// The instance's answer did not begin in time.
    AnswerTimeout,
    /// The instance took nothing of the request in time.
    InstanceStalled,
    /// The client is gone.
    ClientGone,
    /// The client took nothing of the answer in time.
    ClientStalled,
    /// The answer's body made no progress in time.
    AnswerStalled,
}

impl Failure {
    /// The status and what the client is told; `None`: there is nobody to tell.
    pub(super) fn status(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Failure::BadRequest(BadRequest::HeadTooLarge) => (431, "Request Header Fields Too Large"),
            Failure::BadRequest(BadRequest::Connect) => (405, "Method Not Allowed"),
            Failure::BadRequest(_) | Failure::BadBody(_) => (400, "Bad Request"),
            Failure::BodyTooLarge => (413, "Content Too Large"),
            Failure::HeadTimeout | Failure::BodyTimeout => (408, "Request Timeout"),
            Failure::NoRoute => (404, "Not Found"),
            Failure::NoInstance | Failure::NoLocalPort | Failure::NoFiles => (503, "Service Unavailable"),
            Failure::InstanceClosed
            | Failure::BadAnswer(_)
            | Failure::BadAnswerBody(_)
            | Failure::BadSwitch
            | Failure::InterimAnswers => (502, "Bad Gateway"),
            Failure::AnswerTimeout | Failure::InstanceStalled | Failure::AnswerStalled => {
                (504, "Gateway Timeout")
            }
            Failure::ClientGone | Failure::ClientStalled => return None,
        })
    }

    /// Why, in a few words: for the access log and the answer's body. Says nothing of instances.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Failure::BadRequest(bad) => bad.reason(),
            Failure::BadBody(bad) | Failure::BadAnswerBody(bad) => bad.reason(),
            Failure::BodyTooLarge => "body too large",
            Failure::HeadTimeout => "the request's head did not come in time",
            Failure::BodyTimeout => "the request's body did not come in time",
            Failure::NoRoute => "no route",
            Failure::NoInstance => "no instance can be reached",
            Failure::NoLocalPort => "no local port",
            Failure::NoFiles => "no file descriptor",
            Failure::InstanceClosed => "the instance ended the connection",
            Failure::BadAnswer(bad) => bad.reason(),
            Failure::BadSwitch => "the instance's 101 does not answer the handshake",
            Failure::InterimAnswers => "interim answers without end",
            Failure::AnswerTimeout => "no answer in time",
            Failure::InstanceStalled => "the instance takes nothing",
            Failure::ClientGone => "the client left",
            Failure::ClientStalled => "the client takes nothing",
            Failure::AnswerStalled => "the answer made no progress",
        }
    }

    /// How it counts among the refused, if it does.
    pub(super) fn refused(self) -> Option<Refused> {
        matches!(self, Failure::BadRequest(_) | Failure::BadBody(_)).then_some(Refused::BadRequest)
    }

    /// The limit that it hit, if it did.
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Failure::BadRequest(BadRequest::HeadTooLarge) => Some(Limit::Header),
            Failure::BodyTooLarge => Some(Limit::Body),
            _ => None,
        }
    }
}

/// A whole answer of the proxy's own, ready to be written. `body` is left out for HEAD.
pub(super) fn answer(status: u16, phrase: &str, reason: &str, keep_alive: bool, to_head: bool) -> Vec<u8> {
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    // Clients of a dead upstream come back on their own; the hint keeps machines from hammering.
    let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
    let allow = if status == 405 { "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" } else { "" };
    let length = reason.len() + 1;
    let body = if to_head { String::new() } else { format!("{reason}\n") };
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{retry}{allow}{connection}\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_their_status() {
        let check = |failure: Failure, expected| assert_eq!(failure.status().map(|(code, _)| code), expected);
        check(Failure::BadRequest(BadRequest::HeadTooLarge), Some(431));
        check(Failure::BadRequest(BadRequest::Connect), Some(405));
        check(Failure::BadRequest(BadRequest::MissingHost), Some(400));
        check(Failure::NoInstance, Some(503));
        check(Failure::ClientGone, None);
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let text = String::from_utf8(answer(503, "Service Unavailable", "no", false, true)).unwrap();
        assert!(
            text.contains("Content-Length: 3\r\n") && text.ends_with("Connection: close\r\n\r\n"),
            "{text}"
        );
        assert!(text.contains("Retry-After: 1\r\n"));
    }
}
