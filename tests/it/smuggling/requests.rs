//! What clients send, and what an instance may see of it: for each request its method, target and body. Behind each stands
//! [`LAST`](super::LAST), as a request of its own where the connection goes on. Those that are refused before they are passed on,
//! in `requests/refused.rs`, belong to it.

/// What it is, what the client sends, and what the instance sees, without the last request; `false`: that one is not served.
pub(super) struct Case(
    pub(super) &'static str,
    pub(super) &'static [u8],
    pub(super) &'static [&'static str],
    pub(super) bool,
);

/// Refused: 400, the instance sees nothing, and nothing behind it is served.
const fn no(name: &'static str, bytes: &'static [u8]) -> Case {
    Case(name, bytes, &[], false)
}

/// Passed on as these requests, and the connection goes on.
const fn yes(name: &'static str, bytes: &'static [u8], sees: &'static [&'static str]) -> Case {
    Case(name, bytes, sees, true)
}

/// Passed on, and the connection ends.
const fn end(name: &'static str, bytes: &'static [u8], sees: &'static [&'static str]) -> Case {
    Case(name, bytes, sees, false)
}

pub(super) const CASES: &[Case] = &[
    // Where a body ends.
    yes("no body", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &["POST /a "]),
    yes("a body", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    yes("a GET with a body", b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &["GET /a hello"]),
    yes("a HEAD with a body", b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &["HEAD /a hello"]),
    yes(
        "a body that looks like a request",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n",
        &["POST /a GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n"],
    ),
    yes(
        "chunks that look like a request",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n0\r\n\r\n",
        &["POST /a GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n"],
    ),
    yes(
        "CHUNKED",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &["POST /a hello"],
    ),
    yes(
        "whitespace around chunked",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &["POST /a hello"],
    ),
    no("\"chunked\"", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    no("chunked and a comma", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    no("a comma and chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"),
    no("VT before chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    no("VT behind chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n"),
    no("FF before chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n"),
    no("NUL behind chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    no("NBSP before chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    no("chunked in the next line", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    no("space before its colon", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    no("line end before its colon", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n"),
    no("VT before its colon", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n"),
    no("NUL in its name", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer\0-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    no("space before its name", b"POST /a HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    no("a length and chunked in the next one", b"POST /a HTTP/1.1\r\nContent-Length: 6\r\nHost: a\r\nTRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\nX"),
    no("length 0 and chunked", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    no("length with NUL", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\0\r\n\r\nhello"),
    no("length with VT", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b5\r\n\r\nhello"),
    no("length 5.0", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello"),
    no("length 5e0", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\nhello"),
    no("length 5;", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5;\r\n\r\nhello"),
    no("length \"5\"", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nhello"),
    no("length in Arabic digits", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa5\r\n\r\nhello"),
    no("space before the length's colon", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    no("length folded", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\t5\r\n\r\nhello"),
    no("lengths in two cases", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    // Chunks.
    yes("extension", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", &["POST /a hello"]),
    yes("extension in quotes", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b;c\"\r\nhello\r\n0;d\r\n\r\n", &["POST /a hello"]),
    yes("sizes with zeros", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n", &["POST /a hello"]),
    yes("sizes in both cases", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", &["POST /a 01234567890123456789"]),
    yes("trailer", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", &["POST /a hello"]),
    // What belongs to one connection.
    yes("Connection: a name", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: X-Evil\r\nX-Evil: 1\r\n\r\n", &["GET /a "]),
    yes("Connection: Host", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", &["GET /a "]),
    yes("Connection: Content-Length", b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    yes("Connection: Transfer-Encoding", b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["POST /a hello"]),
    yes("Connection: what we set", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For, X-Real-IP, X-Request-ID\r\n\r\n", &["GET /a "]),
    yes("hop by hop", b"GET /a HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\n\r\n", &["GET /a "]),
    end("Connection: close", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &["GET /a "]),
    end("HTTP/1.0", b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n", &["GET /a "]),
    yes("HTTP/1.0 that is kept", b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", &["GET /a "]),
    // Names that instances read as others.
    yes("Content_Length", b"POST /a HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", &["POST /a "]),
    yes("Transfer_Encoding", b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", &["POST /a "]),
    yes("a length and Transfer_Encoding", b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\nhello", &["POST /a hello"]),
    yes("X_Forwarded_For", b"GET /a HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\nx_real-IP: 6.6.6.6\r\n\r\n", &["GET /a "]),
    yes("what others say of the client", b"GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n", &["GET /a "]),
    yes("8 bits in a value", b"GET /a HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n", &["GET /a "]),
    no("8 bits in a name", b"GET /a HTTP/1.1\r\nHost: a\r\nX\xe4: y\r\n\r\n"),
    no("8 bits before a length", b"POST /a HTTP/1.1\r\nHost: a\r\n\xa0Content-Length: 5\r\n\r\nhello"),
    // Upgrades that are none: nothing behind them is anything but requests.
    yes("h2c", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a ", "GET /b "]),
    end("h2c and the preface", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["GET /a "]),
    yes("h2c with a body", b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    yes("websocket 12, and bytes behind", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a ", "GET /b "]),
    yes("websocket without a key", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a ", "GET /b "]),
    yes("websocket by POST", b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello", &["POST /a hello"]),
    yes("websocket and h2c", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", &["GET /a "]),
    yes("websocket, not in Connection", b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", &["GET /a "]),
    end("websocket in HTTP/1.0", b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", &["GET /a "]),
    // What is asked for, and of whom.
    yes("absolute form", b"GET http://a/a HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a "]),
    yes("absolute form without a path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", &["GET / "]),
    yes("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["OPTIONS * "]),
    yes("one empty line first", b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a "]),
    yes("slashes", b"GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n", &["GET //a//b "]),
    yes("an encoded slash", b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /a%2fb "]),
    yes("dots in names", b"GET /.a/..b/...?c=/../d HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /.a/..b/...?c=/../d "]),
    no("encoded dots at the end", b"GET /a/%2e%2e HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("host, and another in another case", b"GET /a HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"),
    no("host behind a space", b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n"),
    no("host with two ports", b"GET /a HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
    no("half a literal", b"GET /a HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    no("host with a tab", b"GET /a HTTP/1.1\r\nHost: a\tb\r\n\r\n"),
    no("host with a query", b"GET /a HTTP/1.1\r\nHost: a?b\r\n\r\n"),
    no("host with a backslash", b"GET /a HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    // The request line.
    no("tab behind the method", b"GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("tab before the version", b"GET /a\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    no("space first", b" GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("space last", b"GET /a HTTP/1.1 \r\nHost: a\r\n\r\n"),
    no("HTTP/1.10", b"GET /a HTTP/1.10\r\nHost: a\r\n\r\n"),
    no("HTTP/01.1", b"GET /a HTTP/01.1\r\nHost: a\r\n\r\n"),
    no("two CR", b"GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    no("XTTP", b"GET /a XTTP/1.1\r\nHost: a\r\n\r\n"),
    no("NUL in the target", b"GET /a\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("a colon in the method", b"GET: /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("LF behind the head, CRLF in it", b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
    no("CR alone behind a line", b"GET /a HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
];
