//! One request to one instance and its answer back: both bodies stream, both ends are watched, every wait has an end.

use std::future::poll_fn;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, ready};

use super::Context;
use super::answer::{self, Answer};
use super::body::{Pump, Stop};
use super::headers::{self, Delivery};
use super::lease::Lease;
use super::patience::{Expected, Lapse, Patience, Wait};
use super::request::Request;
use super::respond::Failure;
use super::wire::Wire;
use crate::codec::body::Framing;
use crate::codec::response;
use crate::codec::{self, Parsed, Version, header_slots};
use crate::local::timer::Timer;
use crate::observe::metrics::Kind;
use crate::routing::pick::Need;
use crate::tunnel::{Reason, Seat, Sort};

/// Interim answers (100, 103 ...) to one request; an instance that sends more has lost its mind.
const INTERIMS_MAX: u8 = 16;

/// Why an exchange broke off.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// The status of an answer whose head has gone to the client: there is no other answer to give.
    pub(super) begun: Option<u16>,
    /// A byte of an answer came.
    pub(super) answered: bool,
}

/// One request on its way to one instance, and the answer on its way back.
#[derive(Debug)]
pub(super) struct Transfer<'x> {
    ctx: &'x Rc<Context>,
    client: &'x mut Wire,
    pub(super) lease: &'x mut Lease,
    request: &'x Request,
    patience: Patience<'x>,
    /// The request on its way; `None`: it is through. In a box, because a long-poll has none while it waits.
    up: Option<Box<Pump>>,
    /// Bytes of its body, once it is through.
    sent: u64,
    /// The instance takes no more of the request; its answer may still come.
    up_refused: bool,
    /// A byte of an answer came.
    answered: bool,
    /// Unread bytes of the instance in which there is no whole head.
    seen: usize,
    /// Interim answers so far.
    interims: u8,
    /// Where an order to end finds it.
    seat: Seat,
}

impl<'x> Transfer<'x> {
    /// Sends `head` and what follows of the request over the lease.
    pub(super) fn new(
        ctx: &'x Rc<Context>,
        (client, timer): (&'x mut Wire, &'x Timer),
        lease: &'x mut Lease,
        request: &'x Request,
        head: Vec<u8>,
    ) -> Self {
        let chunked = request.framing == Framing::Chunked;
        let body_limit = request.body_limit.map(NonZeroU64::get);
        let up = Pump::new(head, request.framing, chunked, body_limit, request.limits().bytes);
        let sort = match (request.kind, request.placing.need) {
            (Kind::Poll, _) => Sort::Poll,
            (_, Need::Start) => Sort::Start,
            _ => Sort::Exchange,
        };
        // Other exchanges may come to their end.
        let standing = ctx.standing_order().filter(|_| sort == Sort::Poll);
        let seat = ctx.leased.seat(lease.placed.instance.id, sort, standing);
        Transfer {
            ctx,
            client,
            lease,
            request,
            patience: Patience::new(timer),
            up: Some(Box::new(up)),
            sent: 0,
            up_refused: false,
            answered: false,
            seen: 0,
            interims: 0,
            seat,
        }
    }

    /// Bytes of the request's body so far.
    pub(super) fn bytes_up(&self) -> u64 {
        self.up.as_ref().map_or(self.sent, |up| up.bytes())
    }

    /// The request has been read whole: what the client sends next is another one.
    pub(super) fn request_is_whole(&self) -> bool {
        self.has_read_all() && !self.up_refused
    }

    /// Nothing of the request is to come from the client.
    fn has_read_all(&self) -> bool {
        self.up.as_ref().is_none_or(|up| up.is_ended())
    }

    /// The request has gone to the instance whole. It may have answered before it took all of it: then what is left would
    /// be taken for the next request.
    fn instance_took_all(&self) -> bool {
        self.request_is_whole() && !self.lease.wire.is_blocked()
    }

    /// Waits for the head of the answer; interim ones are passed on.
    pub(super) async fn answer(&mut self) -> Result<Answer, Broken> {
        let answer = poll_fn(|cx| self.poll_answer(cx)).await;
        answer.map_err(|failure| Broken { failure, begun: None, answered: self.answered })
    }

    /// Passes the answer on, head first; how many bytes of body the client got, and whether the instance's
    /// connection can serve again.
    pub(super) async fn deliver(&mut self, mut answer: Answer) -> (u64, Result<bool, Broken>) {
        let head = std::mem::take(&mut answer.head);
        if answer.stream {
            self.seat.becomes(Sort::Stream);
        } else if self.request.placing.need == Need::Start {
            self.seat.becomes(Sort::Exchange);
        }
        let client_chunked = self.request.version == Version::Http11
            && matches!(answer.framing, Framing::Chunked | Framing::UntilClose);
        let mut down = Pump::new(head, answer.framing, client_chunked, None, self.request.limits().bytes);
        down.learn(answer.learning.take());
        let delivered = poll_fn(|cx| self.poll_deliver(cx, &mut down)).await;
        let reusable =
            answer.instance_keeps && self.instance_took_all() && self.lease.wire.unread().is_empty();
        let result = match delivered {
            Ok(()) => Ok(reusable),
            Err(failure) => {
                Err(Broken { failure, begun: down.has_begun().then_some(answer.status), answered: true })
            }
        };
        (down.bytes(), result)
    }

    fn poll_answer(&mut self, cx: &mut Poller<'_>) -> Poll<Result<Answer, Failure>> {
        let starts = self.request.placing.need == Need::Start;
        if !starts {
            // Once an answer has begun there may be packets in it, which nobody else has.
            let begun = !self.lease.wire.unread().is_empty();
            self.obey(cx, begun)?;
        }
        let mut moved = false;
        let uploading = self.poll_upload(cx, &mut moved)?;
        // What the client does not take of interim answers is not read from the instance either.
        while self.client.poll_flush(cx).map_err(|_| Failure::ClientGone)?.is_ready() {
            let unread = self.lease.wire.unread();
            if !unread.is_empty()
                && (self.seen == 0 || codec::worth_parsing(unread, self.seen, self.request.limits()))
            {
                self.answered = true;
                if let Some(answer) = self.take_answer(cx)? {
                    return Poll::Ready(Ok(answer));
                }
                if self.client.is_blocked() {
                    self.seen = 0;
                    continue;
                }
            }
            self.seen = self.lease.wire.unread().len();
            match self.lease.wire.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::InstanceClosed)),
            }
        }
        if starts {
            // Only now: its session may have begun, with an answer that was there already.
            self.obey(cx, false)?;
        }
        let answer = match &self.request.handshake {
            _ if self.client.is_blocked() => Wait::ClientTakes,
            Some(_) => Wait::Switch,
            None => Wait::AnswerHead,
        };
        // While the request is on its way the answer has time.
        let down = (!uploading).then_some((answer, false));
        self.poll_patience(cx, uploading.then_some(moved), down)
    }

    /// Ends when it is told to. An answer to a poll that has `begun` has packets that nobody else has: it is cut only with its
    /// instance.
    fn obey(&self, cx: &Poller<'_>, begun: bool) -> Result<(), Failure> {
        if let Some(place) = self.seat.is_asked() {
            self.ctx.census.exchange(place, self.lease.placed.instance.id, self.request.client);
        }
        let spared = |reason| begun && self.request.kind == Kind::Poll && reason != Reason::Down;
        match self.seat.order(cx) {
            Some(order) if !spared(order.reason) => Err(Failure::Closed(order.reason)),
            _ => Ok(()),
        }
    }

    fn poll_deliver(&mut self, cx: &mut Poller<'_>, down: &mut Pump) -> Poll<Result<(), Failure>> {
        self.obey(cx, true)?;
        let mut moved = false;
        if self.up_refused {
            // Our write has taken the error of a reset: what is read behind it ends like a clean answer.
            down.doubt_the_end();
        }
        match down.poll(cx, &mut self.lease.wire, self.client, &mut moved) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(stop)) => return Poll::Ready(Err(broken_answer(&stop))),
            Poll::Pending => {}
        }
        let wait = if self.client.is_blocked() { Wait::ClientTakes } else { Wait::AnswerBody };
        let mut moved_up = false;
        let uploading = self.poll_upload(cx, &mut moved_up)?;
        self.poll_patience(cx, uploading.then_some(moved_up), Some((wait, moved)))
    }

    /// Moves the request; `true` while more of it is to come.
    fn poll_upload(&mut self, cx: &mut Poller<'_>, moved: &mut bool) -> Result<bool, Failure> {
        if self.up_refused {
            return Ok(false);
        }
        let Some(up) = &mut self.up else { return Ok(false) };
        match up.poll(cx, self.client, &mut self.lease.wire, moved) {
            Poll::Pending => Ok(true),
            Poll::Ready(Ok(())) => {
                self.sent = up.bytes();
                self.up = None;
                Ok(false)
            }
            Poll::Ready(Err(Stop::Sink)) => {
                // It may have answered before it closed: its word is still to be heard.
                self.up_refused = true;
                Ok(false)
            }
            Poll::Ready(Err(Stop::Source)) => Err(Failure::ClientGone),
            Poll::Ready(Err(Stop::Bad(bad))) => Err(Failure::BadBody(bad)),
            Poll::Ready(Err(Stop::TooLarge)) => Err(Failure::BodyTooLarge),
        }
    }

    /// Watches the client and the clock while nothing else can be done. `upload`: the request is still on its way, and whether it
    /// came a step further.
    fn poll_patience<T>(
        &mut self,
        cx: &mut Poller<'_>,
        upload: Option<bool>,
        down: Expected,
    ) -> Poll<Result<T, Failure>> {
        // Nothing is read of a body that the instance does not take: then too the client's end would not be seen.
        let blocked = self.lease.wire.is_blocked();
        let hidden = if upload.is_some() { blocked } else { self.watch_client(cx)? };
        // A client that waits for 100 does not owe the body yet.
        let unasked = self.request.expects_continue && self.bytes_up() == 0 && self.interims == 0;
        let next = match (blocked, unasked) {
            (true, _) => Wait::InstanceTakes,
            (false, true) => Wait::AnswerHead,
            (false, false) => Wait::RequestBody,
        };
        let up = upload.map(|moved| (next, moved));
        self.patience.expect(up, down, &self.request.upstream.config.timeouts, hidden);
        loop {
            match ready!(self.patience.poll(cx)) {
                Lapse::Late(wait) => return Poll::Ready(Err(wait.failure())),
                Lapse::Look if hidden && self.client.stream().is_read_closed() => {
                    return Poll::Ready(Err(Failure::ClientGone));
                }
                Lapse::Look => {}
            }
        }
    }

    /// Notices a client that leaves; what it sends meanwhile waits. `true`: so much waits that its end would not be seen.
    fn watch_client(&mut self, cx: &mut Poller<'_>) -> Result<bool, Failure> {
        while self.client.unread().len() < self.request.limits().bytes {
            match self.client.poll_fill(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Err(Failure::ClientGone),
            }
        }
        self.client.settle();
        Ok(true)
    }

    /// Looks at what the instance has said so far.
    fn take_answer(&mut self, cx: &mut Poller<'_>) -> Result<Option<Answer>, Failure> {
        loop {
            let mut slots = header_slots();
            let parsed = response::parse(
                self.lease.wire.unread(),
                &mut slots,
                self.request.limits(),
                self.request.to_head,
            );
            let Parsed::Complete { head, len } = parsed.map_err(Failure::BadAnswer)? else { return Ok(None) };
            let handshake = self.request.handshake.as_ref();
            if head.status == 101 {
                if !handshake.is_some_and(|handshake| handshake.is_answered_by(&head)) {
                    return Err(Failure::BadSwitch);
                }
            } else if head.status < 200 {
                self.interims += 1;
                if self.interims > INTERIMS_MAX {
                    return Err(Failure::InterimAnswers);
                }
                if self.request.version == Version::Http11 && handshake.is_none() {
                    let mut interim = Vec::new();
                    headers::write_response(&head, INTERIM, &mut interim);
                    self.client.write(cx, &interim).map_err(|_| Failure::ClientGone)?;
                }
                self.lease.wire.consume(len);
                if self.client.is_blocked() {
                    return Ok(None);
                }
                continue;
            }
            // How long the client takes for its answer is none of the instance's business.
            self.lease.handshake.iter_mut().for_each(|handshake| handshake.answered());
            let beginning = if head.status == 101 { None } else { self.lease.handshake.take() };
            let whole = self.has_read_all();
            let answer = answer::prepare(self.ctx, self.request, self.lease, &head, whole, beginning);
            self.lease.wire.consume(len);
            return Ok(Some(answer));
        }
    }
}

/// An interim answer has nothing of its own.
const INTERIM: Delivery<'static> =
    Delivery { framing: Framing::None, connection: None, upgrade: None, set_cookie: None };

fn broken_answer(stop: &Stop) -> Failure {
    match stop {
        Stop::Sink => Failure::ClientGone,
        Stop::Bad(bad) => Failure::BadAnswerBody(*bad),
        Stop::Source | Stop::TooLarge => Failure::InstanceClosed,
    }
}
