//! One direction of a tunnel: reads from its source, follows the frames, writes to its sink.

use std::io;
use std::task::{Context, Poll};

use super::close::CloseFrame;
use super::frame::{HEADER_MAX, Scanner};
use super::message::Messages;
use super::ping::{Own, PONG_LEN, Pings};
use super::{Owner, Reason, Total, Way};
use crate::local::buffer::Buffer;
use crate::local::clock::{self, Moment};
use crate::local::outbox::Outbox;
use crate::local::random;
use crate::local::stream::Stream;

/// Bytes that one direction moves before its neighbours on the worker have their turn.
const BUDGET: usize = 256 * 1024;

/// Where the bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Open,
    /// It has ended its side (FIN).
    Ended,
    /// Its connection broke.
    Lost,
}

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    Open,
    /// Our Close frame is behind everything that was passed on; what comes now is read and dropped.
    Closed,
    /// We have ended our side, after the source ended.
    ShutDown,
    /// Its connection broke.
    Lost,
}

/// What the other direction has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    pub(super) over: bool,
    pub(super) closed: bool,
}

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Not WebSocket: bytes without boundaries.
    Opaque,
    /// Frames.
    Frames,
    /// Frames, and should they end without a Close, the sink is to have one from us.
    Owing,
}

/// What one turn of a direction brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// The source said something.
    pub(super) heard: bool,
    /// Something of it was for the other end, so more than a pong to us.
    pub(super) passed: bool,
}

/// Who looks on while frames pass, in tunnels that have such.
#[derive(Debug, Default)]
pub(super) struct Lookouts<'t> {
    pub(super) pings: Option<&'t mut Pings>,
    pub(super) messages: Option<&'t mut Messages>,
}

/// What one scan found.
struct Found {
    /// Bytes that may pass.
    whole: usize,
    /// Bytes behind them that are for us.
    ours: usize,
    /// The rest is bad.
    bad: bool,
    /// The rest begins with a frame that makes its message too large.
    too_big: bool,
}

#[derive(Debug)]
pub(super) struct Direction {
    way: Way,
    manner: Manner,
    /// An end was lost because it acknowledged nothing for too long.
    pub(super) unacked: bool,
    pub(super) source: Source,
    pub(super) sink: Sink,
    held_len: u8,
    /// The beginning of a frame header that is not complete, or of what may be a pong to us: held back, so that a frame of ours
    /// can go before it.
    held: [u8; HEADER_MAX],
    scanner: Scanner,
    /// What waits for a sink that is slower than its source.
    output: Outbox,
    total: Total,
}

impl Direction {
    pub(super) fn new(way: Way, opaque: bool) -> Self {
        Direction {
            way,
            manner: match (opaque, way) {
                (true, _) => Manner::Opaque,
                (false, Way::Up) => Manner::Frames,
                (false, Way::Down) => Manner::Owing,
            },
            unacked: false,
            source: Source::Open,
            sink: Sink::Open,
            held_len: 0,
            held: [0; HEADER_MAX],
            scanner: Scanner::default(),
            output: Outbox::default(),
            total: Total::default(),
        }
    }

    pub(super) fn total(&self) -> Total {
        self.total
    }

    /// A Close frame of an end has passed here.
    pub(super) fn close_seen(&self) -> bool {
        self.scanner.close_seen()
    }

    /// An end's Close frame was the last word here, and has gone to the sink.
    pub(super) fn is_closed(&self) -> bool {
        self.close_seen() && self.output.is_empty()
    }

    pub(super) fn close_code(&self) -> Option<u16> {
        self.scanner.close_code()
    }

    /// Since when the sink has taken nothing of what waits for it.
    pub(super) fn waiting_since(&self) -> Option<Moment> {
        self.output.since()
    }

    /// What the direction against this one wants to know.
    pub(super) fn as_other(&self) -> Other {
        Other { over: self.is_over(), closed: self.is_closed() }
    }

    /// Nothing more will come of this direction.
    pub(super) fn is_over(&self) -> bool {
        match self.sink {
            Sink::Lost | Sink::ShutDown => true,
            // The client may still answer our Close; to hang up on it could destroy the frame.
            Sink::Closed if self.way == Way::Down => false,
            Sink::Open | Sink::Closed => {
                self.source == Source::Lost && self.output.is_empty() && !self.owes_close()
            }
        }
    }

    /// The client ended first: it is owed nothing.
    pub(super) fn owes_nothing(&mut self) {
        if self.manner == Manner::Owing {
            self.manner = Manner::Frames;
        }
    }

    /// The instance broke off between two frames, of the next of which there may be half a header here, without a Close: the client is to have one from us, for upon it clients come
    /// back at once, and some take a bare end for a fault of their own.
    pub(super) fn owes_close(&self) -> bool {
        self.manner == Manner::Owing
            && self.source != Source::Open
            && self.sink == Sink::Open
            && self.scanner.left() == 0
            && !self.close_seen()
    }

    /// Moves what can be moved. `closing`: our Close frame, to be queued at the next boundary; so is a ping that is wanted.
    /// `Err`: a frame that cannot be followed, or is not to pass.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut Stream, &mut Stream),
        closing: Option<&CloseFrame>,
        look: &mut Lookouts<'_>,
        other: Other,
        owner: &impl Owner,
    ) -> Result<Moved, Reason> {
        self.speak_at_boundary(closing, look);
        let mut moved = 0;
        let mut passed = false;
        while self.flush(cx, to) || self.sink == Sink::Closed {
            if self.source != Source::Open {
                self.end(cx, to, other);
                break;
            }
            if moved >= BUDGET {
                cx.waker().wake_by_ref();
                break;
            }
            let mut buffer = Buffer::take();
            match from.poll_read(cx, buffer.space()) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.source = Source::Ended,
                Poll::Ready(Ok(count)) => {
                    buffer.advance(count);
                    moved += count;
                    passed |= self.take(cx, buffer, to, closing, look, owner)?;
                }
                Poll::Ready(Err(error)) => {
                    self.source = Source::Lost;
                    self.note(&error);
                }
            }
        }
        Ok(Moved { heard: moved > 0, passed })
    }

    /// Bytes that were read before the tunnel began.
    pub(super) fn begin_with(
        &mut self,
        bytes: &[u8],
        look: &mut Lookouts<'_>,
        owner: &impl Owner,
    ) -> Result<(), Reason> {
        // Nobody has been asked yet, so nothing here is for us.
        let found = self.scan(bytes, look, owner);
        self.output.append(&bytes[..found.whole]);
        self.judge(&found, &bytes[found.whole..], look, owner)
    }

    /// Passes on what was read; `true`: something of it was not for us.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        mut buffer: Buffer,
        to: &mut Stream,
        closing: Option<&CloseFrame>,
        look: &mut Lookouts<'_>,
        owner: &impl Owner,
    ) -> Result<bool, Reason> {
        if self.held_len > 0 {
            buffer.prepend(&self.held[..usize::from(self.held_len)]);
            self.held_len = 0;
        }
        let mut bytes = buffer.filled();
        let mut passed = false;
        if self.sink == Sink::Open && (closing.is_some() || self.is_to_ping(look)) {
            // Inside a frame, or what we say would have been queued: the rest of that frame, then ours.
            let left = usize::try_from(self.scanner.left()).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (rest, behind) = bytes.split_at(left);
            self.scan(rest, look, owner);
            self.write(cx, rest, to);
            self.speak_at_boundary(closing, look);
            bytes = behind;
            passed = left > 0;
        }
        loop {
            let found = self.scan(bytes, look, owner);
            passed |= found.whole > 0;
            if self.sink == Sink::Open {
                self.write(cx, &bytes[..found.whole], to);
            }
            self.judge(&found, &bytes[found.whole..], look, owner)?;
            if found.ours == 0 {
                return Ok(passed);
            }
            bytes = &bytes[found.whole + found.ours..];
        }
    }

    /// Whether it may go on with `rest`, before which a scan has ended. A frame that is not to pass is read and dropped like
    /// everything behind a Close of ours, which goes in its place.
    fn judge(
        &mut self,
        found: &Found,
        mut rest: &[u8],
        look: &mut Lookouts<'_>,
        owner: &impl Owner,
    ) -> Result<(), Reason> {
        if found.bad {
            return Err(Reason::ProtocolError);
        }
        if !found.too_big {
            return Ok(());
        }
        if let Some(code) = Reason::MessageTooBig.code().filter(|_| !self.close_seen()) {
            let close = match self.way {
                Way::Up => CloseFrame::masked(code, random::secret()),
                Way::Down => CloseFrame::unmasked(code),
            };
            self.output.append(close.as_bytes());
        }
        self.sink = Sink::Closed;
        while let Found { whole, ours: ours @ 1.., .. } = self.scan(rest, look, owner) {
            rest = &rest[whole + ours..];
        }
        Err(Reason::MessageTooBig)
    }

    /// Follows the frames in `bytes` up to a pong that is for us, or a frame that is not to pass, and holds back what is incomplete:
    /// a header, or what may be such a pong.
    fn scan(&mut self, bytes: &[u8], look: &mut Lookouts<'_>, owner: &impl Owner) -> Found {
        let (mut ours, mut too_big) = (0, false);
        let messages = look.messages.as_deref_mut().filter(|_| self.sink == Sink::Open);
        let (whole, frames, bad) = if self.manner == Manner::Opaque {
            (bytes.len(), 0, false)
        } else if look.pings.is_none() && messages.is_none() {
            let scanned = self.scanner.scan(bytes);
            (scanned.whole, scanned.frames, scanned.bad)
        } else {
            let (way, mut messages) = (self.way, messages);
            let sizes = messages.as_mut().map(|messages| messages.watch(way));
            let pings = look.pings.as_deref_mut();
            // Pings first: a pong to us is no frame of the tunnel.
            let scanned = match (pings, way) {
                (None, _) => self.scanner.scan_with(bytes, &mut { sizes }),
                (Some(pings), Way::Down) => self.scanner.scan_with(bytes, &mut (pings.watch_down(), sizes)),
                (Some(pings), Way::Up) => {
                    let scanned = self.scanner.scan_with(bytes, &mut (pings.watch_up(), sizes));
                    if pings.own_pong(&bytes[scanned.whole..]) == Own::Yes {
                        ours = PONG_LEN;
                    }
                    scanned
                }
            };
            if let Some(messages) = messages
                && let found @ 1.. = messages.take_found()
            {
                (0..found).for_each(|_| owner.message_too_big());
                too_big = messages.enforces();
            }
            (scanned.whole, scanned.frames, scanned.bad)
        };
        if !bad && !too_big && ours == 0 {
            let held = &bytes[whole..];
            self.held[..held.len()].copy_from_slice(held);
            self.held_len = u8::try_from(held.len()).expect("a header is at most 14 bytes");
        }
        if self.sink == Sink::Open && whole > 0 {
            self.total.bytes += whole as u64;
            self.total.frames += frames;
            owner.passed(self.way, whole as u64, frames);
        }
        Found { whole, ours, bad, too_big }
    }

    /// Says what we have to say, when the direction stands between two frames; never behind a Close frame.
    fn speak_at_boundary(&mut self, closing: Option<&CloseFrame>, look: &mut Lookouts<'_>) {
        let may = self.sink == Sink::Open
            && self.manner != Manner::Opaque
            && self.scanner.left() == 0
            && !self.close_seen();
        if let Some(frame) = closing {
            if may {
                self.output.append(frame.as_bytes());
                self.sink = Sink::Closed;
            }
        } else if may
            && self.is_to_ping(look)
            && let Some(pings) = &mut look.pings
        {
            self.output.append(&pings.ask(clock::coarse()));
        }
    }

    /// A ping of ours is to go here.
    fn is_to_ping(&self, look: &Lookouts<'_>) -> bool {
        self.way == Way::Down
            && self.source == Source::Open
            && look.pings.as_ref().is_some_and(|pings| pings.wanted)
    }

    /// The source has ended: so does what we say to the sink.
    fn end(&mut self, cx: &mut Context<'_>, to: &mut Stream, other: Other) {
        if self.held_len > 0 && self.sink == Sink::Open && !self.owes_close() {
            // Half a header that will never be whole: it was sent, so it arrives. Behind it nothing of ours would be a frame.
            self.manner = Manner::Opaque;
            let held = self.held;
            let len = usize::from(std::mem::take(&mut self.held_len));
            self.total.bytes += len as u64;
            self.write(cx, &held[..len], to);
            if !self.flush(cx, to) {
                return;
            }
        }
        // Behind our Close the sink hears of the end when the tunnel is over: until then it may answer.
        let ends = self.source == Source::Ended && self.sink == Sink::Open && !self.owes_close();
        if ends && self.output.is_empty() {
            // When the tunnel is over with this, both sockets are closed at once, which says the same.
            if !(other.over || other.closed && self.is_closed()) {
                to.shut_down(cx);
            }
            self.sink = Sink::ShutDown;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8], to: &mut Stream) {
        if let Err(error) = self.output.write(cx, to, bytes) {
            self.lose(&error);
        }
    }

    /// Writes what waits; `true`: nothing waits any more.
    fn flush(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> bool {
        if self.sink == Sink::Lost {
            self.output.clear();
        }
        match self.output.poll_flush(cx, to) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.lose(&error);
                true
            }
            Poll::Pending => false,
        }
    }

    fn note(&mut self, error: &io::Error) {
        self.unacked |= error.kind() == io::ErrorKind::TimedOut;
    }

    fn lose(&mut self, error: &io::Error) {
        self.note(error);
        self.sink = Sink::Lost;
        self.output.clear();
    }
}
