//! The one place where a failure becomes a status.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::placing::Placing;
use super::request::Request;
use crate::affinity::engine_io;
use crate::affinity::sid::table::Held;
use crate::codec::body::BadBody;
use crate::codec::request::BadRequest;
use crate::codec::response::BadResponse;
use crate::observe::metrics::{Kind, Limit, Refused};
use crate::routing::pick::Need;
use crate::tunnel::Reason;
use crate::upstream::Upstream;

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
    /// `limits.deny`
    Denied,
    /// `limits.origins`
    ForeignOrigin,
    /// `limits.connections_per_ip`, of a client behind a trusted proxy.
    TooManyConnections,
    /// `limits.tunnels_per_ip`
    TooManyTunnels,
    /// `limits.upgrades_per_ip`; when it would be in time.
    TooFast(Wait),
    /// No instance can be reached.
    NoInstance,
    /// The instance that it is bound to is down (`on_down = "fail"`).
    BoundDown,
    /// Every instance that may take it carries as many tunnels as it may.
    Full,
    /// The instance has too many handshakes in flight, and its queue is full or too slow.
    QueueFull,
    /// The instance of its Engine.IO session is gone: no other knows the session.
    SessionGone,
    /// The proxy closes what is open at the instance.
    Closed(Reason),
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

/// How long to wait, rounded up, in a byte: a failure is part of what waits for long. Seconds up to two minutes, beyond that half
/// minutes, up to an hour (the longest that a rate makes anybody wait).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(u8);

impl Wait {
    /// Of this time, at least a second.
    pub(super) fn of(time: Duration) -> Self {
        let seconds = time.as_nanos().div_ceil(1_000_000_000).max(1);
        let coded = if seconds <= 120 { seconds } else { 120 + (seconds - 120).div_ceil(30) };
        Wait(u8::try_from(coded).unwrap_or(u8::MAX))
    }

    fn seconds(self) -> u16 {
        let coded = u16::from(self.0);
        if coded <= 120 { coded } else { 120 + (coded - 120) * 30 }
    }
}

impl Failure {
    /// The status and what the client is told; `None`: there is nobody to tell.
    pub(super) fn status(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Failure::BadRequest(BadRequest::HeadTooLarge) => (431, "Request Header Fields Too Large"),
            Failure::BadRequest(BadRequest::Connect) => (405, "Method Not Allowed"),
            Failure::BadRequest(_) | Failure::BadBody(_) | Failure::SessionGone => (400, "Bad Request"),
            Failure::BodyTooLarge => (413, "Content Too Large"),
            Failure::HeadTimeout | Failure::BodyTimeout => (408, "Request Timeout"),
            Failure::NoRoute => (404, "Not Found"),
            Failure::Denied | Failure::ForeignOrigin => (403, "Forbidden"),
            Failure::TooManyConnections | Failure::TooManyTunnels | Failure::TooFast(_) => {
                (429, "Too Many Requests")
            }
            Failure::NoInstance
            | Failure::NoLocalPort
            | Failure::NoFiles
            | Failure::BoundDown
            | Failure::Full
            | Failure::QueueFull => (503, "Service Unavailable"),
            Failure::InstanceClosed
            | Failure::Closed(_)
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
            Failure::Denied => "denied",
            Failure::ForeignOrigin => "this origin may not open sessions",
            Failure::TooManyConnections => "too many requests of this address at a time",
            Failure::TooManyTunnels => "too many tunnels of this address",
            Failure::TooFast(_) => "too many session starts of this address",
            Failure::NoInstance => "no instance can be reached",
            Failure::BoundDown => "the instance of this client is down",
            Failure::Full => "every instance is full",
            Failure::QueueFull => "too many handshakes in flight",
            Failure::SessionGone => "the session's instance is gone",
            Failure::Closed(reason) => reason.as_str(),
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
        match self {
            Failure::BadRequest(_) | Failure::BadBody(_) => Some(Refused::BadRequest),
            Failure::QueueFull => Some(Refused::QueueFull),
            Failure::TooManyConnections | Failure::TooManyTunnels => Some(Refused::PerIp),
            Failure::TooFast(_) => Some(Refused::Rate),
            Failure::Denied => Some(Refused::Denied),
            Failure::ForeignOrigin => Some(Refused::Origin),
            _ => None,
        }
    }

    /// The limit that it hit, if it did. Those that may be only observed are counted where they are looked at (`guard`).
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Failure::BadRequest(BadRequest::HeadTooLarge) => Some(Limit::Header),
            Failure::BodyTooLarge => Some(Limit::Body),
            Failure::QueueFull => Some(Limit::MaxHandshakes),
            Failure::Full => Some(Limit::MaxTunnels),
            _ => None,
        }
    }

    /// Seconds after which the client may try again, if that is known.
    fn retry_after(self) -> Option<u16> {
        match self {
            Failure::TooFast(wait) => Some(wait.seconds()),
            // When one of what it has open ends; nobody knows.
            Failure::TooManyConnections | Failure::TooManyTunnels => Some(5),
            _ => None,
        }
    }

    /// It was seen of the instance that something may be wrong with it: a check should look into that.
    pub(super) fn blames_the_instance(self) -> bool {
        matches!(
            self,
            Failure::InstanceClosed
                | Failure::BadAnswer(_)
                | Failure::BadAnswerBody(_)
                | Failure::BadSwitch
                | Failure::InterimAnswers
                | Failure::AnswerTimeout
                | Failure::InstanceStalled
                | Failure::AnswerStalled
        )
    }

    /// A session start that failed so at one instance goes to another one, if it has been sent once only. Where an instance has ended the
    /// connection, only one of Engine.IO: a session that began there in spite of that ends by itself, while nobody knows what another
    /// handshake has used up, a ticket say. Where an instance was found dead, or to say nothing, any: who waits there waits in vain.
    pub(super) fn leaves(self, placing: &Placing) -> bool {
        let is_start = placing.need == Need::Start;
        match self {
            Failure::InstanceClosed => is_start && placing.engine_io,
            Failure::Closed(Reason::Down) => is_start,
            _ => false,
        }
    }

    /// What came of an exchange for which there is no second instance, after the first has ended the connection.
    pub(super) fn after(self, first: Failure) -> Self {
        match (first, self) {
            (Failure::InstanceClosed, Failure::NoInstance) => first,
            _ => self,
        }
    }

    /// Nobody could be chosen: because all are full, or for what was found out before.
    pub(super) fn or_full(self, upstream: &Upstream) -> Self {
        let full =
            self == Failure::NoInstance && upstream.instances.iter().any(|instance| instance.is_full());
        if full { Failure::Full } else { self }
    }

    /// The client of such a request is told that its Engine.IO session is over: no other instance has what was to come.
    ///
    /// In the words of an instance that does not know the session, for upon those every client begins anew. The packet
    /// `close` would be the protocol's word for it, but python-engineio and `rust_engineio` take it for the end that the
    /// application wanted, and do not come back.
    pub(super) fn ends_session(self, kind: Kind) -> bool {
        match self {
            Failure::SessionGone => true,
            Failure::Closed(_) | Failure::InstanceClosed => kind == Kind::Poll,
            _ => false,
        }
    }
}

/// An answer of the proxy's own.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    phrase: &'static str,
    content_type: &'static str,
    /// Fields that go with it, each with its line's end.
    fields: Option<Arc<[u8]>>,
    retry_after: Option<u16>,
    body: Cow<'static, str>,
}

impl Answer {
    /// A line of text.
    pub(super) fn text((status, phrase): (u16, &'static str), line: &str) -> Self {
        Answer {
            status,
            phrase,
            content_type: "text/plain; charset=utf-8",
            fields: None,
            // Clients of a dead upstream come back on their own; the hint keeps machines from hammering.
            retry_after: (status == 503).then_some(1),
            body: format!("{line}\n").into(),
        }
    }

    /// To be asked elsewhere, by the same method, for good. `location`: a URL without control characters.
    pub(super) fn redirect(location: &str) -> Self {
        let fields = format!("Location: {location}\r\n");
        Answer {
            fields: Some(fields.into_bytes().into()),
            ..Answer::text((308, "Permanent Redirect"), "this is at https")
        }
    }

    /// Why a request is not served; `None`: there is nobody to tell.
    pub(super) fn refusal(failure: Failure) -> Option<Self> {
        let answer = Answer::text(failure.status()?, failure.reason());
        Some(Answer { retry_after: failure.retry_after().or(answer.retry_after), ..answer })
    }

    /// What the client of a failed request is told, in words that it understands; `None`: there is nobody to tell.
    pub(super) fn to(request: &Request, failure: Failure) -> Option<Self> {
        if failure.ends_session(request.kind) {
            Some(Answer {
                status: 400,
                phrase: "Bad Request",
                content_type: "application/json",
                fields: request.placing.held().and_then(Held::cors),
                retry_after: None,
                body: engine_io::SESSION_UNKNOWN.into(),
            })
        } else {
            Answer::refusal(failure)
        }
    }

    /// Its bytes. The body is left out for HEAD.
    pub(super) fn render(&self, keep_alive: bool, to_head: bool) -> Vec<u8> {
        let Answer { status, phrase, content_type, fields, retry_after, body } = self;
        let connection = if keep_alive { "" } else { "Connection: close\r\n" };
        let retry = retry_after.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
        let allow =
            if *status == 405 { "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\n{retry}{allow}{connection}",
            body.len()
        );
        let body: &[u8] = if to_head { b"" } else { body.as_bytes() };
        let fields = fields.as_deref().unwrap_or_default();
        [head.as_bytes(), fields, b"\r\n", body].concat()
    }
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
        check(Failure::Denied, Some(403));
        check(Failure::TooFast(Wait::of(Duration::ZERO)), Some(429));
        check(Failure::ClientGone, None);
    }

    #[test]
    fn nobody_is_told_to_come_too_early() {
        let check =
            |millis, expected| assert_eq!(Wait::of(Duration::from_millis(millis)).seconds(), expected);
        check(1, 1);
        check(1000, 1);
        check(1001, 2);
        check(120_000, 120);
        check(120_001, 150);
        check(150_000, 150);
        check(3_600_000, 3600);
    }

    #[test]
    fn when_to_come_again() {
        let check = |failure, expected: Option<&str>| {
            let text = String::from_utf8(Answer::refusal(failure).unwrap().render(true, false)).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Retry-After: "));
            assert_eq!(line, expected, "{text}");
        };
        check(Failure::NoInstance, Some("1"));
        check(Failure::TooFast(Wait::of(Duration::from_mins(3))), Some("180"));
        check(Failure::TooManyTunnels, Some("5"));
        check(Failure::Denied, None);
        check(Failure::NoRoute, None);
    }

    #[test]
    fn of_two_failures_the_one_that_says_more_is_told() {
        let check = |first, second: Failure, told| assert_eq!(second.after(first), told);
        let down = Failure::Closed(Reason::Down);
        check(Failure::InstanceClosed, Failure::NoInstance, Failure::InstanceClosed);
        check(Failure::InstanceClosed, Failure::QueueFull, Failure::QueueFull);
        // 503, and not 502: it may come again.
        check(down, Failure::NoInstance, Failure::NoInstance);
        check(down, Failure::ClientGone, Failure::ClientGone);
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let text = Answer::text((503, "Service Unavailable"), "no").render(false, true);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("Content-Length: 3\r\n") && text.ends_with("Connection: close\r\n\r\n"),
            "{text}"
        );
        assert!(text.contains("Retry-After: 1\r\n"));
    }
}
