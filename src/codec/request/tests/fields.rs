//! What request heads say in their fields: Host, lengths, the connection; and field lines that are none.

use super::*;

#[test]
fn fields_are_trimmed_ordered_and_found_in_any_case() {
    let bytes =
        b"GET /a/b?c HTTP/1.1\r\nhOsT:a\r\nX-One: \t1 \t\r\nEmpty:\r\nx-one: 2\r\nBytes: \xff\xfe\r\n\r\n";
    let mut slots = header_slots();
    let Parsed::Complete { head, .. } = parse(bytes, &mut slots, LIMITS).unwrap() else { panic!("partial") };
    let fields: Vec<_> = head.headers.iter().map(|field| (field.name, field.value)).collect();
    let expected: [(&str, &[u8]); 5] =
        [("hOsT", b"a"), ("X-One", b"1"), ("Empty", b""), ("x-one", b"2"), ("Bytes", b"\xff\xfe")];
    assert_eq!(fields, expected);
    assert_eq!(head.header("x-ONE"), Some(&b"1"[..]));
    assert_eq!(head.header("x-two"), None);
    assert_eq!(head.path(), "/a/b");
}

#[test]
fn field_lines() {
    use BadField::{ControlCharacter, EmptyName, Name, NoColon, ObsFold, SpaceBeforeColon};
    for (field, expected) in [
        (" X: b", ObsFold),
        ("\tX: b", ObsFold),
        ("X: a\r\n b", ObsFold),
        ("X: a\r\n\tb: c", ObsFold),
        (" ", ObsFold),
        ("X : b", SpaceBeforeColon),
        ("X\t: b", SpaceBeforeColon),
        ("Transfer-Encoding : chunked", SpaceBeforeColon),
        (": b", EmptyName),
        (":", EmptyName),
        ("X", NoColon),
        ("Content-Length 5", NoColon),
        ("X Y: b", Name),
        ("X\u{e9}: b", Name),
        ("X(: b", Name),
        ("\"X\": b", Name),
        ("X@y: b", Name),
        ("X\0: b", ControlCharacter),
        ("X: a\0b", ControlCharacter),
        ("X: \u{7f}", ControlCharacter),
        ("X: \u{b}", ControlCharacter),
        ("X: \u{8}b", ControlCharacter),
        ("\0", ControlCharacter),
    ] {
        bad(with_fields(&format!("{field}\r\n")), expected);
    }
    bad("GET / HTTP/1.1\r\n Host: a\r\n\r\n", ObsFold);
    bad("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", ControlCharacter);
    bad("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", ControlCharacter);
}

/// httparse reads values and targets with vector code of three widths; a byte must not slip through one of them.
#[test]
fn each_byte_at_each_place_of_a_value_a_name_and_a_target() {
    for byte in 0..=u8::MAX {
        for place in 0..40 {
            let mut word = [b'x'; 40];
            word[place] = byte;
            let in_value = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &word[..], b"\r\n\r\n"].concat();
            let value_fits = byte == b'\t' || byte >= b' ' && byte != 0x7f;
            assert_eq!(read(&in_value).is_ok(), value_fits, "{byte:#x} at {place} of a value");

            let in_name = [b"GET / HTTP/1.1\r\nHost: a\r\n", &word[..], b": x\r\n\r\n"].concat();
            let name_fits = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            // A colon ends the name: then `x` and what follows is the value.
            let name_ends = byte == b':' && place > 0;
            assert_eq!(read(&in_name).is_ok(), name_fits || name_ends, "{byte:#x} at {place} of a name");

            let in_target = [b"GET /", &word[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let target_fits = byte.is_ascii_graphic() && byte != b'#';
            assert_eq!(read(&in_target).is_ok(), target_fits, "{byte:#x} at {place} of a target");
        }
    }
}

#[test]
fn hosts() {
    for host in [
        "a",
        "A.b-c_d~e",
        "1.2.3.4",
        "a:0",
        "a:80",
        "a:65535",
        "[::1]",
        "[2001:DB8::1]:443",
        "[::ffff:1.2.3.4]",
    ] {
        assert_eq!(good(format!("GET / HTTP/1.1\r\nHost: \t{host} \r\n\r\n")).host, host);
    }
    for host in [
        "",
        " ",
        "a b",
        "u@a",
        "a#b",
        "a,b",
        "a/b",
        "a?b",
        "a\\b",
        "\u{e4}",
        "a%2eb",
        "a;b",
        "a=b",
        "a!b",
        "*",
        ":",
        ":80",
        "a:",
        "a:x",
        "a:8x",
        "a:+8",
        "a:-1",
        "a:65536",
        "a:000080",
        "a:80:80",
        "a::80",
        "[",
        "[]",
        "[::1",
        "[::1]a",
        "[::1]:",
        "[::1]:x",
        "[::g]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "::1",
        "[::1]]",
        "http://a",
        "a\tb",
    ] {
        bad(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), BadRequest::Host);
    }
    bad(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", BadRequest::Host);
    bad("GET / HTTP/1.1\r\n\r\n", BadRequest::MissingHost);
    bad("GET http://a/ HTTP/1.1\r\n\r\n", BadRequest::MissingHost);
    bad("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", BadRequest::RepeatedHost);
    bad("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", BadRequest::RepeatedHost);
    bad("GET / HTTP/1.0\r\nHost:\r\n\r\n", BadRequest::Host);
    assert_eq!(good("GET / HTTP/1.0\r\n\r\n").host, "");
    assert_eq!(good("GET http://a/ HTTP/1.0\r\n\r\n").host, "a");
}

#[test]
fn framing() {
    for (fields, expected) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("content-length: \t12 \r\n", Framing::Length(12)),
        ("Content-Length: 007\r\n", Framing::Length(7)),
        ("Content-Length: 9999999999999999999\r\n", Framing::Length(9_999_999_999_999_999_999)),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("transfer-ENCODING:  Chunked \r\n", Framing::Chunked),
        ("X-Content-Length: 5\r\nContent-Length-X: 6\r\n", Framing::None),
    ] {
        assert_eq!(good(with_fields(fields)).framing, expected, "{fields}");
    }
}

#[test]
fn bad_framing() {
    use BadField::{
        BothLengths, ContentLength, RepeatedContentLength, TransferEncoding, TransferEncodingInHttp10,
    };
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "0x5",
        "5.0",
        "5e1",
        "a",
        "5;",
        "\"5\"",
        "18446744073709551616",
        "00000000000000000005",
        "\u{663}",
    ] {
        bad(with_fields(&format!("Content-Length: {value}\r\n")), ContentLength);
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: ,5\r\n",
    ] {
        bad(with_fields(fields), RepeatedContentLength);
    }
    for value in [
        "",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\u{a0}",
        "chunke",
        "chun ked",
        "\u{212a}hunked",
    ] {
        bad(with_fields(&format!("Transfer-Encoding: {value}\r\n")), TransferEncoding);
    }
    bad(with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), TransferEncoding);
    bad(with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), TransferEncoding);
    bad(with_fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), BothLengths);
    bad(with_fields("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), BothLengths);
    bad("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingInHttp10);
}

#[test]
fn keep_alive() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive ,\t,Close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: Upgrade\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: not close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: x,keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: Upgrade\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ] {
        let seen = good(format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(seen.keep_alive, expected, "{version} {connection}");
    }
}

#[test]
fn expectations() {
    for (version, value, expected) in [
        ("1.1", "100-continue", true),
        ("1.1", "100-Continue", true),
        ("1.1", "x, 100-continue", true),
        ("1.1", "100-continued", false),
        ("1.0", "100-continue", false),
    ] {
        let seen = good(format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n"));
        assert_eq!(seen.expects_continue, expected, "{version} {value}");
    }
}
