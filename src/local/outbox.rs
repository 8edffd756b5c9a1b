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
