//! One check of an instance, over a connection of its own.
//!
//! ```text
//! connect -> ask -> head of the answer     in time:  Passed, Unfit, Lost
//!                                          not:      Late, and then perhaps Answered
//! leave      as a good guest does: nothing stays behind at the instance
//! ```
//!
//! Must not: know what follows from what it hears (`health`), log, count.

mod question;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::connect::{self, Endpoint, Failed};
use super::health::Event;
use super::{Instance, Upstream};
use crate::affinity::sid::open_packet::{Found, Learner};
use crate::codec::body::{Decoder, Framing, Piece};
use crate::codec::response;
use crate::codec::{HeadLimits, Parsed, header_slots};
use crate::config::model::{Check, Resolve, SendProxyProtocol, Timeouts};
use crate::local::clock;
use crate::local::random;
use crate::local::stream::Stream;
use crate::local::timer;
use crate::tunnel::close::CloseFrame;
use question::{Question, Verdict};

/// A check that is late is waited for until it is so many times too late: an instance that is slow is not dead.
const LATEST: u32 = 5;
/// How long it may take to leave.
const LEAVE: Duration = Duration::from_secs(1);
/// Bytes of an answer's body that are read, so that the connection ends with a FIN.
const BODY_MAX: usize = 64 * 1024;
/// Interim answers (100, 103) that are skipped.
const INTERIMS_MAX: usize = 16;
/// An answer's head.
const HEAD: HeadLimits = HeadLimits { bytes: 64 * 1024, headers: 256 };
/// RFC 6455 section 7.4.1: the purpose is fulfilled.
const NORMAL: u16 = 1000;

/// What is asked of one instance, and where.
#[derive(Debug)]
pub struct Target {
    endpoint: Arc<Endpoint>,
    check: Check,
    /// The value of `Host`.
    host: String,
    sources: Vec<IpAddr>,
    timeouts: Timeouts,
    resolve: Resolve,
    proxy_protocol: SendProxyProtocol,
    timeout: Duration,
}

impl Target {
    /// As the file has it.
    pub fn of(upstream: &Upstream, instance: &Instance) -> Self {
        let health = &upstream.config.health;
        Target {
            endpoint: instance.endpoint.clone(),
            check: health.check.clone(),
            host: instance.config.address(),
            sources: upstream.config.source.clone(),
            // How long a connect may take is the check's own matter.
            timeouts: Timeouts { connect: health.timeout * LATEST, ..upstream.config.timeouts },
            resolve: upstream.config.resolve,
            proxy_protocol: upstream.config.send_proxy_protocol,
            timeout: health.timeout,
        }
    }

    /// Both ask the same, in the same way, at the same place.
    pub fn is_as(&self, other: &Target) -> bool {
        let Target { endpoint: _, check, host, sources, timeouts, resolve, proxy_protocol, timeout } = self;
        let others =
            (&other.check, &other.host, &other.sources, &other.timeouts, &other.resolve, &other.timeout);
        self.is_at_the_place_of(other)
            && *proxy_protocol == other.proxy_protocol
            && (check, host, sources, timeouts, resolve, timeout) == others
    }

    /// Both ask at the same place.
    pub fn is_at_the_place_of(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
    }

    async fn connect(&self) -> Result<Wire, Event> {
        let turn = random::next();
        // On our own behalf.
        let first = connect::proxy_header(self.proxy_protocol, None);
        let connecting =
            connect::connect(&self.endpoint, &self.sources, turn, &self.timeouts, self.resolve, &first);
        match connecting.await {
            Ok(stream) => Ok(Wire { stream, unread: Vec::new() }),
            Err(Failed { kind, error }) if kind.blames_the_instance() => Err(lost(&error)),
            Err(_) => Err(Event::Void),
        }
    }
}

/// Checks the instance once; `hear` hears what there is to hear, and how long it took. Returns when the instance was left.
pub async fn probe(target: &Target, hear: impl AsyncFn(Event, Duration)) {
    let began = clock::now();
    let took = || clock::now().since(began);
    let mut asking = pin!(ask(target));
    let guest = if let Some((event, guest)) = timer::within(target.timeout, asking.as_mut()).await {
        hear(event, took()).await;
        guest
    } else {
        hear(Event::Late, took()).await;
        let patience = (target.timeout * LATEST).saturating_sub(took());
        let Some((event, guest)) = timer::within(patience, asking).await else { return };
        if matches!(event, Event::Passed | Event::Unfit(_)) {
            hear(Event::Answered(took()), took()).await;
        }
        guest
    };
    // Whoever does not let us go is left without a word.
    timer::within(LEAVE, guest.leave(target)).await;
}

/// What must be done yet, so that nothing stays behind.
#[derive(Debug)]
enum Guest {
    /// Nothing.
    Gone,
    /// To read to the end.
    Reads(Wire),
    /// To close a WebSocket.
    Switched(Wire),
    /// To end a session; over this connection if it still serves.
    InSession { sid: Box<str>, wire: Option<Wire> },
}

async fn ask(target: &Target) -> (Event, Guest) {
    let mut wire = match target.connect().await {
        Ok(wire) => wire,
        Err(event) => return (event, Guest::Gone),
    };
    let Some(question) = Question::of(&target.check, &target.host, random::secret()) else {
        return (Event::Passed, Guest::Gone);
    };
    if let Err(error) = wire.send(question.request.as_bytes()).await {
        return (lost(&error), Guest::Gone);
    }
    let head = match wire.head(&question).await {
        Ok(head) => head,
        Err(event) => return (event, Guest::Gone),
    };
    match head.verdict {
        Verdict::Good => (Event::Passed, Guest::Reads(wire)),
        Verdict::Unfit(why) => (Event::Unfit(why), Guest::Reads(wire)),
        Verdict::Switched => (Event::Passed, Guest::Switched(wire)),
        Verdict::GoodIfOpened => match wire.open_packet(head.framing).await {
            Some(sid) => {
                let wire = head.keep_alive.then_some(wire);
                (Event::Passed, Guest::InSession { sid, wire })
            }
            None => (Event::Unfit("answered without an open packet".to_owned()), Guest::Gone),
        },
    }
}

impl Guest {
    async fn leave(self, target: &Target) {
        match self {
            Guest::Gone => {}
            Guest::Reads(mut wire) => wire.read_to_end().await,
            Guest::Switched(mut wire) => {
                let close = CloseFrame::masked(NORMAL, random::secret());
                if wire.send(close.as_bytes()).await.is_ok() {
                    wire.read_to_end().await;
                }
            }
            Guest::InSession { sid, wire } => {
                let Some(request) = question::close_session(&target.check, &target.host, &sid) else {
                    return;
                };
                let wire = match wire {
                    Some(wire) => Some(wire),
                    None => target.connect().await.ok(),
                };
                if let Some(mut wire) = wire
                    && wire.send(request.as_bytes()).await.is_ok()
                {
                    wire.read_to_end().await;
                }
            }
        }
    }
}

/// What is made of a head, and how what follows it is read.
#[derive(Debug)]
struct Head {
    verdict: Verdict,
    framing: Framing,
    keep_alive: bool,
}

/// A connection with what was read and not yet used.
#[derive(Debug)]
struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

impl Wire {
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.stream.poll_write(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Reads more, behind what is unread; 0 = the instance has ended its side.
    async fn fill(&mut self) -> io::Result<usize> {
        let unread = self.unread.len();
        self.unread.resize(unread + 4096, 0);
        let read = poll_fn(|cx| self.stream.poll_read(cx, &mut self.unread[unread..])).await;
        self.unread.truncate(unread + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// The head of the answer; the interim ones before it are skipped.
    async fn head(&mut self, question: &Question<'_>) -> Result<Head, Event> {
        let mut interims = 0;
        loop {
            let mut slots = header_slots();
            let parsed = response::parse(&self.unread, &mut slots, HEAD, false).map_err(|bad| {
                Event::Unfit(format!("answered, but not with clean HTTP: {}", bad.reason()))
            })?;
            if let Parsed::Complete { head, len } = parsed {
                let interim = head.status < 200 && head.status != 101;
                let verdict = if interim { None } else { Some(question.judge(&head)) };
                let (framing, keep_alive) = (head.framing, head.keep_alive);
                self.unread.drain(..len);
                match verdict {
                    Some(verdict) => return Ok(Head { verdict, framing, keep_alive }),
                    None if interims == INTERIMS_MAX => {
                        return Err(Event::Unfit("answered with interim answers only".to_owned()));
                    }
                    None => interims += 1,
                }
                continue;
            }
            match self.fill().await {
                Ok(1..) => {}
                Ok(0) if self.unread.is_empty() => {
                    return Err(Event::Lost("connection closed without an answer".to_owned()));
                }
                Ok(0) => return Err(Event::Lost("connection closed amid an answer".to_owned())),
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    /// The sid in the body, which is read to its end.
    async fn open_packet(&mut self, framing: Framing) -> Option<Box<str>> {
        let (mut decoder, mut learner) = (Decoder::new(framing, HEAD.bytes), Learner::new());
        let (mut sid, mut seen) = (None, 0);
        while seen <= BODY_MAX {
            let unread = std::mem::take(&mut self.unread);
            seen += unread.len();
            let mut input = &unread[..];
            while let Some(piece) = decoder.next(&mut input).ok()? {
                let Piece::Data(data) = piece else { return sid };
                if let Found::Opened(opened) = learner.feed(data) {
                    sid = Some(opened.sid);
                }
            }
            if self.fill().await.ok()? == 0 {
                return if framing == Framing::UntilClose { sid } else { None };
            }
        }
        None
    }

    /// Reads until the instance ends the connection: one that ends with bytes unread is reset, which instances log.
    async fn read_to_end(&mut self) {
        let mut seen = 0;
        while seen < BODY_MAX {
            self.unread.clear();
            match self.fill().await {
                Ok(count @ 1..) => seen += count,
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// A connection that is not there, or ended: in the fewest words.
fn lost(error: &io::Error) -> Event {
    Event::Lost(match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    })
}
