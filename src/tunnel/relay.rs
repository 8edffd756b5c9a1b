//! The tunnel as a task: a small hand-written future, because a future keeps the size of its largest wait for life, and this
//! one lives for days.

mod patience;

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::close::CloseFrame;
use super::direction::{Direction, Lookouts, Moved, Sink, Source};
use super::message::Messages;
use super::ping::Pings;
use super::{Ended, Force, Order, Owner, Reason, Seat, Told, Way, Wish};
use crate::local::clock::{self, Moment};
use crate::local::random;
use crate::local::stream::Stream;
use crate::local::timer::Timer;

/// An order to close waits so long for a client to settle ([`Owner::settled_after`]).
const SETTLES: Duration = Duration::from_secs(3);

/// What an instance said elsewhere before its tunnel broke off has reached the client after this.
const REST_COMES: Duration = Duration::from_millis(250);

/// A client's and an instance's socket, joined.
#[derive(Debug)]
pub struct Tunnel<O> {
    client: Stream,
    instance: Stream,
    up: Direction,
    down: Direction,
    owner: O,
    seat: Seat,
    timer: Timer,
    opaque: bool,
    /// When something last passed. A pong to us is for us, so it is no use of the tunnel.
    active: Moment,
    /// When a byte last came from the instance, in units of 63 ms of the clock: this is held for days.
    heard: u32,
    /// When the first direction ended; the clock's begin: none has. When the instance broke off: when its client is to be told.
    half: Moment,
    /// What ended it first, and the code that was given.
    first: Option<(Reason, Option<u16>)>,
    /// What few tunnels have, and those that do not pay nothing for.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    ending: Option<Ending>,
    /// `None`: this tunnel's client is not pinged.
    pings: Option<Pings>,
    /// `None`: its messages may have any size. In a box, as those that are pinged need not have it.
    messages: Option<Box<Messages>>,
}

impl Rare {
    fn lookouts(&mut self) -> Lookouts<'_> {
        Lookouts { pings: self.pings.as_mut(), messages: self.messages.as_deref_mut() }
    }
}

/// Its end is on the way.
#[derive(Debug)]
enum Ending {
    /// An order to close waits until then for its client to settle.
    PutOff(Order, Moment),
    Now(Closing),
}

/// The proxy is closing: our frames, and when patience ends.
#[derive(Debug)]
struct Closing {
    to_client: CloseFrame,
    to_instance: CloseFrame,
    deadline: Moment,
}

impl<O: Owner> Tunnel<O> {
    /// Joins `client` and `instance`; `early` is what was read from each behind its head. `opaque`: not WebSocket.
    pub fn new(
        (client, instance): (Stream, Stream),
        early: (&[u8], &[u8]),
        opaque: bool,
        owner: O,
        seat: Seat,
    ) -> Self {
        let active = clock::coarse();
        let pings = owner.limits().ping.filter(|_| !opaque).map(|_| Pings::new(active, random::next()));
        let messages = owner.message_limit().filter(|_| !opaque).map(Messages::new).map(Box::new);
        let is_watched = pings.is_some() || messages.is_some();
        let mut tunnel = Tunnel {
            client,
            instance,
            up: Direction::new(Way::Up, opaque),
            down: Direction::new(Way::Down, opaque),
            owner,
            seat,
            timer: Timer::new(),
            opaque,
            active,
            heard: coarser(active),
            half: Moment::default(),
            first: None,
            rare: is_watched.then(|| Box::new(Rare { ending: None, pings, messages })),
        };
        let mut look = tunnel.rare.as_deref_mut().map(Rare::lookouts).unwrap_or_default();
        let up = tunnel.up.begin_with(early.0, &mut look, &tunnel.owner);
        let down = tunnel.down.begin_with(early.1, &mut look, &tunnel.owner);
        if let Err(reason) = up.and(down) {
            tunnel.close(reason, None);
        }
        tunnel.arm();
        tunnel
    }

    /// How it ends when it is cut here and now, with no word to anybody: for `reason`, unless it was ending already.
    pub fn cut(&self, reason: Reason) -> Ended {
        let (reason, code) = self.first.unwrap_or((reason, None));
        Ended { reason, code, up: self.up.total(), down: self.down.total() }
    }

    /// Whose it is.
    pub fn owner(&self) -> &O {
        &self.owner
    }

    fn closing(&self) -> Option<&Closing> {
        match &self.rare.as_deref()?.ending {
            Some(Ending::Now(closing)) => Some(closing),
            _ => None,
        }
    }

    fn pings_mut(&mut self) -> Option<&mut Pings> {
        self.rare.as_deref_mut()?.pings.as_mut()
    }

    /// Begins to close: our Close frame to both ends, each at its next frame boundary. `code`: instead of the reason's own.
    fn close(&mut self, reason: Reason, code: Option<u16>) {
        if self.closing().is_some() {
            return;
        }
        let code = code.or(reason.code()).unwrap_or(1001);
        // What the ends have said already stands as the reason: then this only hurries them. But an end that went silent
        // without a Close did not end the tunnel: the other one might have gone on.
        let said = self.up.close_seen() || self.down.close_seen();
        if reason == Reason::HalfCloseTimeout && !said {
            self.first =
                self.first.filter(|(first, _)| matches!(first, Reason::ClientLost | Reason::InstanceLost));
        }
        match &mut self.first {
            None => {
                self.first = Some((reason, (!self.opaque).then_some(code)));
                self.owner.closes(reason);
            }
            // It broke off without a word: this is the one that its client gets.
            Some((_, given @ None)) if self.down.owes_close() => *given = Some(code),
            Some(_) => {}
        }
        let mut key = [0; 4];
        // A failing source of randomness must not keep a socket open; the key hides nothing in a Close of ours.
        let _ = aws_lc_rs::rand::fill(&mut key);
        self.rare.get_or_insert_default().ending = Some(Ending::Now(Closing {
            to_client: CloseFrame::unmasked(code),
            to_instance: CloseFrame::masked(code, key),
            deadline: clock::coarse().after(self.owner.limits().close_wait),
        }));
        self.arm();
    }

    fn obey(&mut self, order: Order, cx: &Context<'_>) {
        if let Force::IfSilentSince(since) = order.force
            && self.heard > coarser(since)
        {
            self.seat.declines();
            if let (Some(_), Some(rare)) = (self.put_off(), &mut self.rare) {
                rare.ending = None;
            }
            // For the next one; there is none yet.
            self.seat.order(cx);
            return;
        }
        if order.force == Force::AtOnce || self.is_settled() || self.closing().is_some() {
            return self.comply(order);
        }
        // A stronger one than that which waits already waits no longer.
        let until = self.put_off().map_or_else(|| clock::coarse().after(SETTLES), |(_, until)| until);
        if self.put_off() != Some((order, until)) {
            self.rare.get_or_insert_default().ending = Some(Ending::PutOff(order, until));
            self.arm();
        }
    }

    fn comply(&mut self, order: Order) {
        self.close(order.reason, order.code.map(NonZeroU16::get));
    }

    fn told(&self) -> Told {
        let closing = self.first.is_some() || self.closing().is_some();
        Told { active: self.active, up: self.up.total(), down: self.down.total(), closing }
    }

    /// A Close does its client no harm any more.
    fn is_settled(&self) -> bool {
        self.up.total().frames >= self.owner.settled_after()
    }

    fn put_off(&self) -> Option<(Order, Moment)> {
        match self.rare.as_deref()?.ending {
            Some(Ending::PutOff(order, until)) => Some((order, until)),
            _ => None,
        }
    }

    /// Since when nothing has passed; `None`: it is not to be moved, or ends anyway.
    fn idle_since(&self) -> Option<Moment> {
        let ends = self.first.is_some() || self.half_since().is_some();
        (!ends && self.owner.may_be_moved()).then_some(self.active)
    }

    fn pump(&mut self, cx: &mut Context<'_>) {
        let (closing, mut look) = match self.rare.as_deref_mut() {
            Some(Rare { ending, pings, messages }) => (
                if let Some(Ending::Now(closing)) = ending { Some(&*closing) } else { None },
                Lookouts { pings: pings.as_mut(), messages: messages.as_deref_mut() },
            ),
            None => (None, Lookouts::default()),
        };
        let (deaf, clogged) = (self.up.waiting_since().is_some(), self.down.waiting_since().is_some());
        let up = self.up.pump(
            cx,
            (&mut self.client, &mut self.instance),
            closing.map(|closing| &closing.to_instance),
            &mut look,
            self.down.as_other(),
            &self.owner,
        );
        if let Some(pings) = &mut look.pings
            // While the instance takes nothing we do not read what the client says: that is not the client's silence.
            && (deaf || up.is_ok_and(|up| up.heard) || self.up.source != Source::Open)
        {
            pings.heard(clock::coarse());
        }
        let down = self.down.pump(
            cx,
            (&mut self.instance, &mut self.client),
            closing.map(|closing| &closing.to_client),
            &mut look,
            self.up.as_other(),
            &self.owner,
        );
        if [up, down].iter().any(|moved| moved.is_ok_and(|Moved { passed, .. }| passed)) {
            self.active = clock::coarse();
        }
        if down.is_ok_and(|Moved { heard, .. }| heard) {
            self.heard = coarser(clock::coarse());
        }
        if clogged && let Some(pings) = look.pings {
            pings.still_queued(clock::coarse());
        }
        if let Err(reason) = up.and(down) {
            self.close(reason, None);
            cx.waker().wake_by_ref();
        }
        if let Some((order, _)) = self.put_off()
            && self.is_settled()
        {
            // Its instance may have said something just now.
            self.obey(order, cx);
            cx.waker().wake_by_ref();
        }
        self.note_ends(cx);
    }

    /// What a broken connection means for the other direction, and who was first.
    fn note_ends(&mut self, cx: &Context<'_>) {
        if self.up.source == Source::Lost {
            self.down.sink = Sink::Lost;
        }
        if self.down.source == Source::Lost {
            self.up.sink = Sink::Lost;
        }
        if self.first.is_none() {
            let lost = |direction: &Direction| direction.source == Source::Lost;
            let ended = |direction: &Direction| direction.close_seen() || direction.source == Source::Ended;
            self.first = if ended(&self.up) {
                Some((Reason::ClientClosed, self.up.close_code()))
            } else if ended(&self.down) {
                Some((Reason::InstanceClosed, self.down.close_code()))
            } else if self.up.unacked || self.down.unacked {
                Some((Reason::Stalled, None))
            } else if lost(&self.up) || self.down.sink == Sink::Lost {
                Some((Reason::ClientLost, None))
            } else if lost(&self.down) || self.up.sink == Sink::Lost {
                Some((Reason::InstanceLost, None))
            } else {
                None
            };
            if matches!(self.first, Some((Reason::ClientClosed | Reason::ClientLost | Reason::Stalled, _))) {
                if self.down.owes_close() {
                    // It was held back for this.
                    cx.waker().wake_by_ref();
                }
                self.down.owes_nothing();
            }
            let by_instance = matches!(self.first, Some((Reason::InstanceClosed | Reason::InstanceLost, _)));
            if by_instance && !self.down.close_seen() {
                let wait = self.owner.instance_broke_off();
                // What else the instance had said to this client may come a moment later, by another worker.
                let wait = if self.is_settled() { wait } else { wait.max(REST_COMES) };
                self.half = clock::coarse().after(wait);
                self.arm();
                if wait.is_zero() && self.down.owes_close() {
                    self.close(Reason::InstanceLost, Some(self.owner.broken_code()));
                    cx.waker().wake_by_ref();
                }
            }
        }
        let one_ended = [&self.up, &self.down]
            .iter()
            .any(|direction| direction.source != Source::Open || direction.is_over());
        if one_ended && self.half_since().is_none() {
            self.half = clock::coarse();
            self.arm();
        }
        if self.up.waiting_since().or(self.down.waiting_since()).is_some() {
            self.arm();
        }
    }

    /// Both directions are done, or both ends have answered our Close.
    fn is_over(&self) -> bool {
        if self.up.is_over() && self.down.is_over() {
            return true;
        }
        // Both have said Close and one has ended: neither may say more, so the other need not be waited for.
        let closed = self.up.is_closed() && self.down.is_closed();
        if closed && (self.up.source != Source::Open || self.down.source != Source::Open) {
            return true;
        }
        if self.closing().is_none() {
            return false;
        }
        if self.opaque {
            return true;
        }
        is_through(&self.up, &self.down) && is_through(&self.down, &self.up)
    }

    /// The client has answered our Close: to it the tunnel is over when we hang up, and it must not wait for an instance that
    /// says nothing, for it comes back only then.
    fn let_client_go(&mut self, cx: &mut Context<'_>) {
        let answered = self.down.sink == Sink::Closed && self.up.close_seen();
        if answered && !self.opaque && is_through(&self.up, &self.down) {
            self.client.shut_down(cx);
            self.down.sink = Sink::ShutDown;
        }
    }

    fn ended(&mut self) -> Ended {
        let (reason, code) = self.first.unwrap_or((Reason::ProtocolError, None));
        if reason == Reason::ClientLost {
            // The client broke off: so do we, which also leaves no TIME_WAIT on our port to the instance.
            self.instance.reset_on_drop();
        }
        Ended { reason, code, up: self.up.total(), down: self.down.total() }
    }
}

/// An end is through when it said Close or ended, and has been told everything; one that cannot be told is not waited for.
/// `from` it, `to` it.
fn is_through(from: &Direction, to: &Direction) -> bool {
    let spoken = from.close_seen() || from.source != Source::Open;
    let told = to.waiting_since().is_none() && to.sink != Sink::Open;
    let untold = to.sink == Sink::Open && to.close_seen() && to.waiting_since().is_none();
    (spoken || to.sink == Sink::ShutDown || to.sink == Sink::Lost) && (told || untold)
}

/// Wraps after eight years.
fn coarser(moment: Moment) -> u32 {
    u32::try_from((moment.millis() / 63) & u64::from(u32::MAX)).unwrap_or(0)
}

impl<O: Owner + Unpin> Future for Tunnel<O> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        match this.seat.wish(cx) {
            Some(Wish::Close(order)) => this.obey(order, cx),
            Some(Wish::TellIdle) => this.seat.is_idle(this.idle_since()),
            None => {}
        }
        if let Some(place) = this.seat.is_asked() {
            this.owner.tells(place, &this.told());
        }
        while this.timer.poll(cx).is_ready() {
            if this.on_timer() {
                return Poll::Ready(this.ended());
            }
        }
        this.pump(cx);
        this.let_client_go(cx);
        if this.is_over() { Poll::Ready(this.ended()) } else { Poll::Pending }
    }
}
