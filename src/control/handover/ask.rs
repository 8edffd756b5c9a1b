//! One question to another process of this proxy, at its admin socket, from a thread that may wait for a moment. (Commands ask by
//! `admin::Client`; the threads that ask here may be in a runtime already.)

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes of an answer: the metrics of 100 000 instances fit.
const ANSWER_MAX: u64 = 512 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Question<'q> {
    pub(in crate::control) method: &'q str,
    pub(in crate::control) path: &'q str,
    pub(in crate::control) body: &'q [u8],
    /// For each read and write.
    pub(in crate::control) within: Duration,
}

/// The body of the answer.
///
/// # Errors
/// When nobody answers in time, or with an error: that is `Other`, and its text.
pub(in crate::control) fn ask(socket: &Path, question: Question<'_>) -> io::Result<Vec<u8>> {
    let Question { method, path, body, within } = question;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: stickyd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    body_of(&answer)
}

/// The body of an answer that has ended.
fn body_of(answer: &[u8]) -> io::Result<Vec<u8>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "this is no answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(broken)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length != Some(body.len()) {
        return Err(broken());
    }
    if status == "200" { Ok(body.to_vec()) } else { Err(io::Error::other(String::from_utf8_lossy(body))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_count() {
        let check = |answer: &str, expected: Option<&str>| {
            let body = body_of(answer.as_bytes());
            assert_eq!(body.ok().as_deref(), expected.map(str::as_bytes), "{answer}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Some("{}"));
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: y\r\n\r\n", Some(""));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None);
        check("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\ncontent-", None);
        check("", None);
    }
}
