//! From HTTP to a tunnel: both sockets, and what is remembered of the request, go to a task of their own.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};

use super::Context;
use super::connection::{Arrival, Connection};
use super::lease::Lease;
use super::record;
use super::request::{Notes, Request};
use super::upgrade::Handshake;
use crate::local::clock::{self, Moment};
use crate::local::stream::Stream;
use crate::tunnel::{Limits, Order, Owner, Reason, Tunnel, Way};
use crate::upstream::{Instance, Upstream};

/// A tunnel that is about to begin.
#[derive(Debug)]
pub(super) struct Joined {
    instance: Stream,
    /// What the instance sent behind its 101.
    early: Vec<u8>,
    opaque: bool,
    request: Request,
    leased: Arc<Instance>,
}

impl Joined {
    /// Of a request whose handshake the leased instance has answered.
    pub(super) fn new(request: Request, lease: Lease) -> Self {
        let opaque = request.handshake.as_ref().is_some_and(Handshake::is_opaque);
        let (instance, early) = lease.wire.into_parts();
        Joined { instance, early, opaque, request, leased: lease.instance }
    }
}

/// What is known of a tunnel while it lives.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) ctx: Rc<Context>,
    pub(super) arrival: Arrival,
    pub(super) began: Moment,
    pub(super) upstream: Arc<Upstream>,
    pub(super) instance: Arc<Instance>,
    pub(super) client: IpAddr,
    pub(super) notes: Option<Box<Notes>>,
}

impl Owner for Life {
    fn limits(&self) -> &Limits {
        &self.upstream.tunnel_limits
    }

    /// Counts a tunnel's traffic where its instance's other traffic is counted.
    fn passed(&self, way: Way, bytes: u64, frames: u64) {
        let counters = self.instance.counters(self.ctx.worker);
        match way {
            Way::Up => {
                counters.bytes_up.add(bytes);
                counters.frames_up.add(frames);
            }
            Way::Down => {
                counters.bytes_down.add(bytes);
                counters.frames_down.add(frames);
            }
        }
    }
}

/// Hands both sockets to a task of their own; the connection's task and its buffers are gone then.
pub(super) fn join(connection: Connection, joined: Joined) {
    let Connection { ctx, arrival, wire, .. } = connection;
    let Joined { instance, early, opaque, request, leased } = joined;
    let (client, sent) = wire.into_parts();
    leased.counters(ctx.worker).tunnels_opened.one();
    // Who stops has closed the tunnels that it saw: one that begins now would be left over.
    let order = ctx.stopping.get().then_some(Order { reason: Reason::Shutdown });
    let seat = ctx.tunnels.seat(order);
    let life = Life {
        ctx,
        arrival,
        began: clock::now(),
        upstream: request.upstream,
        instance: leased,
        client: request.client,
        notes: request.notes,
    };
    tokio::task::spawn_local(Live {
        tunnel: Tunnel::new((client, instance), (&sent, &early), opaque, life, seat),
        recorded: false,
    });
}

/// A tunnel's task. By hand, because an `async fn` would hold the tunnel twice, for days.
struct Live {
    tunnel: Tunnel<Life>,
    recorded: bool,
}

impl Future for Live {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let ended = ready!(Pin::new(&mut self.tunnel).poll(cx));
        self.recorded = true;
        record::tunnel_closed(self.tunnel.owner(), &ended);
        Poll::Ready(())
    }
}

impl Drop for Live {
    /// Every end is recorded, also that of a task which is cut at the deadline of a stop, or by a panic.
    fn drop(&mut self) {
        if !self.recorded {
            let stopping = self.tunnel.owner().ctx.stopping.get();
            let reason = if stopping { Reason::Shutdown } else { Reason::InternalError };
            record::tunnel_closed(self.tunnel.owner(), &self.tunnel.cut(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_at_rest_is_small() {
        // The runtime adds about 110 bytes and rounds up to 128; a socket costs it another 256.
        assert!(size_of::<Live>() <= 400, "{}", size_of::<Live>());
    }
}
