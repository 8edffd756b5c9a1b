//! Properties of both head parsers, on heads that are nearly good: valid ones with a few bytes changed.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    HeadLimits, Header, Parsed, Version, body::Framing, fields::BadField, header_slots, request, response,
};

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, headers: 64 };

const REQUESTS: &[&str] = &[
    "GET /a/b.c?d=e HTTP/1.1\r\nHost: a.b:80\r\nAccept: */*\r\n\r\n",
    "\r\nPOST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /%2ea HTTP/1.0\r\nConnection: keep-alive, x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET http://a/b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\nGET / HTTP/1.1\r\n",
];

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y z\r\n\r\nhello",
    "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nrest",
    "HTTP/1.1 304\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\u{81}\u{0}",
];

/// One of `heads` with up to three pieces put in, over, or out.
fn nearly(heads: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b"\0",
        b"\x7f",
        b":",
        b",",
        b";",
        b"#",
        b"@",
        b"%",
        b"%2e",
        b".",
        b"..",
        b"/",
        b"\\",
        b"\xc3\xa9",
        b"\xff",
        b"0",
        b"5",
        b"+",
        b"1.1",
        b"x",
        b"\r\n\r\n",
        b"\r\n X",
        b"\r\nHost: b",
        b"\r\nContent-Length: 5",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nConnection: close",
        b"HTTP/1.1",
    ];
    let edit = (any::<prop::sample::Index>(), select(PIECES), 0..3_usize);
    (select(heads), vec(edit, 0..4)).prop_map(|(head, edits)| {
        let mut bytes = head.as_bytes().to_vec();
        for (at, piece, removed) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        bytes
    })
}

/// What must hold for each head that was accepted, whatever it was made of.
fn check_clean(head: &[u8], headers: &[Header<'_>], version: Version, framing: Framing) {
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r', "bare LF"),
            b'\r' => assert_eq!(head[at + 1], b'\n', "bare CR"),
            _ => assert!(byte == b'\t' || !byte.is_ascii_control(), "control character"),
        }
    }
    assert!(head.ends_with(b"\r\n\r\n"));
    let inner = &head[..head.len() - 4];
    assert_eq!(
        memchr::memmem::find(inner.get(2..).unwrap_or_default(), b"\r\n\r\n"),
        None,
        "ends at the first empty line"
    );
    assert_eq!(memchr::memmem::find(head, b"\r\n "), None, "no folded line");
    assert_eq!(memchr::memmem::find(head, b"\r\n\t"), None, "no folded line");
    for field in headers {
        assert!(
            !field.name.is_empty() && field.name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
        );
        assert_eq!(field.value.trim_ascii(), field.value, "trimmed");
    }
    let count = |name| headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert!(framing != Framing::Chunked || version == Version::Http11);
}

fn check_request(bytes: &[u8]) {
    match request::parse(bytes, &mut header_slots(), LIMITS) {
        Ok(Parsed::Complete { head, len }) => {
            let text = bytes[..len].strip_prefix(b"\r\n").unwrap_or(&bytes[..len]);
            check_clean(text, head.headers, head.version, head.framing);
            assert!(head.target.starts_with('/') || (head.target == "*" && head.method == "OPTIONS"));
            assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
            assert!(head.path().split('/').all(|segment| segment != "." && segment != ".."));
            assert!(head.host.bytes().all(|byte| byte.is_ascii_graphic() && !b"@#,/\\%".contains(&byte)));
            assert!(!head.host.is_empty() || head.version == Version::Http10);
            assert_ne!(head.framing, Framing::UntilClose);
            for end in 0..len {
                let mut slots = header_slots();
                let early = request::parse(&bytes[..end], &mut slots, LIMITS);
                assert!(matches!(early, Ok(Parsed::Partial)), "a part of a good head is partial");
            }
        }
        Err(problem) => {
            assert_ne!(problem, BadField::Malformed.into(), "every refusal has its rule");
            let more = [bytes, b" x\r\n\r\n"].concat();
            assert!(request::parse(&more, &mut header_slots(), LIMITS).is_err(), "refused stays refused");
        }
        Ok(Parsed::Partial) => {}
    }
}

fn check_answer(bytes: &[u8], to_head: bool) {
    match response::parse(bytes, &mut header_slots(), LIMITS, to_head) {
        Ok(Parsed::Complete { head, len }) => {
            check_clean(&bytes[..len], head.headers, head.version, head.framing);
            assert!((100..=999).contains(&head.status));
            assert!(head.reason.is_ascii());
            assert!(!head.keep_alive || head.framing != Framing::UntilClose);
            for end in 0..len {
                let mut slots = header_slots();
                let early = response::parse(&bytes[..end], &mut slots, LIMITS, to_head);
                assert!(matches!(early, Ok(Parsed::Partial)), "a part of a good head is partial");
            }
        }
        Err(problem) => {
            assert_ne!(problem, BadField::Malformed.into(), "every refusal has its rule");
            let more = [bytes, b" x\r\n\r\n"].concat();
            assert!(
                response::parse(&more, &mut header_slots(), LIMITS, to_head).is_err(),
                "refused stays refused"
            );
        }
        Ok(Parsed::Partial) => {}
    }
}

#[test]
fn the_heads_that_are_changed_are_good() {
    for bytes in REQUESTS {
        let parsed = request::parse(bytes.as_bytes(), &mut header_slots(), LIMITS).map(|_| ());
        assert_eq!(parsed, Ok(()), "{bytes}");
    }
    for bytes in ANSWERS {
        let parsed = response::parse(bytes.as_bytes(), &mut header_slots(), LIMITS, false).map(|_| ());
        assert_eq!(parsed, Ok(()), "{bytes}");
    }
}

/// httparse refuses a name or a version at the CR that follows it, before the LF is there.
#[test]
fn a_word_cut_short_by_a_cr() {
    check_answer(b"HTTP/1.1 200 OK\r\nX\r", false);
    check_request(b"GET / HTTP/1.1\r\nX\r");
    check_answer(b"HTTP/1.1\r", false);
    check_request(b"GET /\r");
    check_request(b"GET / H\r");
    check_request(b"GET / HTTP/1.1\r\n\r");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn requests_that_are_nearly_good(bytes in nearly(REQUESTS)) {
        check_request(&bytes);
    }

    #[test]
    fn answers_that_are_nearly_good(bytes in nearly(ANSWERS), to_head: bool) {
        check_answer(&bytes, to_head);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        check_request(&bytes);
        check_answer(&bytes, false);
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        method in "[A-Z]{1,8}",
        segments in vec("[a-z0-9_~-]{0,8}", 1..4),
        query in "[!-\"$-~]{0,20}",
        host in "[a-z0-9]{1,9}(:[1-9][0-9]{0,3})?",
        fields in vec(("[!#$%&'*+.^_`|~A-Za-z0-9-]{1,12}-x", "([!-~]([ -~\t]{0,30}[!-~])?)?"), 0..10),
        body in vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(method != "CONNECT");
        let target = format!("/{}?{query}", segments.join("/"));
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", lines.concat());
        let bytes = [text.as_bytes(), &body].concat();
        let mut slots = header_slots();
        let parsed = request::parse(&bytes, &mut slots, LIMITS);
        let Ok(Parsed::Complete { head, len }) = parsed else { panic!("{parsed:?}") };
        prop_assert_eq!(len, text.len());
        prop_assert_eq!((head.method, head.target, head.host), (&*method, &*target, &*host));
        let read: Vec<_> = head.headers[1..].iter().map(|field| (field.name, field.value)).collect();
        let written: Vec<_> = fields.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
        prop_assert_eq!(read, written);
    }
}
