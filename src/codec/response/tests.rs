//! Heads of answers: what is read out of good ones, and the rule that each bad one breaks.

use super::*;
use crate::codec::header_slots;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, headers: 8 };

/// What a test wants to know of a head, owned.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    reason: String,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    rest: Vec<u8>,
}

/// `None`: partial.
fn read(bytes: &[u8], to_head: bool) -> Result<Option<Seen>, BadResponse> {
    match parse(bytes, &mut header_slots(), LIMITS, to_head)? {
        Parsed::Partial => Ok(None),
        Parsed::Complete { head, len } => Ok(Some(Seen {
            status: head.status,
            reason: head.reason.to_owned(),
            version: head.version,
            framing: head.framing,
            keep_alive: head.keep_alive,
            rest: bytes[len..].to_vec(),
        })),
    }
}

#[track_caller]
fn good_to(to_head: bool, bytes: impl AsRef<[u8]>) -> Seen {
    let bytes = bytes.as_ref();
    let seen = read(bytes, to_head).unwrap_or_else(|problem| panic!("{}: {problem:?}", bytes.escape_ascii()));
    let seen = seen.unwrap_or_else(|| panic!("{}: partial", bytes.escape_ascii()));
    for end in 0..bytes.len() - seen.rest.len() {
        let early = read(&bytes[..end], to_head);
        assert_eq!(early, Ok(None), "the first {end} bytes of {}", bytes.escape_ascii());
    }
    seen
}

#[track_caller]
fn good(bytes: impl AsRef<[u8]>) -> Seen {
    good_to(false, bytes)
}

/// Refused for that rule when it is whole; shorter, refused for any or not yet.
#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, expected: impl Into<BadResponse>) {
    let bytes = bytes.as_ref();
    assert_eq!(read(bytes, false), Err(expected.into()), "{}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        let early = read(&bytes[..end], false);
        assert!(matches!(early, Err(_) | Ok(None)), "the first {end} bytes of {}", bytes.escape_ascii());
    }
}

fn with_status(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}\r\n")
}

#[test]
fn a_plain_answer() {
    let bytes = b"HTTP/1.1 200 Very OK\r\nContent-Length: 4\r\nX-One:  \xff \r\n\r\nbodynext";
    assert_eq!(
        good(bytes),
        Seen {
            status: 200,
            reason: "Very OK".to_owned(),
            version: Version::Http11,
            framing: Framing::Length(4),
            keep_alive: true,
            rest: b"bodynext".to_vec(),
        }
    );
    let mut slots = header_slots();
    let Parsed::Complete { head, .. } = parse(bytes, &mut slots, LIMITS, false).unwrap() else {
        panic!("partial")
    };
    assert_eq!(head.headers.len(), 2);
    assert_eq!(head.header("x-one"), Some(&b"\xff"[..]));
    assert_eq!(head.header("x-two"), None);
}

#[test]
fn good_status_lines() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.1 100 Continue", 100, "Continue"),
        ("HTTP/1.1 999 \tx  y", 999, "\tx  y"),
        ("HTTP/1.0 404 Not Found", 404, "Not Found"),
        ("HTTP/1.1 200 \u{e9}", 200, ""),
    ] {
        let seen = good(format!("{line}\r\n\r\n"));
        assert_eq!((seen.status, &*seen.reason), (status, reason), "{line}");
    }
}

#[test]
fn bad_status_lines() {
    use BadResponse::{Status, StatusLine, Version};
    for (line, expected) in [
        ("HTTP/1.1", StatusLine),
        ("HTTP/1.1 ", Status),
        ("HTTP/1.1  200 OK", Status),
        ("HTTP/1.1 20 OK", Status),
        ("HTTP/1.1 2000 OK", Status),
        ("HTTP/1.1 099 OK", Status),
        ("HTTP/1.1 000 OK", Status),
        ("HTTP/1.1 +20 OK", Status),
        ("HTTP/1.1 2x0 OK", Status),
        ("HTTP/1.1 200OK", Status),
        ("HTTP/1.1 200\tOK", Status),
        ("HTTP/1.1\t200 OK", Version),
        ("HTTP/1.2 200 OK", Version),
        ("HTTP/2 200 OK", Version),
        ("HTTP/0.9 200 OK", Version),
        ("http/1.1 200 OK", Version),
        ("ICY 200 OK", Version),
        (" HTTP/1.1 200 OK", Version),
        ("<html>", Version),
        ("SSH-2.0-OpenSSH_9.2", Version),
    ] {
        bad(format!("{line}\r\n\r\n"), expected);
    }
}

#[test]
fn empty_lines_before_an_answer_are_refused() {
    bad("\r\nHTTP/1.1 200 OK\r\n\r\n", BadResponse::StatusLine);
    bad("\nHTTP/1.1 200 OK\r\n\r\n", BadField::BareLf);
}

#[test]
fn rules_of_fields_hold_for_answers_too() {
    use BadField::{BareCr, BareLf, ControlCharacter, EmptyName, Name, NoColon, ObsFold, SpaceBeforeColon};
    for (bytes, expected) in [
        ("HTTP/1.1 200 OK\nX: a\r\n\r\n", BareLf),
        ("HTTP/1.1 200\nX: a\r\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nX: a\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nX: a\r\n\n", BareLf),
        ("HTTP/1.1 200 O\rK\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", BareCr),
        ("HTTP/1.1 200 O\0K\r\n\r\n", ControlCharacter),
        ("HTTP/1.1 200 O\u{7f}K\r\n\r\n", ControlCharacter),
        ("HTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\n", ControlCharacter),
        ("HTTP/1.1 200 OK\r\n X: a\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", EmptyName),
        ("HTTP/1.1 200 OK\r\nX\r\n\r\n", NoColon),
        ("HTTP/1.1 200 OK\r\nX\u{e9}: a\r\n\r\n", Name),
    ] {
        bad(bytes, expected);
    }
}

#[test]
fn framing() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, to_head, fields, expected) in [
        ("200", false, length, Framing::Length(5)),
        ("200", false, "Content-Length: 0\r\n", Framing::Length(0)),
        ("200", false, chunked, Framing::Chunked),
        ("200", false, "", Framing::UntilClose),
        ("404", false, length, Framing::Length(5)),
        ("205", false, length, Framing::Length(5)),
        ("999", false, chunked, Framing::Chunked),
        ("200", true, length, Framing::None),
        ("200", true, chunked, Framing::None),
        ("200", true, "", Framing::None),
        ("100", false, "", Framing::None),
        ("101", false, "", Framing::None),
        ("103", false, "Link: x\r\n", Framing::None),
        ("199", false, "", Framing::None),
        ("204", false, "", Framing::None),
        ("204", false, "Content-Length: 0\r\n", Framing::None),
        ("304", false, "", Framing::None),
        ("304", false, length, Framing::None),
        ("304", false, chunked, Framing::None),
    ] {
        let seen = good_to(to_head, with_status(status, fields));
        assert_eq!(seen.framing, expected, "{status} {to_head} {fields}");
    }
}

#[test]
fn bad_framing() {
    for (status, fields, expected) in [
        ("100", "Content-Length: 0\r\n", BadResponse::LengthWithoutBody),
        ("101", "Content-Length: 5\r\n", BadResponse::LengthWithoutBody),
        ("103", "Transfer-Encoding: chunked\r\n", BadResponse::LengthWithoutBody),
        ("204", "Content-Length: 5\r\n", BadResponse::LengthWithoutBody),
        ("204", "Transfer-Encoding: chunked\r\n", BadResponse::LengthWithoutBody),
        ("200", "Content-Length: x\r\n", BadField::ContentLength.into()),
        ("304", "Content-Length: x\r\n", BadField::ContentLength.into()),
        ("200", "Content-Length: 5\r\nContent-Length: 5\r\n", BadField::RepeatedContentLength.into()),
        ("200", "Content-Length: 5, 5\r\n", BadField::RepeatedContentLength.into()),
        ("200", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadField::BothLengths.into()),
        ("304", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadField::BothLengths.into()),
        ("200", "Transfer-Encoding: gzip, chunked\r\n", BadField::TransferEncoding.into()),
        ("200", "Transfer-Encoding: identity\r\n", BadField::TransferEncoding.into()),
    ] {
        bad(with_status(status, fields), expected);
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    bad(old, BadField::TransferEncodingInHttp10);
    let both = with_status("200", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    assert_eq!(read(both.as_bytes(), true), Err(BadField::BothLengths.into()), "also to HEAD");
}

#[test]
fn keep_alive() {
    let length = "Content-Length: 5\r\n";
    for (version, status, fields, expected) in [
        ("1.1", "200", length, true),
        ("1.1", "200", "", false),
        ("1.1", "204", "", true),
        ("1.1", "304", "", true),
        ("1.1", "101", "Connection: Upgrade\r\n", false),
        ("1.1", "100", "", true),
        ("1.1", "200", "Content-Length: 5\r\nConnection: close\r\n", false),
        ("1.1", "200", "Content-Length: 5\r\nConnection: keep-alive, Close\r\n", false),
        ("1.0", "200", length, false),
        ("1.0", "200", "Content-Length: 5\r\nConnection: keep-alive\r\n", true),
        ("1.0", "200", "Connection: keep-alive\r\n", false),
    ] {
        let seen = good(format!("HTTP/{version} {status} x\r\n{fields}\r\n"));
        assert_eq!(seen.keep_alive, expected, "{version} {status} {fields}");
    }
    assert!(good_to(true, with_status("200", "")).keep_alive, "an answer to HEAD needs no length");
}

#[test]
fn limits_of_bytes_and_fields() {
    let of_len = |len: usize| {
        let empty = with_status("200", "X: \r\n");
        with_status("200", &format!("X: {}\r\n", "x".repeat(len - empty.len())))
    };
    assert_eq!(good(of_len(LIMITS.bytes) + "body").rest, b"body");
    bad(of_len(LIMITS.bytes + 1), BadResponse::HeadTooLarge);
    assert!(read(with_status("200", &"X:\r\n".repeat(LIMITS.headers)).as_bytes(), false).is_ok());
    bad(with_status("200", &"X:\r\n".repeat(LIMITS.headers + 1)), BadResponse::HeadTooLarge);
}
