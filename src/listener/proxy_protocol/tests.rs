use proptest::prelude::*;

use super::*;

/// What a whole header comes to; and that it comes to nothing before it is whole, whatever stands behind it.
fn check(header: &[u8], expected: Result<Option<&str>, Bad>) {
    let expected = expected.map(|source| Parsed::Header {
        len: header.len(),
        source: source.map(|source| source.parse().unwrap()),
    });
    let shown = String::from_utf8_lossy(header);
    assert_eq!(parse(header), expected, "{shown}");
    for behind in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"\r\n", &[0; 300]] {
        assert_eq!(parse(&[header, behind].concat()), expected, "{shown}");
    }
    if expected.is_ok() {
        for len in 0..header.len() {
            assert_eq!(parse(&header[..len]), Ok(Parsed::Partial), "{len} of {shown}");
        }
    }
}

/// A header of version 2: command, family, and what stands behind the length.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&BINARY[..], &[command, family], &len, body].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 1, 0xbb];

fn v6() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::1")[..], &address("2001:db8::2"), &[0xdc, 0x04, 1, 0xbb]].concat()
}

#[test]
fn lines() {
    check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Ok(Some("192.0.2.1:56324")));
    check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Ok(Some("255.255.255.255:65535")));
    check(b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", Ok(Some("[2001:db8::1]:56324")));
    check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 0\r\n", Ok(Some("[::ffff:192.0.2.1]:0")));
    check(b"PROXY UNKNOWN\r\n", Ok(None));
    // The longest that can be.
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    check(format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n").as_bytes(), Ok(None));
}

#[test]
fn lines_that_are_none() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 \r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.1 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY \n",
    ] {
        check(line.as_bytes(), Err(Bad::Line));
    }
    check(&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(), Err(Bad::TooLong));
}

#[test]
fn what_is_no_header() {
    for bytes in
        ["GET / HTTP/1.1\r\n", "PROXYING", "PRI * HTTP/2.0", "proxy TCP4", "\r\nGET", "\r\n\r\n\r\n", "\x16"]
    {
        assert_eq!(parse(bytes.as_bytes()), Ok(Parsed::Other), "{bytes:?}");
    }
    for bytes in ["", "P", "PROXY", "\r", "\r\n\r\n", "\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(bytes.as_bytes()), Ok(Parsed::Partial), "{bytes:?}");
    }
}

#[test]
fn binary_headers() {
    check(&binary(0x21, 0x11, V4), Ok(Some("192.0.2.1:56324")));
    check(&binary(0x21, 0x12, V4), Ok(Some("192.0.2.1:56324")));
    check(&binary(0x21, 0x21, &v6()), Ok(Some("[2001:db8::1]:56324")));
    check(&binary(0x21, 0x22, &v6()), Ok(Some("[2001:db8::1]:56324")));
    // Fields behind the addresses: ALPN, a broken one, and as much as may be.
    check(&binary(0x21, 0x11, &[V4, &[1, 0, 2, b'h', b'2']].concat()), Ok(Some("192.0.2.1:56324")));
    check(&binary(0x21, 0x11, &[V4, &[0x20, 0xff, 0xff, 1]].concat()), Ok(Some("192.0.2.1:56324")));
    check(&binary(0x21, 0x11, &[V4, &[7; HEADER_MAX - 16 - 12]].concat()), Ok(Some("192.0.2.1:56324")));
    // The proxy speaks for itself, or does not say for whom.
    check(&binary(0x20, 0x00, b""), Ok(None));
    check(&binary(0x20, 0x11, V4), Ok(None));
    check(&binary(0x20, 0xff, b"whatever"), Ok(None));
    check(&binary(0x21, 0x00, b""), Ok(None));
    check(&binary(0x21, 0x00, &[4; 20]), Ok(None));
    check(&binary(0x21, 0x31, &[b'/'; 216]), Ok(None));
    check(&binary(0x21, 0x32, &[b'/'; 230]), Ok(None));
}

#[test]
fn binary_headers_that_are_none() {
    check(&binary(0x11, 0x11, V4), Err(Bad::Version));
    check(&binary(0x31, 0x11, V4), Err(Bad::Version));
    check(&binary(0x22, 0x11, V4), Err(Bad::Command));
    check(&binary(0x2f, 0x00, b""), Err(Bad::Command));
    for family in [0x01, 0x10, 0x13, 0x20, 0x30, 0x41, 0xff] {
        check(&binary(0x21, family, &[0; 300]), Err(Bad::Family));
    }
    check(&binary(0x21, 0x11, &V4[..11]), Err(Bad::TooShort));
    check(&binary(0x21, 0x21, &v6()[..35]), Err(Bad::TooShort));
    check(&binary(0x21, 0x31, &[0; 215]), Err(Bad::TooShort));
    check(&binary(0x21, 0x11, &[0; HEADER_MAX]), Err(Bad::TooLong));
    // Before its body is there: nobody waits for 64 KiB of it.
    assert_eq!(parse(&binary(0x21, 0x11, &[0; HEADER_MAX])[..16]), Err(Bad::TooLong));
}

/// Bytes that come close to headers.
fn close() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..80);
    let line = "PROXY (TCP4|TCP6|UNKNOWN|TCP) [0-9a-f:. ]{0,60}\r?\n?".prop_map(String::into_bytes);
    let v2 = (any::<u8>(), any::<u8>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(command, family, len, body)| {
            [&BINARY[..], &[command, family], &len.to_be_bytes(), &body].concat()
        });
    prop_oneof![noise, line, v2]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No bytes make it panic; what was decided stays decided, whatever comes; and a header lies in what has come.
    #[test]
    fn more_bytes_change_no_verdict(bytes in close(), more in proptest::collection::vec(any::<u8>(), 0..40)) {
        let verdict = parse(&bytes);
        if let Ok(Parsed::Header { len, .. }) = verdict {
            prop_assert!(len <= bytes.len() && len <= HEADER_MAX);
        }
        if verdict == Ok(Parsed::Partial) {
            prop_assert!(bytes.len() < HEADER_MAX, "waits for more than there can be");
        } else {
            prop_assert_eq!(parse(&[&bytes[..], &more].concat()), verdict);
        }
    }

    /// Cut one at any place, or changed at any place, it is what it was or nothing: never another client by a part of it.
    #[test]
    fn a_part_of_a_header_names_nobody(source: std::net::SocketAddrV4, cut in 0..60_usize) {
        let line = format!("PROXY TCP4 {} 198.51.100.1 {} 443\r\n", source.ip(), source.port());
        let cut = cut.min(line.len());
        let expected = if cut == line.len() {
            Parsed::Header { len: cut, source: Some(source.into()) }
        } else {
            Parsed::Partial
        };
        prop_assert_eq!(parse(&line.as_bytes()[..cut]), Ok(expected));
    }
}
