//! Moves one body from a connection to another, framed anew, behind the head that announces it.

use std::io;
use std::task::{Context, Poll, ready};

use super::learn::Learning;
use super::wire::Wire;
use crate::codec::body::{BadBody, Decoder, Framing, Piece, encode_chunk, encode_last_chunk};

/// Data up to this size is copied behind what waits to be written, so that one system call sends both; copying more
/// would cost more than the call.
const COPY_MAX: usize = 16 * 1024;

/// Bytes that one body moves before its neighbours on the worker have their turn.
const BUDGET: usize = 256 * 1024;

/// A body on its way.
#[derive(Debug)]
pub(super) struct Pump {
    decoder: Decoder,
    /// Written in chunks; otherwise as it is.
    chunked: bool,
    ended: bool,
    /// The head, until it is written.
    head: Vec<u8>,
    /// Largest body in bytes.
    limit: u64,
    /// Bytes of content so far.
    bytes: u64,
    /// The source's connection may have been broken without a word: its end says nothing of the body's end.
    doubtful: bool,
    /// Looks at the content before it is passed on.
    learning: Option<Box<Learning>>,
}

/// What one turn has to write.
struct Output {
    bytes: Vec<u8>,
    /// Something has been written before them.
    written: bool,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its source broke, or ended too early.
    Source,
    /// Its sink takes no more.
    Sink,
    /// It is not clean HTTP.
    Bad(BadBody),
    /// It is larger than allowed.
    TooLarge,
}

impl Pump {
    /// A body that comes in `framing` and goes out `chunked` or as it is, behind `head`. `limit`: bytes of content;
    /// `trailers`: bytes of trailer fields.
    pub(super) fn new(
        head: Vec<u8>,
        framing: Framing,
        chunked: bool,
        limit: Option<u64>,
        trailers: usize,
    ) -> Self {
        Pump {
            decoder: Decoder::new(framing, trailers),
            chunked,
            ended: false,
            head,
            limit: limit.unwrap_or(u64::MAX),
            bytes: 0,
            doubtful: false,
            learning: None,
        }
    }

    /// Shows the content to `learning` before it is passed on.
    pub(super) fn learn(&mut self, learning: Option<Box<Learning>>) {
        self.learning = learning;
    }

    /// From now on the end of the source's connection is no end of the body.
    pub(super) fn doubt_the_end(&mut self) {
        self.doubtful = true;
    }

    /// All of it has been read, decoded and given to the sink's connection.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of content so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Moves what can be moved; ready when the body has ended and everything is written. `moved` is set when a byte moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Wire,
        to: &mut Wire,
        moved: &mut bool,
    ) -> Poll<Result<(), Stop>> {
        let mut budget = BUDGET;
        loop {
            let waiting = to.waiting();
            let flushed = to.poll_flush(cx);
            *moved |= to.waiting() < waiting;
            ready!(flushed).map_err(|_| Stop::Sink)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // A head waits for no body: it goes as soon as there is nothing to go with it.
            if !self.head.is_empty() || !from.unread().is_empty() || self.decoder.is_ended() {
                budget = budget.saturating_sub(self.advance(cx, from, to)?);
                *moved = true;
                continue;
            }
            match ready!(from.poll_fill(cx)) {
                Ok(0) => self.source_ended(cx, from, to)?,
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(Stop::Source)),
            }
        }
    }

    /// The head has gone out, or some of what is behind it.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_empty()
    }

    /// Passes on what has been read.
    fn advance(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire) -> Result<usize, Stop> {
        let head = self.head.len();
        let mut out = Output { bytes: std::mem::take(&mut self.head), written: false };
        let input = from.unread();
        let mut rest = input;
        while !self.ended {
            match self.decoder.next(&mut rest) {
                Ok(None) => break,
                Ok(Some(Piece::Data(data))) => {
                    self.bytes += data.len() as u64;
                    if self.bytes > self.limit {
                        return Err(Stop::TooLarge);
                    }
                    if let Some(learning) = &mut self.learning {
                        learning.look(data);
                    }
                    self.pass(cx, data, &mut out, to).map_err(|_| Stop::Sink)?;
                }
                Ok(Some(Piece::End(trailers))) => {
                    self.end();
                    if self.chunked {
                        encode_last_chunk(&trailers, &mut out.bytes);
                    }
                }
                Err(bad) => {
                    // A head that has not gone out need not: there may be a better answer.
                    if !out.written {
                        out.bytes.truncate(head);
                        self.head = out.bytes;
                    }
                    return Err(Stop::Bad(bad));
                }
            }
        }
        let used = input.len() - rest.len();
        from.consume(used);
        to.write(cx, &out.bytes).map_err(|_| Stop::Sink)?;
        Ok(used)
    }

    fn pass(&self, cx: &mut Context<'_>, data: &[u8], out: &mut Output, to: &mut Wire) -> io::Result<()> {
        if self.chunked {
            encode_chunk(data, &mut out.bytes);
        } else if !out.bytes.is_empty() && data.len() <= COPY_MAX {
            out.bytes.extend_from_slice(data);
        } else {
            to.write(cx, &out.bytes)?;
            out.bytes.clear();
            to.write(cx, data)?;
            out.written = true;
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(mut learning) = self.learning.take() {
            learning.end();
        }
    }

    /// The source ended its connection: that may be the body's end.
    fn source_ended(&mut self, cx: &mut Context<'_>, from: &Wire, to: &mut Wire) -> Result<(), Stop> {
        if self.doubtful || from.stream().is_cut() {
            return Err(Stop::Source);
        }
        self.decoder.eof().map_err(|_| Stop::Source)?;
        self.end();
        if self.chunked {
            let mut out = Vec::new();
            encode_last_chunk(&[], &mut out);
            to.write(cx, &out).map_err(|_| Stop::Sink)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::local::stream::Stream;

    fn wire() -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        (Wire::new(Stream::Unix(Box::new(ours))), theirs)
    }

    /// The regression: a reader that took some of what waited, and not all of it, passed for one that takes nothing.
    #[tokio::test(flavor = "current_thread")]
    async fn a_sink_that_takes_a_part_is_progress() {
        let ((mut from, _source), (mut to, mut sink)) = (wire(), wire());
        sink.set_nonblocking(true).unwrap();
        let mut pump = Pump::new(vec![b'x'; 4_000_000], Framing::Length(1), false, None, 0);
        let mut step = async || {
            poll_fn(|cx| {
                let mut moved = false;
                assert!(pump.poll(cx, &mut from, &mut to, &mut moved).is_pending());
                Poll::Ready(moved)
            })
            .await
        };
        assert!(step().await, "it began");
        assert!(!step().await, "nobody reads");
        for _ in 0..3 {
            // All that the kernel holds, which is far from all.
            while sink.read(&mut [0; 10_000]).is_ok_and(|count| count > 0) {}
            // The runtime hears that there is room.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            assert!(step().await, "a part was taken");
        }
        assert!(!step().await, "nobody reads any more");
    }
}
