//! The little HTTP/1.1 that both ends of the harness speak, without I/O.

use anyhow::{Result, bail};

use crate::websocket;

/// Body of every ordinary answer, in bytes.
pub(crate) const BODY: usize = 128;
/// Most header fields that an answer may have.
const FIELDS: usize = 48;

/// How much a request says beside its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Head {
    /// `Host` only.
    Small,
    /// What a browser sends: about 500 bytes.
    Browser,
}

/// A GET, with the cookie that an earlier answer set.
pub(crate) fn get(path: &str, head: Head, cookie: Option<&str>) -> Vec<u8> {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n");
    if head == Head::Browser {
        request.push_str(
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
             Accept: */*\r\n\
             Accept-Language: en-US,en;q=0.8,de-DE;q=0.5,de;q=0.3\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\n\
             Referer: https://bench.example/rooms/lobby\r\n\
             Connection: keep-alive\r\n\
             Sec-Fetch-Dest: empty\r\n\
             Sec-Fetch-Mode: cors\r\n\
             Sec-Fetch-Site: same-origin\r\n\
             Priority: u=4\r\n",
        );
    }
    if let Some(cookie) = cookie {
        request.push_str("Cookie: ");
        request.push_str(cookie);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// The upgrade request of a Socket.IO client that starts with WebSocket.
pub(crate) fn upgrade() -> Vec<u8> {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        websocket::KEY
    )
    .into_bytes()
}

/// The head of an answer, as far as a client of the harness looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes of the head.
    pub(crate) head_len: usize,
    /// Status.
    pub(crate) status: u16,
    /// `Content-Length`, 0 without one.
    pub(crate) body_len: usize,
    /// Name and value of the first `Set-Cookie`.
    pub(crate) cookie: Option<String>,
    /// `Sec-WebSocket-Accept`.
    pub(crate) accept: Option<String>,
}

/// Reads an answer's head from the start of `bytes`; `None` while it is not complete.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_len) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    let mut answer = Answer { head_len, status, body_len: 0, cookie: None, accept: None };
    for field in response.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            answer.body_len = std::str::from_utf8(field.value)?.parse()?;
        } else if name.eq_ignore_ascii_case("set-cookie") && answer.cookie.is_none() {
            let value = std::str::from_utf8(field.value)?;
            answer.cookie = Some(value.split(';').next().unwrap_or(value).to_owned());
        } else if name.eq_ignore_ascii_case("sec-websocket-accept") {
            answer.accept = Some(String::from_utf8_lossy(field.value).into_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the instance sends Content-Length, the client got Transfer-Encoding");
        }
    }
    Ok(Some(answer))
}

/// The ordinary answer of instance `number` (from 1): 128 bytes that say who answered.
pub(crate) fn ordinary(number: usize) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n".to_vec();
    let mut body = format!("{number} is the instance that answered. ").into_bytes();
    body.resize(BODY, b'.');
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_at_every_split() {
        let bytes = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\ncontent-length: 7\r\n\r\n1234567";
        let whole = answer(bytes).expect("valid").expect("complete");
        let head_len = bytes.len() - 7;
        let cookie = Some("a=b".to_owned());
        assert_eq!(whole, Answer { head_len, status: 200, body_len: 7, cookie, accept: None });
        for short in 0..head_len {
            assert_eq!(answer(&bytes[..short]).expect("valid so far"), None, "cut at {short}");
        }
    }

    #[test]
    fn chunked_is_not_taken_for_an_empty_body() {
        assert!(answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn heads_have_the_announced_sizes() {
        let size =
            get("/hang?EIO=4&transport=polling&t=PXvM2a1&sid=2Tt5Yf0cRvGh9mQzAAAB", Head::Browser, None)
                .len();
        assert!((450..=550).contains(&size), "{size} bytes");
        let ordinary = ordinary(1);
        let parsed = answer(&ordinary).expect("valid").expect("complete");
        assert_eq!(parsed.head_len + BODY, ordinary.len());
    }
}
