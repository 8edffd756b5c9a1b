//! One exchange after another on a client's connection. Begin with [`exchange`]: it tells a request's life.

mod answer;
mod body;
pub mod candidate;
pub mod census;
mod connection;
mod exchange;
mod forward;
pub mod guard;
mod headers;
pub mod heir;
mod idle;
mod join;
mod learn;
mod lease;
mod patience;
mod placing;
mod record;
mod request;
mod respond;
mod upgrade;
mod wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use rustls::ServerConfig;

use crate::affinity::rest::{self, Rest};
use crate::affinity::sid::table::{Secret, Table};
use crate::config::model::ProxyProtocol;
use crate::generation::Generation;
use crate::limits::Addresses;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::ListenerCounters;
use crate::routing::pick::Candidate;
use crate::tunnel::{Order, Reason, Registry};
use crate::upstream::load::Home;
use crate::upstream::pool::Pool;
use census::Census;
use heir::Heir;

pub use connection::{Arrival, Remote, serve};

/// What all workers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is in force.
    pub published: Arc<ArcSwap<Generation>>,
    /// The access log.
    pub access_log: Arc<AccessLog>,
    /// Learned Engine.IO sessions, and where they live.
    pub sids: Arc<Table<Home>>,
    /// Clients that were moved away from an instance.
    pub rest: Arc<Rest>,
    /// Who takes over from this process.
    pub heir: Arc<Heir>,
    /// What each address has open, and how fast it comes.
    pub addresses: Arc<Addresses>,
}

impl Shared {
    /// Of a process that begins. `secret`: of the table of learned sids of the process from which this one takes over.
    pub fn new(generation: Generation, access_log: AccessLog, secret: Option<Secret>) -> Self {
        let sids = generation.config.limits.sids;
        Shared {
            sids: Arc::new(match secret {
                Some(secret) => Table::with_secret(sids, secret),
                None => Table::new(sids),
            }),
            heir: Arc::default(),
            addresses: Arc::default(),
            rest: Arc::new(Rest::new(rest::CAPACITY)),
            published: Arc::new(ArcSwap::from_pointee(generation)),
            access_log: Arc::new(access_log),
        }
    }
}

/// What all exchanges of one worker share, without a lock.
#[derive(Debug)]
pub struct Context {
    /// Which of the workers this is: its shard of every counter.
    pub worker: usize,
    /// Idle connections to instances.
    pub pool: Pool,
    /// Open tunnels.
    pub tunnels: Rc<Registry>,
    /// Exchanges that have an instance.
    pub leased: Rc<Registry>,
    /// What is asked of both, when somebody wants to know who is connected.
    pub census: Census,
    /// The process's access log.
    pub access_log: Arc<AccessLog>,
    /// The process's Engine.IO sessions.
    pub sids: Arc<Table<Home>>,
    /// The process's clients that must not come back to an instance yet.
    pub rest: Arc<Rest>,
    /// Who takes over from this process.
    pub heir: Arc<Heir>,
    /// The process's clients by their addresses, as far as they are limited by them.
    pub addresses: Arc<Addresses>,
    /// Kept connections between two requests.
    pub(crate) idle: Rc<idle::Idle>,
    /// `health_path` says 503, everything else goes on.
    pub retiring: Cell<bool>,
    /// Another process takes all that is new: connections end after the exchange that runs, or the next one.
    pub lingering: Cell<bool>,
    /// No new exchange begins; connections end after the one that runs.
    pub stopping: Cell<bool>,
    /// Exchanges that run.
    pub exchanges: Cell<usize>,
    published: RefCell<Published>,
    turn: Cell<u64>,
    candidates: RefCell<Vec<Candidate>>,
}

/// The generation that this worker saw last. Handing out clones of an `Rc` costs no write to a cache line that other
/// workers share, which clones of the published `Arc` would.
#[derive(Debug)]
#[expect(clippy::redundant_allocation, reason = "the outer one is counted without touching shared memory")]
struct Published {
    cache: Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>,
    current: Rc<Arc<Generation>>,
}

impl Context {
    /// For worker number `worker`.
    pub fn new(worker: usize, shared: Shared) -> Self {
        let Shared { published, access_log, sids, rest, heir, addresses } = shared;
        let current = Rc::new(published.load_full());
        Context {
            worker,
            pool: Pool::default(),
            tunnels: Rc::default(),
            leased: Rc::default(),
            census: Census::default(),
            access_log,
            sids,
            rest,
            heir,
            addresses,
            idle: Rc::default(),
            retiring: Cell::new(false),
            lingering: Cell::new(false),
            stopping: Cell::new(false),
            exchanges: Cell::new(0),
            published: RefCell::new(Published { cache: Cache::new(published), current }),
            turn: Cell::new(0),
            candidates: RefCell::default(),
        }
    }

    /// What is in force now; an exchange asks once.
    pub fn generation(&self) -> Rc<Arc<Generation>> {
        let mut published = self.published.borrow_mut();
        let Published { cache, current } = &mut *published;
        let latest = cache.load();
        if !Arc::ptr_eq(latest, current) {
            *current = Rc::new(latest.clone());
        }
        current.clone()
    }

    /// What a tunnel or a poll that begins now is to do at once: who stops has closed those that it saw, and this one would
    /// be left over.
    fn standing_order(&self) -> Option<Order> {
        self.stopping.get().then(|| Order::of(Reason::Shutdown))
    }

    /// Counts up by one with every call.
    fn next_turn(&self) -> u64 {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }
}

/// A listener as exchanges see it.
#[derive(Debug)]
pub struct Door {
    /// As in the metrics and the access log.
    pub name: String,
    /// One for each worker.
    pub counters: Box<[ListenerCounters]>,
    /// Whether connections of trusted peers begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// How those are met who come next. Not in the generation: a listener outlives those, only its handshakes ask, and a
    /// certificate that was renewed is no other configuration.
    pub ways: ArcSwap<Ways>,
}

/// How a listener meets its clients.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// `None`: in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// They are sent to https.
    pub redirect: bool,
}

/// How a client came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// In the clear.
    Plain,
    /// In the clear, where clients are sent to https.
    Redirected,
    /// By TLS 1.2.
    Tls12,
    /// By TLS 1.3.
    Tls13,
}

impl Entrance {
    /// By https.
    pub fn is_tls(self) -> bool {
        self.tls().is_some()
    }

    /// The version of TLS.
    pub fn tls(self) -> Option<&'static str> {
        match self {
            Entrance::Plain | Entrance::Redirected => None,
            Entrance::Tls12 => Some("TLSv1.2"),
            Entrance::Tls13 => Some("TLSv1.3"),
        }
    }
}
