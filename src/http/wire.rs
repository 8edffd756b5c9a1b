//! One HTTP/1 connection as bytes: what was read and not yet used, what was written and not yet taken.

use std::io;
use std::task::{Context, Poll};

use crate::local::buffer::Buffer;
use crate::local::outbox::Outbox;
use crate::local::stream::Stream;

/// A socket with its unread and unwritten bytes. At rest it holds no buffer.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    input: Input,
    output: Outbox,
}

/// What was read and not yet used.
#[derive(Debug, Default)]
enum Input {
    #[default]
    Empty,
    /// While bytes are in hand.
    Lent(Buffer),
    /// While more is waited for: just the bytes.
    Rest(Box<[u8]>),
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Wire { stream, input: Input::Empty, output: Outbox::default() }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Gives the socket back, with the bytes that were read and not used.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        let unread = self.unread().to_vec();
        (self.stream, unread)
    }

    /// What was read and not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        match &self.input {
            Input::Empty => &[],
            Input::Lent(buffer) => buffer.filled(),
            Input::Rest(bytes) => bytes,
        }
    }

    /// The first `count` unread bytes are used.
    pub(crate) fn consume(&mut self, count: usize) {
        match &mut self.input {
            Input::Lent(buffer) => buffer.consume(count),
            Input::Rest(bytes) if count > 0 => self.input = Input::Rest(bytes[count..].into()),
            Input::Empty | Input::Rest(_) => {}
        }
        if self.unread().is_empty() {
            self.input = Input::Empty;
        }
    }

    /// Reads more, behind what is unread; 0 = the peer has ended its side. The caller bounds what it lets pile up, below a
    /// buffer's capacity.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = self.lend();
        let read = self.stream.poll_read(cx, buffer.space());
        if let Poll::Ready(Ok(count)) = read {
            buffer.advance(count);
        }
        self.input = Input::Lent(buffer);
        if read.is_pending() {
            self.settle();
        }
        read
    }

    /// Gives the buffer back, and keeps only what is unread.
    pub(crate) fn settle(&mut self) {
        if let Input::Lent(buffer) = &self.input {
            self.input = match buffer.filled() {
                [] => Input::Empty,
                bytes => Input::Rest(bytes.into()),
            };
        }
    }

    /// Writes what the socket takes at once; the rest waits.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.output.write(cx, &mut self.stream, bytes)
    }

    /// Writes what waits.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(cx, &mut self.stream)
    }

    /// Bytes that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Something waits to be taken.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.output.is_empty()
    }

    /// Ends our side.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.stream.shut_down(cx);
    }

    fn lend(&mut self) -> Buffer {
        match std::mem::take(&mut self.input) {
            Input::Lent(mut buffer) => match buffer.space() {
                // Filled to its end, though its beginning may be used: a read into nothing would look like the peer's end.
                [] => refilled(buffer.filled()),
                _ => buffer,
            },
            Input::Empty => Buffer::take(),
            Input::Rest(bytes) => refilled(&bytes),
        }
    }
}

/// A buffer that begins with `bytes`.
fn refilled(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::take();
    buffer.space()[..bytes.len()].copy_from_slice(bytes);
    buffer.advance(bytes.len());
    buffer
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use tokio::net::UnixStream;

    use super::*;
    use crate::local::buffer::CAPACITY;

    #[tokio::test(flavor = "current_thread")]
    async fn a_buffer_filled_to_its_end_is_not_taken_for_the_peer_s_end() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut wire = Wire::new(Stream::Unix(Box::new(UnixStream::from_std(ours).unwrap())));
        let sent: Vec<u8> = b"some bytes".iter().copied().cycle().take(CAPACITY + 100).collect();
        theirs.write_all(&sent).unwrap();
        while wire.unread().len() < CAPACITY {
            assert!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap() > 0);
        }
        wire.consume(CAPACITY - 10);
        assert_eq!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap(), 100);
        assert_eq!(wire.unread(), &sent[CAPACITY - 10..]);
    }
}
