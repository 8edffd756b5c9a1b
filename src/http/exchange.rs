//! A request's life, from its head to the last byte of the answer.
//!
//! ```text
//! connection   a whole head is in the buffer
//! request      generation (one look) -> route -> affinity -> headers      refused: 400, 404, 413, 431
//! exchange     lease      pick an instance and connect to it              none: 503
//!              forward    request up, answer down                         502, 504
//!              stamp      the cookie that binds the client (on the 101 too)
//!              join       after a 101: the tunnel takes both sockets
//!              record     counters and the access line
//! ```
//!
//! Failures become answers in `respond`, and nowhere else.

use super::Context;
use super::connection::{Connection, Then};
use super::forward::{Answer, Broken, Transfer};
use super::join::Joined;
use super::lease::{self, Lease};
use super::record::{self, Open, Outcome};
use super::request::{Intake, Request};
use super::respond::{self, Failure};
use crate::codec::Version;
use crate::codec::body::Framing;
use crate::observe::metrics::{ConnectError, Kind};
use crate::routing::pick::Need;
use crate::upstream::load::Home;

/// Serves one head.
pub(super) async fn run(connection: &mut Connection, intake: Intake) -> Then {
    match intake {
        Intake::Request(request) => serve(connection, request).await,
        Intake::Health { keep_alive, to_head } => Box::pin(health(connection, to_head, keep_alive)).await,
        Intake::Refused { failure, to_head, keep_alive, notes, upstream } => {
            let then =
                Box::pin(tell(connection, respond::Answer::refusal(failure), to_head, keep_alive)).await;
            record::refused(
                &connection.ctx,
                &connection.arrival,
                failure,
                upstream.as_deref(),
                notes.as_deref(),
            );
            then
        }
    }
}

/// What is awaited for long lives in this future, whatever is over soon in a box of its own: a pending long-poll is as large
/// as the largest of the former.
async fn serve(connection: &mut Connection, mut request: Box<Request>) -> Then {
    let ctx = connection.ctx.clone();
    let mut fresh = request.handshake.is_some();
    let mut left: Option<Box<Left>> = None;
    loop {
        let at = left.as_ref().map(|left| left.lease.index);
        let leased = lease::lease(&ctx, &request, connection.wire.stream(), fresh, at);
        let mut lease = match Box::pin(leased).await {
            Ok(lease) => lease,
            Err(failure) => {
                // If there was nowhere else, what came of the first one is the reason.
                let failure = left.as_ref().map_or(failure, |left| left.failure);
                let lease = left.as_ref().map(|left| (&left.lease, (0, 0)));
                return Box::pin(give_up(connection, &request, lease, failure)).await;
            }
        };
        if !lease.reused && connection.wire.stream().is_read_closed() {
            // It left while we connected: what it wanted is not done any more.
            return Box::pin(give_up(connection, &request, None, Failure::ClientGone)).await;
        }
        let may_leave = left.is_none() && request.placing.need == Need::Start;
        let reused = lease.reused;
        let may_retry = request.retryable && (reused || may_leave);
        let head = if may_retry { request.head.clone() } else { std::mem::take(&mut request.head) };
        let mut open = Open::begin(&lease.instance, ctx.worker, request.kind);
        let mut transfer =
            Transfer::new(&ctx, (&mut connection.wire, &connection.timer), &mut lease, &request, head);
        let answer = match transfer.answer().await {
            Ok(answer) => answer,
            // The instance was ending a connection that had served before: it cannot have acted on this request.
            Err(Broken { answered: false, failure: Failure::InstanceClosed, .. }) if may_retry && reused => {
                fresh = true;
                continue;
            }
            // A session that began there in spite of this is nobody's; whoever starts one finds another instance once.
            Err(Broken { answered: false, failure, .. }) if may_retry && may_leave && failure.leaves() => {
                drop(transfer);
                fresh = true;
                left = Some(Box::new(Left::new(&ctx, lease, failure)));
                continue;
            }
            Err(broken) => {
                let bytes = transfer.bytes_up();
                // How long the client takes to hear of it is none of the instance's business.
                lease.handshake = None;
                return Box::pin(fail(connection, &request, &lease, &broken, (bytes, 0))).await;
            }
        };
        if answer.switched {
            drop(open);
            return Box::pin(switch(connection, *request, lease, answer)).await;
        }
        let kind = answer.kind(&request);
        open.becomes(kind);
        let (status, client_keeps) = (answer.status, answer.client_keeps && !ctx.stopping.get());
        // In a box, like everything that begins once the answer does: what waits for an answer is to be small.
        let (down, delivered) = Box::pin(transfer.deliver(answer)).await;
        let (up, whole) = (transfer.bytes_up(), transfer.request_is_whole());
        return match delivered {
            Ok(reusable) => {
                let outcome = Outcome { bytes: (up, down), kind, ..Outcome::answered(status) };
                record::exchange(&ctx, &connection.arrival, &request, Some(&lease), outcome);
                drop(open);
                if reusable {
                    ctx.pool.put(&lease.instance, lease.wire.into_parts().0);
                }
                if whole && client_keeps { Then::Next } else { Then::Close }
            }
            Err(broken) => Box::pin(fail(connection, &request, &lease, &broken, (up, down))).await,
        };
    }
}

/// The instance that a session start had to leave.
#[derive(Debug)]
struct Left {
    lease: Lease,
    /// Why.
    failure: Failure,
}

impl Left {
    fn new(ctx: &Context, mut lease: Lease, failure: Failure) -> Self {
        if failure.blames_the_instance() {
            lease.instance.counters(ctx.worker).connect_error(ConnectError::Reset);
            lease.instance.vitals.suspect();
        }
        lease.handshake = None;
        lease.wire.stream().end();
        Left { lease, failure }
    }
}

/// The exchange broke off on its way.
async fn fail(
    connection: &mut Connection,
    request: &Request,
    lease: &Lease,
    broken: &Broken,
    bytes: (u64, u64),
) -> Then {
    let Some(status) = broken.begun else {
        return give_up(connection, request, Some((lease, bytes)), broken.failure).await;
    };
    let outcome = Outcome { bytes, failure: Some(broken.failure), ..Outcome::answered(status) };
    record::exchange(&connection.ctx, &connection.arrival, request, Some(lease), outcome);
    Then::Reset
}

/// There will be no answer of an instance: the client is told why.
async fn give_up(
    connection: &mut Connection,
    request: &Request,
    lease: Option<(&Lease, (u64, u64))>,
    failure: Failure,
) -> Then {
    // A body that nobody read makes the connection's next bytes meaningless.
    let whole = lease.is_none() || request.kind == Kind::Poll;
    let bodiless = request.framing == Framing::None && request.version == Version::Http11;
    let keep_alive = request.keep_alive && bodiless && whole;
    let answer = respond::Answer::to(request, failure);
    let status = answer.as_ref().map(|answer| answer.status);
    if let Some((lease, _)) = lease {
        // It has nothing to wait for, however long the client takes to hear of it.
        lease.wire.stream().end();
    }
    if failure.ends_session(request.kind) {
        // Before it hears of it, for it comes again at once.
        record::session_ended(&connection.ctx, request, lease.map(|(lease, _)| lease), failure);
    }
    let then = tell(connection, answer, request.to_head, keep_alive).await;
    let bytes = lease.map_or((0, 0), |(_, bytes)| bytes);
    let outcome = Outcome { bytes, ..Outcome::failed(failure, status) };
    record::exchange(&connection.ctx, &connection.arrival, request, lease.map(|(lease, _)| lease), outcome);
    then
}

/// Gives an answer of the proxy's own; `None`: there is nobody to hear it.
async fn tell(
    connection: &mut Connection,
    answer: Option<respond::Answer>,
    to_head: bool,
    keep_alive: bool,
) -> Then {
    let Some(answer) = answer else { return Then::Reset };
    let keep_alive = keep_alive && !connection.ctx.stopping.get() && !connection.ctx.lingering.get();
    let answer = answer.render(keep_alive, to_head);
    if connection.say(&answer).await && keep_alive { Then::Next } else { Then::Close }
}

/// `health_path`: 200 while new work is welcome.
async fn health(connection: &mut Connection, to_head: bool, keep_alive: bool) -> Then {
    let ctx = &connection.ctx;
    let leaving = ctx.stopping.get() || ctx.retiring.get();
    let (status, text) =
        if leaving { ((503, "Service Unavailable"), "stopping") } else { ((200, "OK"), "ok") };
    tell(connection, Some(respond::Answer::text(status, text)), to_head, keep_alive).await
}

/// The instance has answered the handshake: the client hears it, and both sockets leave HTTP behind.
async fn switch(connection: &mut Connection, request: Request, lease: Lease, answer: Answer) -> Then {
    let stamped = answer.stamped;
    if !connection.say(&answer.into_head()).await {
        let outcome = Outcome::failed(Failure::ClientGone, None);
        record::exchange(&connection.ctx, &connection.arrival, &request, Some(&lease), outcome);
        return Then::Reset;
    }
    let outcome = Outcome { kind: Kind::Request, ..Outcome::answered(101) };
    record::exchange(&connection.ctx, &connection.arrival, &request, Some(&lease), outcome);
    if let Some(session) = request.placing.held() {
        session.edit(Home::upgraded);
    }
    Then::Tunnel(Box::new(Joined::new(request, lease, stamped)))
}
