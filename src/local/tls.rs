//! TLS over a socket: records to bytes and back, for both ends, without a buffer of its own at rest.
//!
//! rustls is used by its unbuffered interface: records are read into the worker's buffer and sealed into the worker's scratch,
//! so a connection at rest is its keys and a little state. What cannot be finished at once is kept as long as it must: a record
//! whose end has not come, plain bytes that the reader had no room for, sealed bytes that the socket did not take.
//!
//! Must not: know certificates, or who may connect.

mod records;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

use super::buffer::{Buffer, CAPACITY};
use super::stream::Stream;
use records::{Sealed, Session, Stand, Word};

/// Bytes that one write seals: as many as one read brings.
const MOST: usize = CAPACITY;

/// Bytes that one read asks the socket for at least, so that a reader with little room does not get a record in slices.
const LEAST: usize = 4096;

/// Reads in which there was nothing for the reader (pieces of a record, records of no bytes), before everybody else has their turn.
const EMPTY: usize = 8;

thread_local! {
    /// What has just been sealed, until the socket has taken it.
    static SCRATCH: RefCell<Sealed> = RefCell::default();
}

/// A connected socket over which TLS is spoken.
pub struct Tls {
    io: Stream,
    session: Session,
    /// The beginning of a record whose end has not come.
    rest: Box<[u8]>,
    /// What came and was not yet read.
    plain: Box<[u8]>,
    /// What is sealed and was not yet taken.
    waiting: Option<Box<Waiting>>,
    source: Source,
    /// We have said that we end.
    said_bye: bool,
    /// Nothing is said at the end: the peer must not take what it got for the whole.
    mute: Cell<bool>,
}

/// Where what is read comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Open,
    /// The peer has said that it ends.
    Ended,
    /// It ended without saying so: there may have been more.
    Cut,
    /// What came was no TLS: nothing more is read or said.
    Broken,
}

/// Sealed bytes that the socket did not take.
#[derive(Debug)]
struct Waiting {
    bytes: Box<[u8]>,
    taken: usize,
    /// How many of the writer's bytes are in them, which it has not been told yet.
    stands_for: usize,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls").field("io", &self.io).finish_non_exhaustive()
    }
}

/// Shakes hands with a client. Whatever costs more than a look is done in the turns that `turn` gives.
///
/// # Errors
/// The socket's, or why the client cannot be served so; then it has been told.
pub async fn accept<T>(io: Stream, config: Arc<ServerConfig>, turn: impl AsyncFn() -> T) -> io::Result<Tls> {
    // Nothing is made for a client that says nothing.
    poll_fn(|cx| io.poll_read_ready(cx)).await?;
    let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = Tls::new(io, Session::Server(session));
    loop {
        {
            let _turn = turn().await;
            tls.take_in()?;
            // The turn is over when everybody else has been looked at.
            tokio::task::yield_now().await;
        }
        if tls.is_open() {
            return Ok(tls);
        }
        poll_fn(|cx| tls.poll_flush(cx)).await?;
        poll_fn(|cx| tls.io.poll_read_ready(cx)).await?;
    }
}

/// Shakes hands with whoever is to be `name`.
///
/// # Errors
/// The socket's, or why it is not.
pub async fn connect(io: Stream, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Tls> {
    let session = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut tls = Tls::new(io, Session::Client(session));
    tls.digest(&mut [])?;
    while !tls.is_open() {
        poll_fn(|cx| tls.poll_flush(cx)).await?;
        poll_fn(|cx| tls.io.poll_read_ready(cx)).await?;
        tls.take_in()?;
    }
    Ok(tls)
}

impl Tls {
    fn new(io: Stream, session: Session) -> Self {
        Tls {
            io,
            session,
            rest: Box::default(),
            plain: Box::default(),
            waiting: None,
            source: Source::Open,
            said_bye: false,
            mute: Cell::new(false),
        }
    }

    /// The socket below.
    pub(super) fn io(&self) -> &Stream {
        &self.io
    }

    /// What was agreed upon.
    pub fn common(&self) -> &CommonState {
        self.session.common()
    }

    /// `TLSv1.3`, `TLSv1.2`
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.common().protocol_version()
    }

    /// An earlier session went on.
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer's side ended without saying so.
    pub fn is_cut(&self) -> bool {
        self.source == Source::Cut
    }

    fn is_open(&self) -> bool {
        !self.common().is_handshaking()
    }

    /// See [`Stream::poll_read`].
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        for _ in 0..EMPTY {
            if !self.plain.is_empty() {
                let count = self.plain.len().min(into.len());
                into[..count].copy_from_slice(&self.plain[..count]);
                self.plain = self.plain[count..].into();
                return Poll::Ready(Ok(count));
            }
            match self.source {
                Source::Open => {}
                Source::Ended | Source::Cut => return Poll::Ready(Ok(0)),
                Source::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let mut buffer = self.lend();
            let space = buffer.space();
            let most = space.len().min(into.len().max(LEAST));
            match ready!(self.io.poll_read(cx, &mut space[..most]))? {
                0 => self.source = Source::Cut,
                count => {
                    buffer.advance(count);
                    let mut filled = 0;
                    let opened = self.open(buffer, |plain| {
                        let count = plain.len().min(into.len() - filled);
                        into[filled..filled + count].copy_from_slice(&plain[..count]);
                        filled += count;
                        count
                    });
                    if filled > 0 {
                        // What is wrong behind it is said next time.
                        return Poll::Ready(Ok(filled));
                    }
                    opened?;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// See [`Stream::poll_write`]. After `Pending` the writer comes again with the same bytes, and perhaps more behind them: some
    /// are sealed already, and it is told so when the socket has taken them.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let stood_for = self.waiting.as_ref().map_or(0, |waiting| waiting.stands_for);
        ready!(self.poll_flush(cx))?;
        if stood_for > 0 || from.is_empty() {
            debug_assert!(stood_for <= from.len(), "the writer comes again with what it came with");
            return Poll::Ready(Ok(stood_for));
        }
        let count = from.len().min(MOST);
        SCRATCH.with_borrow_mut(|sealed| {
            sealed.clear();
            self.seal(Word::Bytes(&from[..count]), sealed)?;
            let mut taken = 0;
            while taken < sealed.bytes().len() {
                match self.io.poll_write(cx, &sealed.bytes()[taken..]) {
                    Poll::Ready(written) => taken += written?,
                    Poll::Pending => {
                        self.wait(&sealed.bytes()[taken..], count);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(count))
        })
    }

    /// Writes what is sealed; ready when the socket has it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = &mut self.waiting {
            waiting.taken += ready!(self.io.poll_write(cx, &waiting.bytes[waiting.taken..]))?;
            if waiting.taken == waiting.bytes.len() {
                self.waiting = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// See [`Stream::try_write`].
    pub(super) fn try_write(&mut self, bytes: &[u8]) {
        self.say(Word::Bytes(bytes));
    }

    /// Says that we end, and ends our side.
    pub(super) fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.say_bye();
        self.io.shut_down(cx);
    }

    /// See [`Stream::reset_on_drop`].
    pub(super) fn reset_on_drop(&self) {
        self.mute.set(true);
        self.io.reset_on_drop();
    }

    /// See [`Stream::end`].
    pub(super) fn end(&self) {
        self.mute.set(true);
        self.io.end();
    }

    /// See [`Stream::is_quiet`]: tickets and new keys are no news.
    pub(super) fn is_quiet(&mut self) -> bool {
        loop {
            if !self.plain.is_empty() || self.source != Source::Open || self.waiting.is_some() {
                return false;
            }
            match self.take_in() {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The worker's buffer with what there is of a record.
    fn lend(&self) -> Buffer {
        let mut buffer = Buffer::take();
        buffer.space()[..self.rest.len()].copy_from_slice(&self.rest);
        buffer.advance(self.rest.len());
        buffer
    }

    /// Takes in what the socket has at hand; `false`: nothing.
    fn take_in(&mut self) -> io::Result<bool> {
        let mut buffer = self.lend();
        match self.io.try_read(buffer.space()) {
            Ok(0) => {
                self.source = Source::Cut;
                if self.is_open() { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
            Ok(count) => {
                buffer.advance(count);
                self.open(buffer, |_| 0)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the records in `buffer`; `taken` takes what it can of what was in them, and says how much that was.
    fn open(&mut self, mut buffer: Buffer, mut taken: impl FnMut(&[u8]) -> usize) -> io::Result<()> {
        let mut left: Vec<u8> = Vec::new();
        let used = self.digest_with(buffer.filled_mut(), |plain| {
            let count = if left.is_empty() { taken(plain) } else { 0 };
            left.extend_from_slice(&plain[count..]);
        });
        if !left.is_empty() {
            self.plain = left.into();
        }
        buffer.consume(used?);
        if buffer.filled().len() == CAPACITY {
            self.source = Source::Broken;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a record without end"));
        }
        self.rest = buffer.filled().into();
        Ok(())
    }

    fn digest(&mut self, incoming: &mut [u8]) -> io::Result<usize> {
        self.digest_with(incoming, |_| {})
    }

    /// Goes through `incoming`, and sends what the protocol itself has to say to it; how many of the bytes are done with.
    fn digest_with(&mut self, incoming: &mut [u8], mut plain: impl FnMut(&[u8])) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|sealed| {
            sealed.clear();
            let (used, stand) = self.session.drive(incoming, None, &mut plain, sealed);
            self.pass_on(sealed);
            match self.understood(stand)? {
                Stand::Ended => self.source = Source::Ended,
                Stand::Open | Stand::Handshake => {}
            }
            Ok(used)
        })
    }

    /// Seals a word; what the protocol itself has to say goes before it.
    fn seal(&mut self, word: Word<'_>, sealed: &mut Sealed) -> io::Result<()> {
        if self.source == Source::Broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (mut left, mut rest) = (Vec::new(), std::mem::take(&mut self.rest));
        let (used, stand) =
            self.session.drive(&mut rest, Some(word), &mut |plain| left.extend_from_slice(plain), sealed);
        self.rest = if used == 0 { rest } else { rest[used..].into() };
        if !left.is_empty() {
            self.plain = [&self.plain[..], &left].concat().into();
        }
        match self.understood(stand)? {
            Stand::Open => Ok(()),
            Stand::Handshake | Stand::Ended => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// After an error rustls is not asked again.
    fn understood(&mut self, stand: Result<Stand, rustls::Error>) -> io::Result<Stand> {
        stand.map_err(|error| {
            self.source = Source::Broken;
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    /// Sends as much of what is sealed as the socket takes, behind what waits; the rest waits, for whoever writes next.
    fn pass_on(&mut self, sealed: &Sealed) {
        let mut taken = 0;
        while self.waiting.is_none() && taken < sealed.bytes().len() {
            match self.io.try_write_some(&sealed.bytes()[taken..]) {
                Ok(count) => taken += count,
                Err(_) => break,
            }
        }
        if taken < sealed.bytes().len() {
            self.wait(&sealed.bytes()[taken..], 0);
        }
    }

    fn wait(&mut self, bytes: &[u8], stands_for: usize) {
        let waiting = match self.waiting.take() {
            None => Waiting { bytes: bytes.into(), taken: 0, stands_for },
            Some(before) => Waiting {
                bytes: [&before.bytes[before.taken..], bytes].concat().into(),
                taken: 0,
                stands_for: before.stands_for + stands_for,
            },
        };
        self.waiting = Some(Box::new(waiting));
    }

    fn say_bye(&mut self) {
        if !self.said_bye && !self.mute.get() && self.is_open() {
            self.said_bye = true;
            self.say(Word::Bye);
        }
    }

    /// Says something if the socket takes it right now.
    fn say(&mut self, word: Word<'_>) {
        if let Some(waiting) = &mut self.waiting {
            match self.io.try_write_some(&waiting.bytes[waiting.taken..]) {
                Ok(count) if waiting.taken + count == waiting.bytes.len() => self.waiting = None,
                // Behind half a record it would be nothing.
                Ok(count) => {
                    waiting.taken += count;
                    return;
                }
                Err(_) => return,
            }
        }
        SCRATCH.with_borrow_mut(|sealed| {
            sealed.clear();
            if self.seal(word, sealed).is_ok() {
                // What it does not take is lost.
                let _ = self.io.try_write_some(sealed.bytes());
            }
        });
    }
}

impl Drop for Tls {
    /// A peer that hears no word at the end must take it for an accident.
    fn drop(&mut self) {
        self.say_bye();
    }
}
