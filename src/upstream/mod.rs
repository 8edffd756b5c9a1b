//! Upstreams and their instances: who they are, how to reach them, what they carry.

pub mod connect;
pub mod health;
pub mod load;
pub mod pool;
pub mod probe;
pub mod vitals;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::affinity::ClientKey;
use crate::affinity::cookie::{Binding, InstanceToken, Keys};
use crate::affinity::ip_hash::InstanceHash;
use crate::config::model::{self, InstanceState};
use crate::observe::metrics::{InstanceCounters, UpstreamCounters};
use crate::tunnel;
use connect::Endpoint;
use health::{Standing, State};
use load::Load;
use vitals::Vitals;

/// An upstream as the data path sees it; part of one generation.
#[derive(Debug)]
pub struct Upstream {
    /// What the file says of it.
    pub config: model::Upstream,
    /// In the order of the file.
    pub instances: Vec<Arc<Instance>>,
    /// The secrets that seal and open its cookie; `None`: its clients are not bound by cookie.
    pub keys: Option<Keys>,
    /// How long its tunnels wait for what.
    pub tunnel_limits: tunnel::Limits,
    /// One for each worker.
    counters: Box<[UpstreamCounters]>,
    turn: AtomicU64,
}

impl Upstream {
    /// Of a configuration; `workers` is how many threads will count.
    pub fn new(config: model::Upstream, keys: Option<Keys>, workers: usize) -> Self {
        let instance = |instance| Arc::new(Instance::new(&config, instance, keys.as_ref(), workers));
        let timeouts = config.timeouts;
        Upstream {
            instances: config.instances.iter().map(instance).collect(),
            keys,
            tunnel_limits: tunnel::Limits {
                idle: timeouts.tunnel_idle,
                half_close: timeouts.half_close,
                close_wait: timeouts.close_wait,
                send: timeouts.send,
                ping: timeouts.ping,
            },
            counters: (0..workers).map(|_| UpstreamCounters::default()).collect(),
            turn: AtomicU64::new(0),
            config,
        }
    }

    /// What this worker counts of it.
    pub fn counters(&self, worker: usize) -> &UpstreamCounters {
        &self.counters[worker]
    }

    /// What each worker counts of it.
    pub fn shards(&self) -> Vec<&UpstreamCounters> {
        self.counters.iter().collect()
    }

    /// The next turn of `round_robin`.
    pub fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Enough of its instances pass their checks for those to be believed (`health.panic_below`).
    pub fn believes_checks(&self) -> bool {
        let takes_clients = |instance: &&Arc<Instance>| {
            matches!(instance.config.state, InstanceState::Ready | InstanceState::Cordon)
        };
        let standing = |instance: &Arc<Instance>| Standing {
            backup: instance.config.backup,
            passes: matches!(instance.vitals.state(), State::Up | State::Unknown),
        };
        let instances = self.instances.iter().filter(takes_clients).map(standing);
        health::are_believed(instances, self.config.health.panic_below)
    }

    /// The place of an instance; `None`: it is not of this upstream, or was removed.
    pub fn index(&self, instance: &Instance) -> Option<usize> {
        self.instances.iter().position(|known| known.id == instance.id)
    }

    /// The part of an address by which its clients are told apart.
    pub fn client_key(&self, address: IpAddr) -> ClientKey {
        match self.config.sticky.ip_hash {
            model::IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, .. } => {
                ClientKey::of(address, ipv4_prefix, ipv6_prefix)
            }
            model::IpHash::Nginx => ClientKey::of(address, 32, 64),
        }
    }

    /// The instance that a cookie's binding names, if it still exists.
    pub fn bound(&self, binding: &Binding) -> Option<usize> {
        binding.instance_of(self.instances.iter().map(|instance| instance.tokens.as_slice()))
    }
}

/// One instance. Its identity is (upstream, name): what it carries and counts belongs to that, not to a generation.
#[derive(Debug)]
pub struct Instance {
    /// Tells instances apart within this process.
    pub id: u32,
    /// Its name in the file, the metrics and the logs.
    pub name: String,
    /// What the file says of it.
    pub config: model::Instance,
    /// What it carries.
    pub load: Load,
    /// Its health.
    pub vitals: Vitals,
    /// Its identity for rendezvous hashing.
    pub hash: InstanceHash,
    /// Where it is.
    pub endpoint: Arc<Endpoint>,
    /// What a cookie calls it: one token for each secret.
    tokens: Vec<InstanceToken>,
    counters: Box<[InstanceCounters]>,
}

impl Instance {
    fn new(
        upstream: &model::Upstream,
        config: &model::Instance,
        keys: Option<&Keys>,
        workers: usize,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Instance {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: config.name.clone(),
            config: config.clone(),
            load: Load::new(upstream.max_handshakes),
            vitals: Vitals::new(),
            hash: InstanceHash::of(&upstream.name, &config.name),
            endpoint: Arc::new(Endpoint::new(&config.host, config.port)),
            tokens: keys.map(|keys| keys.instance_tokens(&upstream.name, &config.name)).unwrap_or_default(),
            counters: (0..workers).map(|_| InstanceCounters::default()).collect(),
        }
    }

    /// What this worker counts of it.
    pub fn counters(&self, worker: usize) -> &InstanceCounters {
        &self.counters[worker]
    }

    /// What each worker counts of it.
    pub fn shards(&self) -> Vec<&InstanceCounters> {
        self.counters.iter().collect()
    }

    /// The token under the secret that seals; `None`: its upstream has no cookie.
    pub fn token(&self) -> Option<InstanceToken> {
        self.tokens.first().copied()
    }

    /// It carries as many tunnels as it may, with those that wait to begin: no other session begins at it.
    pub fn is_full(&self) -> bool {
        self.config.max_tunnels.is_some_and(|most| self.load.total() >= most)
    }

    /// It carries more than it may, with the handshake that asks. `in_session`: an upgrade of a session that counts already.
    fn is_beyond(&self, in_session: bool) -> bool {
        let Some(most) = self.config.max_tunnels else { return false };
        let others = || self.load.tunnels().saturating_add(self.load.handshakes());
        most < if in_session { others() } else { self.load.begun() }
    }
}
