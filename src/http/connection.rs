//! A client's HTTP/1 connection: head after head, until one side has had enough.
//!
//! The connection's own task is small: what an exchange needs lives in a box for as long as the exchange runs.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use super::request::{self, Intake};
use super::respond::Failure;
use super::wire::Wire;
use super::{Context, Door, Entrance, exchange, idle, join};
use crate::codec;
use crate::limits::Place;
use crate::listener::permit::Permit;
use crate::local::stream::Stream;
use crate::local::timer::{self, Timer};
use crate::observe::metrics::ListenerCounters;

/// After our last word a client may still be sending; its bytes are read and dropped for so long, because closing on
/// unread bytes resets the connection and takes the answer with it.
const LINGER: Duration = Duration::from_secs(2);
/// And for so many bytes: a client that sends all of a large body before it reads must still hear why it was refused.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// How a client came.
#[derive(Debug)]
pub struct Arrival {
    /// The other end, or what the PROXY protocol said of it; none on a unix socket.
    pub peer: Option<Remote>,
    /// The listener.
    pub door: Arc<Door>,
    /// The worker that accepted it.
    pub worker: u32,
    /// Its place among `limits.max_connections`.
    pub permit: Permit,
    /// Its way in.
    pub entrance: Entrance,
    /// Its place among the connections of its address, where those are counted.
    pub place: Option<Place>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.counters().connections_open.dec();
    }
}

impl Arrival {
    /// What its worker counts of its listener.
    pub fn counters(&self) -> &ListenerCounters {
        &self.door.counters[self.worker as usize]
    }
}

/// An address in less room than a `SocketAddr` takes, which knows scopes of IPv6 too: every connection holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The address, as the socket has it.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Remote { ip: address.ip(), port: address.port() }
    }
}

impl From<Remote> for SocketAddr {
    fn from(Remote { ip, port }: Remote) -> Self {
        SocketAddr::new(ip, port)
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ctx: Rc<Context>,
    pub(super) arrival: Arrival,
    pub(super) wire: Wire,
    pub(super) timer: Timer,
    idle: idle::Entry,
}

/// What comes after an exchange.
#[derive(Debug)]
pub(super) enum Then {
    /// The next one on this connection.
    Next,
    /// Nothing: the answer was the last word.
    Close,
    /// Nothing: the client must not take what it got for the whole.
    Reset,
    /// A tunnel.
    Tunnel(Box<join::Joined>),
}

/// Serves a client until its connection ends or becomes a tunnel.
///
/// Not an `async fn`: that would keep its arguments beside the connection that is made of them.
pub fn serve(ctx: Rc<Context>, arrival: Arrival, stream: Stream) -> impl Future<Output = ()> {
    let timer = Timer::new();
    let idle = ctx.idle.enter(&timer);
    let mut connection = Connection { ctx, arrival, wire: Wire::new(stream), timer, idle };
    let mut first = true;
    async move {
        while let Some(intake) = connection.next_head(first).await {
            first = false;
            let running = Running::begin(connection.ctx.clone());
            let then = Box::pin(exchange::run(&mut connection, intake)).await;
            drop(running);
            match then {
                Then::Next => {}
                Then::Close => return Box::pin(connection.linger()).await,
                Then::Reset => return connection.wire.stream().reset_on_drop(),
                Then::Tunnel(joined) => return join::join(connection, *joined),
            }
        }
    }
}

/// Counts an exchange while it runs, so that a stop can wait for it.
struct Running(Rc<Context>);

impl Running {
    fn begin(ctx: Rc<Context>) -> Self {
        ctx.exchanges.set(ctx.exchanges.get() + 1);
        Running(ctx)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.exchanges.set(self.0.exchanges.get() - 1);
    }
}

impl Connection {
    /// The next head, or what is to be said about it; `None`: the connection is over.
    async fn next_head(&mut self, first: bool) -> Option<Intake> {
        if self.wire.unread().is_empty() {
            let timeouts = self.ctx.generation().config.timeouts;
            self.timer.set(if first { timeouts.first_byte } else { timeouts.keep_alive });
            if !first {
                self.idle.waits();
            }
            // Also when a client that never spoke is sent away: there is nothing to say to it.
            poll_fn(|cx| self.poll_read(cx)).await.filter(|more| *more)?;
            self.idle.is_busy();
        }
        self.timer.set(self.ctx.generation().config.timeouts.request_head);
        let mut seen = 0;
        loop {
            if self.ctx.stopping.get() {
                return None;
            }
            if let Some(intake) = self.look(seen) {
                return Some(intake);
            }
            seen = self.wire.unread().len();
            match poll_fn(|cx| self.poll_read(cx)).await {
                Some(true) => {}
                // Half a head and then the end: nobody is there to be told.
                Some(false) => return None,
                None => return Some(Intake::unreadable(Failure::HeadTimeout)),
            }
        }
    }

    /// Takes in the head if it is whole.
    fn look(&mut self, seen: usize) -> Option<Intake> {
        let generation = self.ctx.generation();
        let unread = self.wire.unread();
        if seen > 0 && !codec::worth_parsing(unread, seen, request::head_limits(&generation.config)) {
            return None;
        }
        let (intake, len) = request::take_in(&self.ctx, &self.arrival, &generation, unread)?;
        self.wire.consume(len);
        Some(intake)
    }

    /// Reads more: `Some(true)` = bytes came, `Some(false)` = the client ended, `None` = time is up.
    fn poll_read(&mut self, cx: &mut Poller<'_>) -> Poll<Option<bool>> {
        match self.wire.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(matches!(read, Ok(1..)))),
            Poll::Pending => self.timer.poll(cx).map(|()| None),
        }
    }

    /// Writes an answer of the proxy's own; `false`: the client did not take it in time, or is gone.
    pub(super) async fn say(&mut self, answer: &[u8]) -> bool {
        self.timer.set(self.ctx.generation().config.timeouts.send);
        let mut left = Some(answer);
        poll_fn(|cx| {
            if let Some(answer) = left.take()
                && self.wire.write(cx, answer).is_err()
            {
                return Poll::Ready(false);
            }
            match self.wire.poll_flush(cx) {
                Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
                Poll::Pending => self.timer.poll(cx).map(|()| false),
            }
        })
        .await
    }

    /// Ends our side, and waits a little for the client to end its own.
    async fn linger(&mut self) {
        let mut dropped = 0;
        let drain = poll_fn(|cx| {
            self.wire.shut_down(cx);
            loop {
                let unread = self.wire.unread().len();
                self.wire.consume(unread);
                dropped += unread;
                match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) if dropped < LINGER_BYTES => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        timer::within(LINGER, drain).await;
    }
}
