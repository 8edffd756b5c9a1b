//! From HTTP to a tunnel: both sockets, and what is remembered of the request, go to a task of their own.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use super::Context;
use super::connection::{Arrival, Connection};
use super::guard;
use super::lease::{self, Lease, Placed};
use super::record;
use super::request::{Notes, Request};
use super::upgrade;
use crate::limits::Place as Counted;
use crate::local::clock::{self, Moment};
use crate::local::random;
use crate::local::stream::Stream;
use crate::routing::pick::By;
use crate::tunnel::{Limits, MessageLimit, Owner, Place, Reason, Sort, Told, Tunnel, Way};
use crate::upstream::load::{Handshake, OpenTunnel};
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
    by: By,
    known_as: KnownAs,
    /// Counts until the tunnel does.
    handshake: Option<Box<Handshake>>,
}

impl Joined {
    /// Of a request whose handshake the leased instance has answered. `stamped`: the binding that the 101 gave the client.
    pub(super) fn new(request: Request, lease: Lease, stamped: Option<[u8; 8]>) -> Self {
        let opaque = request.handshake.as_deref().is_some_and(upgrade::Handshake::is_opaque);
        let known_as = KnownAs::of(&request, stamped);
        let Lease { placed: Placed { instance: leased, by, .. }, wire, handshake, .. } = lease;
        let (instance, early) = wire.into_parts();
        Joined { instance, early, opaque, request, leased, by, known_as, handshake }
    }
}

/// By what a client is known when it comes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownAs {
    pub(super) address: IpAddr,
    /// The binding of its cookie.
    pub(super) binding: Option<[u8; 8]>,
    /// It has shown its cookie; one that was just given may be dropped, as clients other than browsers do.
    pub(super) shows_it: bool,
}

impl KnownAs {
    /// Of a request; `stamped`: the binding that its answer gave the client.
    pub(super) fn of(request: &Request, stamped: Option<[u8; 8]>) -> Self {
        let shown = request.placing.bound.map(|bound| bound.id);
        KnownAs { address: request.client, binding: stamped.or(shown), shows_it: shown.is_some() }
    }
}

/// What is known of a tunnel while it lives.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) ctx: Rc<Context>,
    pub(super) arrival: Arrival,
    pub(super) began: Moment,
    pub(super) upstream: Arc<Upstream>,
    pub(super) instance: OpenTunnel,
    pub(super) known_as: KnownAs,
    /// The key that brought it.
    pub(super) by: By,
    pub(super) notes: Option<Box<Notes>>,
    /// Its end is on record. Here, where there is room for it, and not in its task.
    recorded: Cell<bool>,
    /// Its instance side has broken off, and is counted so.
    pub(super) broken: Cell<bool>,
    /// Its client had been moved here, or might have been: one that comes so from elsewhere is not moved again for a while.
    moved: bool,
    /// An Engine.IO session that polls moves here.
    upgrades: bool,
}

impl Owner for Life {
    fn limits(&self) -> &Limits {
        &self.upstream.tunnel_limits
    }

    fn tells(&self, place: Place, told: &Told) {
        self.ctx.census.tunnel(self, place, told);
    }

    fn may_be_moved(&self) -> bool {
        !self.moved || clock::coarse() >= self.began.after(self.upstream.config.rebalance.rest)
    }

    /// A client that moves from polling to this tunnel sends `2probe`, hears `3probe`, lets its poll come to its end, sends `5`,
    /// and only then listens here. One whose tunnel is closed in between has stopped to poll, and never begins again: it hears
    /// nothing until its own ping time-out (`_probe` of engine.io-client 3 to 6).
    fn settled_after(&self) -> u64 {
        if self.upgrades { 2 } else { 0 }
    }

    fn instance_broke_off(&self) -> Duration {
        self.instance.vitals.suspect();
        let broken = self.instance.load.one_broke_off();
        self.broken.set(true);
        // The first is told at once; where many break off together each draws its moment.
        random::up_to(self.upstream.config.down.span(broken - 1))
    }

    /// As the file has it now; open tunnels keep what they began with.
    fn message_limit(&self) -> Option<MessageLimit> {
        let limits = &self.ctx.generation().config.limits;
        limits.message.map(|bytes| MessageLimit { bytes, enforce: limits.enforce })
    }

    fn message_too_big(&self) {
        let counters = &self.arrival.door.counters[self.ctx.worker];
        guard::message(&self.ctx.generation().config.limits, counters, self.known_as.address);
    }

    fn broken_code(&self) -> u16 {
        self.upstream.config.down.close_code
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

    fn closes(&self, reason: Reason) {
        record::tunnel_closes(self, reason);
    }
}

/// Hands both sockets to a task of their own; the connection's task and its buffers are gone then.
pub(super) fn join(connection: Connection, joined: Joined) {
    let Connection { ctx, mut arrival, wire, .. } = connection;
    let Joined { instance, early, opaque, mut request, leased, by, known_as, handshake } = joined;
    arrival.place = Counted::both(arrival.place.take(), request.place.take());
    let (client, sent) = wire.into_parts();
    leased.counters(ctx.worker).tunnels_opened.one();
    let moved = lease::rests(&ctx, &request);
    let seat = ctx.tunnels.seat(leased.id, Sort::Tunnel, ctx.standing_order());
    let life = Life {
        ctx,
        arrival,
        began: clock::now(),
        upstream: request.upstream,
        instance: OpenTunnel::begin(leased),
        known_as,
        by,
        notes: request.notes,
        recorded: Cell::new(false),
        broken: Cell::new(false),
        moved,
        upgrades: request.placing.in_session(),
    };
    // It counts as a tunnel now.
    drop(handshake);
    tokio::task::spawn_local(Live {
        tunnel: Tunnel::new((client, instance), (&sent, &early), opaque, life, seat),
    });
}

/// A tunnel's task. By hand, because an `async fn` would hold the tunnel twice, for days.
struct Live {
    tunnel: Tunnel<Life>,
}

impl Future for Live {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let ended = ready!(Pin::new(&mut self.tunnel).poll(cx));
        self.tunnel.owner().recorded.set(true);
        record::tunnel_closed(self.tunnel.owner(), &ended);
        Poll::Ready(())
    }
}

impl Drop for Live {
    /// Every end is recorded, also that of a task which is cut at the deadline of a stop, or by a panic.
    fn drop(&mut self) {
        if !self.tunnel.owner().recorded.get() {
            let stopping = self.tunnel.owner().ctx.stopping.get();
            let reason = if stopping { Reason::Shutdown } else { Reason::InternalError };
            record::tunnel_closed(self.tunnel.owner(), &self.tunnel.cut(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::super::{Door, Entrance, Shared};
    use super::*;
    use crate::config;
    use crate::config::model::ProxyProtocol;
    use crate::generation::Generation;
    use crate::listener::permit::Permits;
    use crate::observe::access_log::AccessLog;
    use crate::observe::metrics::ListenerCounters;

    /// What a worker knows, with one upstream of one instance.
    fn context() -> (Rc<Context>, Arc<Upstream>) {
        let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"127.0.0.1:81\"]\n[log]\naccess = \"off\"\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let log = AccessLog::open(&config.log.access, config.log.access_format, None).unwrap();
        let upstream = Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1));
        let generation = Generation { config, upstreams: vec![upstream.clone()], leaving: vec![] };
        (Rc::new(Context::new(0, Shared::new(generation, log, None))), upstream)
    }

    fn live(ctx: &Rc<Context>, upstream: &Arc<Upstream>) -> Live {
        let socket = || {
            let (ours, _) = tokio::net::UnixStream::pair().unwrap();
            Stream::Unix(Box::new(ours))
        };
        let counters = [ListenerCounters::default()].into();
        let arrival = Arrival {
            peer: None,
            door: Arc::new(Door {
                name: "test".to_owned(),
                counters,
                proxy_protocol: ProxyProtocol::Off,
                ways: ArcSwap::default(),
            }),
            entrance: Entrance::Plain,
            worker: 0,
            permit: Permits::new(1).take().unwrap(),
            place: None,
        };
        let life = Life {
            ctx: ctx.clone(),
            arrival,
            began: clock::now(),
            upstream: upstream.clone(),
            instance: OpenTunnel::begin(upstream.instances[0].clone()),
            known_as: KnownAs { address: IpAddr::from([127, 0, 0, 1]), binding: None, shows_it: false },
            by: By::Balance,
            notes: None,
            recorded: Cell::new(false),
            broken: Cell::new(false),
            moved: false,
            upgrades: false,
        };
        upstream.instances[0].counters(0).tunnels_opened.one();
        let tunnel = Tunnel::new(
            (socket(), socket()),
            (&[], &[]),
            false,
            life,
            ctx.tunnels.seat(0, Sort::Tunnel, None),
        );
        Live { tunnel }
    }

    /// The regression: what a panic or the end of the runtime cut short was open for ever.
    #[tokio::test(flavor = "current_thread")]
    async fn every_tunnel_is_recorded_once_however_it_ends() {
        let (ctx, upstream) = context();
        let instance = &upstream.instances[0];
        let check = |opened: u64, reason: &str, count: u64| {
            let (seen, closed) = instance.counters(0).tunnels();
            let of: u64 = closed.iter().filter(|((by, _), _)| *by == reason).map(|(_, count)| count).sum();
            assert_eq!(
                (seen, of, instance.load.total(), ctx.tunnels.len()),
                (opened, count, 0, 0),
                "{closed:?}"
            );
        };
        // Both ends are gone: by itself.
        live(&ctx, &upstream).await;
        check(1, "client_closed", 1);
        // As tokio does with a task that panics.
        drop(live(&ctx, &upstream));
        check(2, "internal_error", 1);
        ctx.stopping.set(true);
        drop(live(&ctx, &upstream));
        check(3, "shutdown", 1);
    }

    #[test]
    fn a_tunnel_at_rest_is_small() {
        // The runtime adds about 110 bytes and rounds up to 128; a socket costs it another 256.
        assert!(size_of::<Live>() <= 400, "{}", size_of::<Live>());
    }
}
