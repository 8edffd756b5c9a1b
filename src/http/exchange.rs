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
use super::answer::Answer;
use super::connection::{Connection, Then};
use super::forward::{Broken, Transfer};
use super::join::Joined;
use super::lease::{self, Before, Lease, Placed};
use super::record::{self, Open, Outcome};
use super::request::{Intake, Request, ToHttps};
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
        Intake::ToHttps(redirect) => Box::pin(to_https(connection, redirect)).await,
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
///
/// A request is sent at most twice: what may have been acted on is not sent again, and of what is, nobody wants a third copy.
async fn serve(connection: &mut Connection, mut request: Box<Request>) -> Then {
    let ctx = connection.ctx.clone();
    let mut before: Option<Box<Before>> = None;
    loop {
        let fresh = before.is_some() || request.handshake.is_some();
        let leased = lease::lease(&ctx, &request, connection.wire.stream(), fresh, before.as_deref());
        let mut lease = match Box::pin(leased).await {
            Ok(lease) => lease,
            Err(failure) => {
                // Nobody else had it: then it is where it was that it failed.
                let left = before.filter(|before| before.is_left);
                let failure = left.as_ref().map_or(failure, |left| failure.after(left.failure));
                let placed = left.as_ref().map(|left| &left.placed);
                return Box::pin(give_up(connection, &request, placed, (0, 0), failure)).await;
            }
        };
        if !lease.placed.reused && connection.wire.stream().is_read_closed() {
            // It left while we connected: what it wanted is not done any more.
            return Box::pin(give_up(connection, &request, None, (0, 0), Failure::ClientGone)).await;
        }
        if let (Some(before), Some(notes)) = (&before, &mut request.notes) {
            notes.left = before.is_left.then(|| before.placed.instance.clone());
        }
        let may_repeat = before.is_none() && request.retryable;
        // Only these are ever repeated; others need no copy.
        let keeps = may_repeat && (lease.placed.reused || request.placing.need == Need::Start);
        let head = if keeps { request.head.clone() } else { std::mem::take(&mut request.head) };
        let mut open = Open::begin(&lease.placed.instance, ctx.worker, request.kind);
        let mut transfer =
            Transfer::new(&ctx, (&mut connection.wire, &connection.timer), &mut lease, &request, head);
        let answer = match transfer.answer().await {
            Ok(answer) => answer,
            Err(Broken { answered: false, failure, .. })
                if may_repeat && may_go_again(&request, transfer.lease.placed.reused, failure) =>
            {
                drop(transfer);
                before = Some(Box::new(fails(&ctx, lease, failure)));
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
                record::exchange(&ctx, &connection.arrival, &request, Some(&lease.placed), outcome);
                drop(open);
                if reusable {
                    ctx.pool.put(&lease.placed.instance, lease.wire.into_parts().0);
                }
                if whole && client_keeps { Then::Next } else { Then::Close }
            }
            Err(broken) => Box::pin(fail(connection, &request, &lease, &broken, (up, down))).await,
        };
    }
}

/// The instance was ending a connection that had served before, and cannot have acted on this request; or it starts a session, which
/// another instance can have.
fn may_go_again(request: &Request, reused: bool, failure: Failure) -> bool {
    (reused && failure == Failure::InstanceClosed) || failure.leaves(&request.placing)
}

/// The exchange is tried once more: its first connection is given up.
fn fails(ctx: &Context, lease: Lease, failure: Failure) -> Before {
    let Lease { placed, wire, .. } = lease;
    let is_left = !(placed.reused && failure == Failure::InstanceClosed);
    if is_left && failure.blames_the_instance() {
        placed.instance.counters(ctx.worker).connect_error(ConnectError::Reset);
        placed.instance.vitals.suspect();
    }
    wire.stream().end();
    Before { placed, failure, is_left }
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
        // It has nothing to wait for, however long the client takes to hear of it.
        lease.wire.stream().end();
        return give_up(connection, request, Some(&lease.placed), bytes, broken.failure).await;
    };
    let outcome = Outcome { bytes, failure: Some(broken.failure), ..Outcome::answered(status) };
    record::exchange(&connection.ctx, &connection.arrival, request, Some(&lease.placed), outcome);
    Then::Reset
}

/// There will be no answer of an instance: the client is told why.
async fn give_up(
    connection: &mut Connection,
    request: &Request,
    placed: Option<&Placed>,
    bytes: (u64, u64),
    failure: Failure,
) -> Then {
    // A body that nobody read makes the connection's next bytes meaningless.
    let whole = placed.is_none() || request.kind == Kind::Poll;
    let bodiless = request.framing == Framing::None && request.version == Version::Http11;
    let keep_alive = request.keep_alive && bodiless && whole;
    let answer = respond::Answer::to(request, failure);
    let status = answer.as_ref().map(|answer| answer.status);
    if failure.ends_session(request.kind) {
        // Before it hears of it, for it comes again at once.
        record::session_ended(&connection.ctx, request, placed, failure);
    }
    let then = tell(connection, answer, request.to_head, keep_alive).await;
    let outcome = Outcome { bytes, ..Outcome::failed(failure, status) };
    record::exchange(&connection.ctx, &connection.arrival, request, placed, outcome);
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

/// `redirect`: the same is at https.
async fn to_https(connection: &mut Connection, to: Box<ToHttps>) -> Then {
    let answer = Some(respond::Answer::redirect(&to.location));
    let then = tell(connection, answer, to.to_head, to.keep_alive).await;
    record::redirected(&connection.ctx, &connection.arrival, to.notes.as_deref());
    then
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
        record::exchange(&connection.ctx, &connection.arrival, &request, Some(&lease.placed), outcome);
        return Then::Reset;
    }
    let outcome = Outcome { kind: Kind::Request, ..Outcome::answered(101) };
    record::exchange(&connection.ctx, &connection.arrival, &request, Some(&lease.placed), outcome);
    if let Some(session) = request.placing.held() {
        session.edit(Home::upgraded);
    }
    Then::Tunnel(Box::new(Joined::new(request, lease, stamped)))
}
