//! Request heads: what is read out of good ones, and the rule that each bad one breaks.

use super::*;
use crate::codec::{HEADERS_MAX, header_slots, worth_parsing};

mod fields;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, headers: 8 };

/// What a test wants to know of a head, owned.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    host: String,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    rest: Vec<u8>,
}

/// `None`: partial.
fn read(bytes: &[u8]) -> Result<Option<Seen>, BadRequest> {
    match parse(bytes, &mut header_slots(), LIMITS)? {
        Parsed::Partial => Ok(None),
        Parsed::Complete { head, len } => Ok(Some(Seen {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            host: head.host.to_owned(),
            version: head.version,
            framing: head.framing,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
            rest: bytes[len..].to_vec(),
        })),
    }
}

#[track_caller]
fn good(bytes: impl AsRef<[u8]>) -> Seen {
    let bytes = bytes.as_ref();
    let seen = read(bytes).unwrap_or_else(|problem| panic!("{}: {problem:?}", bytes.escape_ascii()));
    let seen = seen.unwrap_or_else(|| panic!("{}: partial", bytes.escape_ascii()));
    for end in 0..bytes.len() - seen.rest.len() {
        let early = read(&bytes[..end]);
        assert_eq!(early, Ok(None), "the first {end} bytes of {}", bytes.escape_ascii());
    }
    seen
}

/// Refused for that rule when it is whole; shorter, refused for any or not yet.
#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, expected: impl Into<BadRequest>) {
    let bytes = bytes.as_ref();
    assert_eq!(read(bytes), Err(expected.into()), "{}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        let early = read(&bytes[..end]);
        assert!(matches!(early, Err(_) | Ok(None)), "the first {end} bytes of {}", bytes.escape_ascii());
    }
}

/// A request whose fields behind Host are these.
fn with_fields(fields: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn with_target(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn a_plain_request() {
    let seen = good("GET /chat/?EIO=4&t= HTTP/1.1\r\nHost: Chat.Example:8080\r\n\r\nrest");
    assert_eq!(
        seen,
        Seen {
            method: "GET".to_owned(),
            target: "/chat/?EIO=4&t=".to_owned(),
            host: "Chat.Example:8080".to_owned(),
            version: Version::Http11,
            framing: Framing::None,
            keep_alive: true,
            expects_continue: false,
            rest: b"rest".to_vec(),
        }
    );
}

#[test]
fn one_empty_line_may_come_first() {
    assert_eq!(good("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest").rest, b"rest");
    bad("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest::EmptyLines);
    bad("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest::EmptyLines);
    bad("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadField::BareLf);
    bad("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadField::BareCr);
    bad(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest::RequestLine);
}

#[test]
fn request_lines() {
    use BadRequest::{Http09, RequestLine, TargetByte, Version};
    let table: &[(&str, BadRequest)] = &[
        ("GET  / HTTP/1.1", RequestLine),
        ("GET /  HTTP/1.1", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        ("GET / HTTP/1.1 HTTP/1.1", RequestLine),
        ("GET\t/ HTTP/1.1", RequestLine),
        ("GET /\tHTTP/1.1", RequestLine),
        ("GET", RequestLine),
        ("G(T / HTTP/1.1", RequestLine),
        ("\u{e9} / HTTP/1.1", RequestLine),
        ("GET /a b HTTP/1.1", RequestLine),
        ("GET /\u{e9} HTTP/1.1", TargetByte),
        ("GET /a#b HTTP/1.1", TargetByte),
        ("GET /", Http09),
        ("GET /index.html", Http09),
        ("GET / HTTP/0.9", Version),
        ("GET / HTTP/1.2", Version),
        ("GET / HTTP/2.0", Version),
        ("GET / HTTP/1.10", Version),
        ("GET / HTTP/01.1", Version),
        ("GET / http/1.1", Version),
        ("GET / HTTP/1", Version),
        ("GET / HTTP/ 1.1", RequestLine),
        ("GET / HTTQ/1.1", Version),
        ("GET / HTTP/1.1x", Version),
        ("PRI * HTTP/2.0", Version),
    ];
    for &(line, expected) in table {
        bad(format!("{line}\r\nHost: a\r\n\r\n"), expected);
    }
    bad(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", TargetByte);
    bad("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version);
}

#[test]
fn methods_are_any_token() {
    for method in ["GET", "POST", "OPTIONS", "get", "M-SEARCH", "X!#$%&'*+-.^_`|~9"] {
        assert_eq!(good(with_target(method, "/")).method, method);
    }
    bad("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", BadRequest::Connect);
    bad("CONNECT / HTTP/1.1\r\n", BadRequest::Connect);
    bad("connect a:443 HTTP/1.1\r\n", BadRequest::Connect);
}

#[test]
fn line_ends() {
    use BadField::{BareCr, BareLf};
    for (bytes, expected) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n", BareLf),
        ("GET / HTTP/1.1\nHost: a\n\n", BareLf),
        ("GET /\nHost: a\n\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BareCr),
        ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", BareCr),
        ("GET / HTTP/1.1\r\nHost:\r a\r\n\r\n", BareCr),
    ] {
        bad(bytes, expected);
    }
    // The body may hold what it likes.
    assert_eq!(good(with_fields("Content-Length: 4\r\n") + "\n\r\n\r").rest, b"\n\r\n\r");
}

#[test]
fn targets() {
    for (method, target, expected) in [
        ("GET", "/", "/"),
        ("GET", "//a//b", "//a//b"),
        ("GET", "/?a=http://b/../c", "/?a=http://b/../c"),
        ("GET", "/a|b{c}\"<>^`", "/a|b{c}\"<>^`"),
        ("OPTIONS", "*", "*"),
        ("GET", "http://a", "/"),
        ("GET", "HTTPS://A/b?c", "/b?c"),
        ("OPTIONS", "http://a", "*"),
        ("OPTIONS", "http://a/", "/"),
    ] {
        assert_eq!(good(with_target(method, target)).target, expected);
    }
    for (method, target, expected) in [
        ("GET", "*", BadRequest::Target),
        ("options", "*", BadRequest::Target),
        ("OPTIONS", "*x", BadRequest::Target),
        ("GET", "a", BadRequest::Target),
        ("GET", "a/b", BadRequest::Target),
        ("GET", "?a", BadRequest::Target),
        ("GET", "a:80", BadRequest::Target),
        ("GET", "http:/a", BadRequest::Target),
        ("GET", "ws://a/", BadRequest::Target),
        ("GET", "ftp://a/", BadRequest::Target),
        ("GET", "http://a?b", BadRequest::Target),
        ("GET", "http://", BadRequest::Authority),
        ("GET", "http:///a", BadRequest::Authority),
        ("GET", "http://u@a/", BadRequest::Authority),
        ("GET", "http://a,b/", BadRequest::Authority),
        ("GET", "http://a\\b/", BadRequest::Authority),
        ("GET", "http://a#/", BadRequest::TargetByte),
    ] {
        bad(with_target(method, target), expected);
    }
}

#[test]
fn host_against_the_target() {
    let with = |target, host| format!("GET http://{target}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(good(with("A.b:80", "a.B:80")).host, "A.b:80");
    assert_eq!(good(with("[::1]", "[::1]")).host, "[::1]");
    for (target, host) in [("a", "b"), ("a", "a:80"), ("a:80", "a"), ("a.", "a"), ("[::1]", "[0::1]")] {
        bad(with(target, host), BadRequest::HostMismatch);
    }
}

#[test]
fn limits_of_bytes_and_fields() {
    let of_len = |len: usize| {
        let empty = with_fields("X: \r\n");
        with_fields(&format!("X: {}\r\n", "x".repeat(len - empty.len())))
    };
    assert_eq!(good(of_len(LIMITS.bytes)).rest, b"");
    assert_eq!(good(of_len(LIMITS.bytes) + "more").rest, b"more");
    bad(of_len(LIMITS.bytes + 1), BadRequest::HeadTooLarge);
    // Nothing wrong but no end in sight.
    bad("G".repeat(LIMITS.bytes), BadRequest::HeadTooLarge);
    bad(of_len(2 * LIMITS.bytes), BadRequest::HeadTooLarge);
    assert_eq!(read("G".repeat(LIMITS.bytes - 1).as_bytes()), Ok(None));

    assert!(read(with_fields(&"X:\r\n".repeat(LIMITS.headers - 1)).as_bytes()).is_ok());
    bad(with_fields(&"X:\r\n".repeat(LIMITS.headers)), BadRequest::HeadTooLarge);
    // A limit above the room is the room.
    let limits = HeadLimits { bytes: 65536, headers: usize::MAX };
    let fits = with_fields(&"X:\r\n".repeat(HEADERS_MAX - 1));
    assert!(parse(fits.as_bytes(), &mut header_slots(), limits).is_ok());
    let over = with_fields(&"X:\r\n".repeat(HEADERS_MAX));
    assert_eq!(parse(over.as_bytes(), &mut header_slots(), limits).unwrap_err(), BadRequest::HeadTooLarge);
}

#[test]
fn a_bad_start_is_refused_before_the_rest_is_there() {
    for (start, expected) in [
        ("GET / HTTP/2", BadRequest::Version),
        ("GET /../ H", BadRequest::DotSegment),
        ("CONNECT a:1 ", BadRequest::Connect),
        ("GET / HTTP/1.1\r\nHost: a\r\nX Y", BadField::Name.into()),
        ("GET / HTTP/1.1\r\nHost: a\r\n X", BadField::ObsFold.into()),
        ("GET / HTTP/1.1\r\nHost: a\n", BadField::BareLf.into()),
        ("\x16\x03\x01\x02", BadField::ControlCharacter.into()),
    ] {
        bad(start, expected);
    }
}

#[test]
fn a_head_that_dribbles_is_parsed_once_a_line() {
    let head = with_fields("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\nZ: zzzzzzzzzzzzzzzzz\r\n");
    let mut parses = 0;
    for end in 1..=head.len() {
        let buffer = &head.as_bytes()[..end];
        if worth_parsing(buffer, end - 1, LIMITS) {
            parses += 1;
            assert_eq!(read(buffer).unwrap().is_some(), end == head.len());
        }
    }
    assert_eq!(parses, head.lines().count());
    assert!(worth_parsing(&[b'x'; 1024], 1023, LIMITS), "the limit is reached");
    assert!(!worth_parsing(b"x", 7, LIMITS), "a buffer that shrank has nothing new");
}

#[test]
fn reasons_are_told_apart() {
    let mut reasons: Vec<_> = [
        BadRequest::HeadTooLarge,
        BadRequest::Connect,
        BadRequest::EmptyLines,
        BadRequest::RequestLine,
        BadRequest::Http09,
        BadRequest::Version,
        BadRequest::TargetByte,
        BadRequest::Target,
        BadRequest::DotSegment,
        BadRequest::Authority,
        BadRequest::MissingHost,
        BadRequest::RepeatedHost,
        BadRequest::Host,
        BadRequest::HostMismatch,
        BadField::BareLf.into(),
        BadField::TransferEncoding.into(),
    ]
    .map(BadRequest::reason)
    .to_vec();
    let all = reasons.len();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), all);
}
