//! What a check asks of an instance, and whether the answer is good. Pure: bytes and heads.

use std::ops::RangeInclusive;

use crate::codec::handshake::{self, Accept};
use crate::codec::response::ResponseHead;
use crate::config::model::Check;

/// The session that "auto" asks for: nobody has it.
const NO_SESSION: &str = "stickyd-check";

/// A request, and what is expected of its answer.
#[derive(Debug)]
pub(super) struct Question<'c> {
    pub(super) request: String,
    expected: Expected<'c>,
}

#[derive(Debug)]
enum Expected<'c> {
    BelowServerError,
    /// One of these.
    Codes(&'c [RangeInclusive<u16>]),
    Switch(Accept),
    OpenPacket,
}

/// What is made of an answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it should be.
    Good,
    /// It opens a WebSocket, as it should.
    Switched,
    /// It is as it should be if its body begins with an open packet.
    GoodIfOpened,
    /// It is not: why.
    Unfit(String),
}

impl<'c> Question<'c> {
    /// Of a check; `None`: it asks nothing, a connection is enough. `host`: the instance's address. `random`: the key of a
    /// WebSocket.
    pub(super) fn of(check: &'c Check, host: &str, random: [u8; 16]) -> Option<Self> {
        let get = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: stickyd-check\r\n{fields}\r\n")
        };
        Some(match check {
            Check::Off | Check::Tcp => return None,
            Check::Speaks { path } => Question {
                request: get(&format!("{}&sid={NO_SESSION}", polling(path)), "Connection: close\r\n"),
                expected: Expected::BelowServerError,
            },
            Check::Http { path, expect } => {
                Question { request: get(path, "Connection: close\r\n"), expected: Expected::Codes(expect) }
            }
            Check::WebSocket { path } => {
                let key = handshake::key(random);
                let fields = format!(
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: {key}\r\n"
                );
                let accept = handshake::accept(key.as_bytes());
                Question { request: get(path, &fields), expected: Expected::Switch(accept) }
            }
            Check::EngineIo { path } => Question {
                request: get(&polling(path), "Accept-Encoding: identity\r\n"),
                expected: Expected::OpenPacket,
            },
        })
    }

    /// What is made of this answer, which is no interim one.
    pub(super) fn judge(&self, head: &ResponseHead<'_, '_>) -> Verdict {
        let good = |good: bool| {
            if good { Verdict::Good } else { Verdict::Unfit(format!("answered {}", head.status)) }
        };
        match &self.expected {
            Expected::BelowServerError => good(head.status < 500),
            Expected::Codes(expect) => good(expect.iter().any(|codes| codes.contains(&head.status))),
            Expected::Switch(accept) => match head.status {
                101 if handshake::switches(head.headers, "websocket", Some(accept)) => Verdict::Switched,
                101 => Verdict::Unfit("answered with a 101 that does not fit the handshake".to_owned()),
                _ => Verdict::Unfit(format!("answered {}, not 101", head.status)),
            },
            Expected::OpenPacket if head.status == 200 => Verdict::GoodIfOpened,
            Expected::OpenPacket => good(false),
        }
    }
}

/// The request that ends an Engine.IO session: the packet `close`, as its client would send it.
pub(super) fn close_session(check: &Check, host: &str, sid: &str) -> Option<String> {
    let Check::EngineIo { path } = check else { return None };
    let sid: String = form_urlencoded::byte_serialize(sid.as_bytes()).collect();
    Some(format!(
        "POST {}&sid={sid} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: stickyd-check\r\nConnection: close\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 1\r\n\r\n1",
        polling(path)
    ))
}

/// The polling transport at `path`, which clients end with a slash whatever is written.
fn polling(path: &str) -> String {
    format!("{}/?EIO=4&transport=polling", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::response;
    use crate::codec::{HeadLimits, Parsed, header_slots};

    fn check(check: &Check, answer: &str, expected: &Verdict) {
        let question = Question::of(check, "a:1", *b"the sample nonce").unwrap();
        let text = format!("HTTP/1.1 {answer}\r\n\r\n");
        let mut slots = header_slots();
        let limits = HeadLimits { bytes: 4096, headers: 64 };
        let Ok(Parsed::Complete { head, .. }) = response::parse(text.as_bytes(), &mut slots, limits, false)
        else {
            panic!("not clean HTTP: {text}");
        };
        assert_eq!(&question.judge(&head), expected, "{answer}");
    }

    #[test]
    fn answers_and_what_is_made_of_them() {
        use Verdict::{Good, GoodIfOpened, Switched};
        let unfit = |text: &str| Verdict::Unfit(text.to_owned());
        let path = "/".to_owned();

        let speaks = Check::Speaks { path: path.clone() };
        for status in ["200 OK", "400 Bad Request", "404 Not Found", "426 Upgrade Required"] {
            check(&speaks, status, &Good);
        }
        check(&speaks, "500 Internal Server Error", &unfit("answered 500"));
        check(&speaks, "503 Service Unavailable", &unfit("answered 503"));

        let http = Check::Http { path: path.clone(), expect: vec![200..=200, 300..=399] };
        check(&http, "200 OK", &Good);
        check(&http, "302 Found", &Good);
        check(&http, "204 No Content", &unfit("answered 204"));
        check(&http, "500 No", &unfit("answered 500"));

        let websocket = Check::WebSocket { path: path.clone() };
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:";
        let switch = format!("101 Switching Protocols\r\n{fields} s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        check(&websocket, &switch, &Switched);
        let other = format!("101 Switching Protocols\r\n{fields} AAAALMBiTxaQ9kYGzzhZRbK+xOo=");
        check(&websocket, &other, &unfit("answered with a 101 that does not fit the handshake"));
        check(&websocket, "200 OK", &unfit("answered 200, not 101"));

        let engine_io = Check::EngineIo { path };
        check(&engine_io, "200 OK", &GoodIfOpened);
        check(&engine_io, "400 Bad Request", &unfit("answered 400"));
    }

    #[test]
    fn requests() {
        let check = |check: &Check, first: &str, has: &str| {
            let question = Question::of(check, "[::1]:3000", [0; 16]).unwrap();
            assert_eq!(question.request.lines().next(), Some(first));
            for field in ["\r\nHost: [::1]:3000\r\n", "\r\nUser-Agent: stickyd-check\r\n", has, "\r\n\r\n"] {
                assert!(question.request.contains(field), "{}", question.request);
            }
            // And our own codec takes it for clean.
            let mut slots = header_slots();
            let limits = HeadLimits { bytes: 4096, headers: 64 };
            let parsed =
                crate::codec::request::parse(question.request.as_bytes(), &mut slots, limits).unwrap();
            assert!(matches!(parsed, Parsed::Complete { len, .. } if len == question.request.len()));
        };
        let close = "\r\nConnection: close\r\n";
        for path in ["/socket.io", "/socket.io/"] {
            let first = "GET /socket.io/?EIO=4&transport=polling&sid=stickyd-check HTTP/1.1";
            check(&Check::Speaks { path: path.into() }, first, close);
        }
        check(&Check::Http { path: "/healthz".into(), expect: vec![] }, "GET /healthz HTTP/1.1", close);
        check(
            &Check::WebSocket { path: "/ws".into() },
            "GET /ws HTTP/1.1",
            "\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        );
        check(
            &Check::EngineIo { path: "/socket.io/".into() },
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1",
            "\r\nAccept-Encoding: identity\r\n",
        );
        assert!(Question::of(&Check::Tcp, "a:1", [0; 16]).is_none());
        let close = close_session(&Check::EngineIo { path: "/e/".into() }, "a:1", "a+b &c").unwrap();
        assert!(close.starts_with("POST /e/?EIO=4&transport=polling&sid=a%2Bb+%26c HTTP/1.1\r\n"), "{close}");
    }
}
