//! Requests that are refused: the client is told and sent away, the instance sees nothing, it is counted.

use super::trio_with;
use crate::support::{Answering, Instance, Proxy, Socket};

/// Heads that are refused with 400. Each is the whole of what the client sends.
pub(crate) const BAD: &[(&str, &str)] = &[
    // Where does the body end?
    ("both lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (
        "both, the other way",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    ("gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("chunked, gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    ("chunked, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
    ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    ("chunked;q=1", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"),
    (
        "two transfer-encodings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("empty transfer-encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    ("two equal lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"),
    ("length +5", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"),
    ("length -1", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    ("length 0x5", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"),
    ("length 5 5", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n"),
    ("no length in it", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("length of 20 digits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    // Who is meant?
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("host with @", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ("host with #", "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    ("host with a comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    ("host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("host of 8 bits", "GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n"),
    ("host with a bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
    ("host against target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("authority with @", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no authority", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Where does a line end?
    ("folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    ("folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("LF lines", "GET / HTTP/1.1\nHost: a\n\n"),
    ("one LF line", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    ("LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: z\r\n\r\n"),
    ("CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\rY: y\r\n\r\n"),
    ("CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n"),
    ("ESC in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\x1bz\r\n\r\n"),
    ("DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\x7fz\r\n\r\n"),
    // What is a name?
    ("space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
    ("tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    ("8 bits in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\u{e4}: y\r\n\r\n"),
    // What is asked for?
    ("dot dot", "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("dot dot at the end", "GET /a/.. HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("dot", "GET /./a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("encoded dots", "GET /a/%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("half encoded dots", "GET /a/.%2e HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("encoded slash before dots", "GET /a%2f../b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("backslash before dots", "GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("8 bits in the target", "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("star", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", "GET /\r\n"),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("four words", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a method that is none", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}"),
];

/// The client is answered with `status` and the end of its connection, whatever it sent behind.
fn check(proxy: &Proxy, what: &str, bytes: &[u8], status: u16) {
    let mut client = proxy.connect();
    client.send(bytes);
    // The proxy may have ended the connection by now.
    let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), status, "{what}: {}", answer.text());
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "{what}");
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "{what}: {}", rest.escape_ascii());
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    assert!(BAD.len() > 70, "the table shrank");
    for (what, bytes) in BAD {
        check(&proxy, what, bytes.as_bytes(), 400);
    }
    check(&proxy, "8 bits in the host", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400);
    check(&proxy, "8 bits in the target", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    instance.saw_nothing();
    let refused = BAD.len() as u64 + 2;
    proxy.counts("stickyd_refused_total", &[("reason", "bad_request")], refused);
    proxy.counts("stickyd_requests_total", &[("code", "4xx"), ("origin", "proxy")], refused);
}

#[test]
fn connect_is_no_method_here() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    check(&proxy, "CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405);
    check(&proxy, "CONNECT with a path", b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    instance.saw_nothing();
    proxy.counts("stickyd_refused_total", &[("reason", "bad_request")], 2);
}

#[test]
fn heads_over_the_limits_are_refused() {
    let (proxy, instance, mut client) = trio_with("[limits]\nheader = \"2k\"\nheaders = 8\n");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(3000));
    check(&proxy, "a long value", long.as_bytes(), 431);
    check(&proxy, "a long target", format!("GET /{} HTTP/1.1\r\n", "x".repeat(3000)).as_bytes(), 431);
    check(&proxy, "no end", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(3000)).as_bytes(), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(8));
    check(&proxy, "many fields", many.as_bytes(), 431);
    instance.saw_nothing();
    proxy.counts("stickyd_limit_hits_total", &[("limit", "header")], 4);

    // What just fits passes.
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(7)));
    assert_eq!(instance.accept().request().values("x").len(), 7);
}

#[test]
fn a_head_is_as_large_as_the_configuration_allows() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\nheader = \"64k\"\n");
    let head = |size: usize| format!("GET / HTTP/1.1\r\nHost: app\r\nX-Long: {}\r\n\r\n", "x".repeat(size));
    let most = 65_536 - head(0).len();
    let mut client = proxy.connect();
    client.send(head(most));
    assert_eq!(client.answer().text(), "blue");
    assert_eq!(instance.requests()[0].field("x-long").unwrap().len(), most);
    client.send(head(most + 1));
    assert_eq!(client.answer().status(), 431);
}

/// Bodies that are refused when it is too late to keep the head from the instance.
pub(crate) const BAD_BODIES: &[(&str, &str)] = &[
    ("no size", "\r\n\r\n"),
    ("not a digit", "g\r\n"),
    ("sign", "+5\r\nhello\r\n"),
    ("0x", "0x5\r\nhello\r\n"),
    ("17 digits", "00000000000000005\r\nhello\r\n"),
    ("space", "5 \r\nhello\r\n"),
    ("LF behind the size", "5\nhello\r\n"),
    ("CR behind the size", "5\rhello\r\n"),
    ("LF in an extension", "5;a\nhello\r\n"),
    ("control character in an extension", "5;a\x01\r\nhello\r\n"),
    ("no CRLF behind the chunk", "5\r\nhelloX"),
    ("LF behind the chunk", "5\r\nhello\n"),
    (
        "long line",
        "5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    ),
    ("LF in trailers", "0\r\nX: y\n\r\n"),
    ("CR in trailers", "0\r\nX: y\rz\r\n\r\n"),
    ("folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
    ("trailer that frames", "0\r\nContent-Length: 5\r\n\r\n"),
    ("trailer with a space before its colon", "0\r\nX : y\r\n\r\n"),
];

#[test]
fn bodies_that_can_be_read_in_two_ways_are_refused() {
    let (proxy, instance, _) = trio_with("");
    for (what, bytes) in BAD_BODIES {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut far: Socket = instance.accept();
        far.head();
        client.send(bytes);
        let answer = client.answer();
        assert_eq!(answer.status(), 400, "{what}: {}", answer.text());
        let (rest, _) = client.rest();
        assert!(rest.is_empty(), "{what}: {}", rest.escape_ascii());
        // The instance must not take what it got for the whole.
        let (body, _) = far.rest();
        assert!(!body.ends_with(b"0\r\n\r\n"), "{what}: {}", body.escape_ascii());
    }
    proxy.counts("stickyd_refused_total", &[("reason", "bad_request")], BAD_BODIES.len() as u64);
    instance.saw_nothing();
}
