//! What instances answer, and what clients may get of it. Another client's request follows, which must get its own answer.

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gets {
    /// 502 of the proxy's own.
    Bad,
    /// This status and body, and the connection to the instance serves again.
    Whole(u16, &'static str),
    /// The same, but that connection is not used again.
    Last(u16, &'static str),
    /// An answer that is seen to be broken off; 502 as long as nothing of it has gone to the client.
    Cut,
}

use Gets::{Bad, Cut, Last, Whole};

/// What it is, the method, what the instance answers. Behind an answer that goes on until the end of the connection (`Last` and
/// `Cut` without a length) the instance ends it.
pub(super) struct Case(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static [u8],
    pub(super) Gets,
);

const fn get(name: &'static str, answer: &'static [u8], gets: Gets) -> Case {
    Case(name, "GET", answer, gets)
}

pub(super) const CASES: &[Case] = &[
    get("a length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    get("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Whole(200, "hello")),
    get("neither", b"HTTP/1.1 200 OK\r\n\r\nhello", Last(200, "hello")),
    get("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Last(200, "hello")),
    get("Connection: close", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", Last(200, "hello")),
    // Where does it end?
    get("both lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    get("both, the other way", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    get("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Bad),
    get("two equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Bad),
    get("length +5", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", Bad),
    get("length -1", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello", Bad),
    get("length 0x5", b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", Bad),
    get("length 5 5", b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\nhello", Bad),
    get("no length in it", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", Bad),
    get("length of 20 digits", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhello", Bad),
    get("length with NUL", b"HTTP/1.1 200 OK\r\nContent-Length: 5\0\r\n\r\nhello", Bad),
    get("gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", Bad),
    get("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    get("chunked, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    get("two transfer-encodings", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    get("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", Bad),
    get("xchunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nhello", Bad),
    get("VT before chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\nhello", Bad),
    get("chunked in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),
    // More than it says: the connection is not used again, or the rest would be the next client's answer.
    get("bytes behind a length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Last(200, "hello")),
    get("bytes behind chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Last(200, "")),
    get("a 204 with a body", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Last(204, "")),
    get("a 204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("a 304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", Last(304, "")),
    Case("a body to HEAD", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Last(200, "")),
    Case("no body to HEAD", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Whole(200, "")),
    get("two answers", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Last(200, "")),
    // Where does a line end, and what is a name?
    get("LF lines", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Bad),
    get("one LF line", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\nhello", Bad),
    get("LF at the end", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", Bad),
    get("CR in a value", b"HTTP/1.1 200 OK\r\nX: y\rZ: z\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("CR in the status line", b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("NUL in a value", b"HTTP/1.1 200 OK\r\nX: y\0z\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("ESC in a value", b"HTTP/1.1 200 OK\r\nX: y\x1bz\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("folded line", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("folded length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\nhello", Bad),
    get("space before a colon", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", Bad),
    get("no colon", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("no name", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("8 bits in a name", b"HTTP/1.1 200 OK\r\nX\xe4: y\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("8 bits in a value", b"HTTP/1.1 200 OK\r\nX: \xe4\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    // The status line.
    get("no reason", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    get("two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("status 099", b"HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("http/1.1", b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("two spaces", b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("no version", b"200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("HTTP/0.9", b"<html>hello</html>\r\n\r\n", Bad),
    get("ICY", b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Bad),
    // Interim answers.
    get("100 first", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    get("103 first", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    get("100 with LF", b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    get("a 101 that nobody wants", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Bad),
    get("101 to h2c", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", Bad),
    // Bodies that go wrong when the head has gone to the client.
    get("chunk without a size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", Cut),
    get("chunk of 0x5", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", Cut),
    get("chunk of -5", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", Cut),
    get("chunk of 17 digits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", Cut),
    get("chunk with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Cut),
    get("chunk too long", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n", Cut),
    get("LF in an extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", Cut),
    get("an extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", Whole(200, "hello")),
    get("a trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", Whole(200, "hello")),
    get("a trailer with a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", Cut),
    get("a trailer with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\n\r\n", Cut),
];
