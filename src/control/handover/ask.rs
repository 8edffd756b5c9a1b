//! One question to another process of this proxy, at its admin socket, from a thread that may wait for a moment. (Commands ask by
//! `admin::Client`; the threads that ask here may be in a runtime already.)

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::estate::left;
use crate::local::clock::{self, Moment};

/// Bytes of an answer: the metrics of 100 000 instances fit.
pub(in crate::control) const ANSWER_MAX: usize = 512 << 20;

/// From one attempt to connect to the next, where the other process does not accept and its queue is full.
const AGAIN: Duration = Duration::from_millis(10);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    pub(super) method: &'q str,
    pub(super) path: &'q str,
    pub(super) body: &'q [u8],
    /// For all of it.
    pub(super) within: Duration,
}

/// The body of the answer.
///
/// # Errors
/// When nobody answers in time (`TimedOut`), or with an error: that is `Other`, and its text.
pub(super) fn ask(socket: &Path, question: Question<'_>) -> io::Result<Vec<u8>> {
    let Question { method, path, body, within } = question;
    let until = clock::now().after(within);
    let mut stream = Bounded { stream: connect(socket, until)?, until };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: stickyd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX as u64).read_to_end(&mut answer)?;
    body_of(&answer)
}

/// A blocking connect has no bound: it waits for room in the queue of a process that may be stopped.
fn connect(path: &Path, until: Moment) -> io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.connect(&address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !left(until).is_zero() => {
                std::thread::sleep(AGAIN.min(left(until)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            connected => {
                connected?;
                socket.set_nonblocking(false)?;
                return Ok(std::os::fd::OwnedFd::from(socket).into());
            }
        }
    }
}

/// A stream that is read and written until then.
struct Bounded {
    stream: UnixStream,
    until: Moment,
}

impl Bounded {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = left(self.until);
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// The system calls a time that is up so.
fn timed(result: io::Result<usize>) -> io::Result<usize> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        timed(self.stream.read(into))
    }
}

impl Write for Bounded {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        timed(self.stream.write(from))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// The regression: each read had the whole time anew, and a connect had no bound at all: whoever asked a process that was stopped, or
    /// one that sent a byte now and then, waited for as long as it liked.
    #[test]
    fn one_deadline_is_for_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let check = |name: &str, queue: i32, drips: bool| {
            let path = directory.path().join(name);
            let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
            listener.listen(queue).unwrap();
            // A queue that is full: connects wait.
            let full: Vec<_> =
                (0..=queue).map(|_| (!drips).then(|| UnixStream::connect(&path).unwrap())).collect();
            let begin = clock::now();
            let question =
                Question { method: "GET", path: "/", body: &[], within: Duration::from_millis(100) };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let Some((stream, _)) = drips.then(|| listener.accept().unwrap()) else { return };
                    while stream.send(b"x").is_ok() && clock::now().since(begin) < Duration::from_secs(2) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
                assert_eq!(ask(&path, question).unwrap_err().kind(), io::ErrorKind::TimedOut, "{name}");
                assert!(clock::now().since(begin) < Duration::from_millis(900), "{name}");
            });
            drop(full);
        };
        check("full", 0, false);
        check("drips", 8, true);
    }

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
