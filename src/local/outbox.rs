//! What is written to a socket: at once as far as it goes, the rest when the socket takes more. One piece of code for connections
//! and tunnels. With nothing waiting it is a null pointer.

use std::io;
use std::task::{Context, Poll, ready};

use super::clock::{self, Moment};
use super::stream::Stream;

/// Bytes for one socket. The caller bounds what it lets pile up: it reads no more for a socket for which something waits.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Waiting>>);

/// The rest of a short write.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
    /// When the socket last took any of it.
    since: Moment,
}

impl Outbox {
    /// Writes what the socket takes at once, behind everything that waits; the rest waits.
    ///
    /// # Errors
    /// The socket's.
    pub fn write(&mut self, cx: &mut Context<'_>, to: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            while !bytes.is_empty() {
                match to.poll_write(cx, bytes) {
                    Poll::Ready(written) => bytes = &bytes[written?..],
                    Poll::Pending => break,
                }
            }
        }
        self.append(bytes);
        Ok(())
    }

    /// Puts `bytes` behind everything that waits, without a try.
    pub fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let new = || Box::new(Waiting { bytes: Vec::new(), written: 0, since: clock::coarse() });
            self.0.get_or_insert_with(new).bytes.extend_from_slice(bytes);
        }
    }

    /// Writes what waits; ready when nothing does any more.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(waiting) = &mut self.0 {
            waiting.written += ready!(to.poll_write(cx, &waiting.bytes[waiting.written..]))?;
            waiting.since = clock::coarse();
            if waiting.written == waiting.bytes.len() {
                self.0 = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes.len() - waiting.written)
    }

    /// Since when the socket has taken nothing of what waits; `None`: nothing does.
    pub fn since(&self) -> Option<Moment> {
        self.0.as_ref().map(|waiting| waiting.since)
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// More than the kernel holds for a socket.
    const MUCH: usize = 4_000_000;

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_written_later_arrives_later() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut stream = Stream::Unix(Box::new(tokio::net::UnixStream::from_std(ours).unwrap()));
        let mut outbox = Outbox::default();
        let write = async |outbox: &mut Outbox, stream: &mut Stream, bytes: &[u8]| {
            poll_fn(|cx| Poll::Ready(outbox.write(cx, stream, bytes))).await.unwrap();
        };
        write(&mut outbox, &mut stream, &vec![b'a'; MUCH]).await;
        let waited = outbox.len();
        assert!(waited > 0 && outbox.since().is_some());

        // There is room again, and the runtime knows: still nothing may overtake what waits.
        let mut got = vec![0; MUCH - waited];
        theirs.read_exact(&mut got).unwrap();
        poll_fn(|cx| stream.poll_write(cx, b"a")).await.unwrap();
        write(&mut outbox, &mut stream, b"bb").await;
        assert_eq!(outbox.len(), waited + 2);

        let reader = std::thread::Builder::new().spawn(move || {
            let mut rest = vec![0; 1 + waited + 2];
            theirs.read_exact(&mut rest).unwrap();
            rest
        });
        poll_fn(|cx| outbox.poll_flush(cx, &mut stream)).await.unwrap();
        let rest = reader.unwrap().join().unwrap();
        assert!(outbox.is_empty() && outbox.since().is_none());
        assert!(rest.ends_with(b"abb") && rest[..=waited].iter().all(|byte| *byte == b'a'));
    }
}
