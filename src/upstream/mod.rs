//! Upstreams and their instances: who they are, how to reach them, what they carry.

pub mod connect;
pub mod expand;
pub mod health;
pub mod lifecycle;
pub mod load;
pub mod pool;
pub mod probe;
mod shares;
pub mod skew;
pub mod vitals;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::affinity::ClientKey;
use crate::affinity::cookie::{Binding, InstanceToken, Keys};
use crate::affinity::ip_hash::InstanceHash;
use crate::config::diff;
use crate::config::model::{self, InstanceState};
use crate::local::clock;
use crate::observe::metrics::{InstanceCounters, UpstreamCounters};
use crate::tunnel;
use connect::{Endpoint, Secured};
use expand::Members;
use health::{Belief, Standing};
use lifecycle::Lifecycle;
use load::Load;
use vitals::Vitals;

/// An upstream as the data path sees it; part of one generation.
#[derive(Debug)]
pub struct Upstream {
    /// What the file says of it, but that its instances are those that it has now (`expand`).
    pub config: model::Upstream,
    /// In the order of the file; behind them those that it no longer names, until what was open at them has ended.
    pub instances: Vec<Arc<Instance>>,
    /// The secrets that seal and open its cookie; `None`: its clients are not bound by cookie.
    pub keys: Option<Arc<Keys>>,
    /// How its instances are spoken to; `None`: in the clear.
    pub secured: Option<Arc<Secured>>,
    /// How long its tunnels wait for what.
    pub tunnel_limits: tunnel::Limits,
    /// Of the names that it expands.
    pub members: Members,
    /// One for each worker.
    counters: Arc<[UpstreamCounters]>,
    common: Arc<Common>,
}

/// What the files hold that the configuration names for an upstream.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// See [`Upstream::keys`].
    pub keys: Option<Arc<Keys>>,
    /// See [`Upstream::secured`].
    pub secured: Option<Arc<Secured>>,
}

/// What belongs to an upstream, whatever generations say of it.
#[derive(Debug, Default)]
struct Common {
    turn: AtomicU64,
    /// Lookups of names that it expands.
    failed_lookups: AtomicU64,
}

impl Upstream {
    /// Of a configuration that names no files; `workers` is how many threads will count.
    #[cfg(test)]
    pub fn new(file: model::Upstream, keys: Option<Keys>, workers: usize) -> Self {
        Self::beginning(file, Means { keys: keys.map(Arc::new), secured: None }, workers)
    }

    /// Of a configuration; `workers` is how many threads will count.
    pub fn beginning(file: model::Upstream, means: Means, workers: usize) -> Self {
        let members = Members::default();
        let (config, missing) = expanded(file, &members);
        let instance =
            |(instance, missing)| Arc::new(Instance::new(&config, instance, missing, &means, workers, None));
        let instances = config.instances.iter().zip(missing).map(instance).collect();
        let counters = (0..workers).map(|_| UpstreamCounters::default()).collect();
        Self::with(config, means, members, instances, (counters, Arc::default()))
    }

    /// The same upstream after a change of the file: instances that are the same ones keep what belongs to them, and those that it no
    /// longer names stay, as ones that are emptied, while something is open at them.
    pub fn following(file: model::Upstream, means: Means, workers: usize, before: &Upstream) -> Self {
        let members = before.members.kept_by(&file);
        Self::after(file, means, members, workers, before)
    }

    /// What the upstream would be by another file, as far as that is known: of names that are new in it there is no instance yet.
    pub fn would_be(&self, file: &model::Upstream) -> model::Upstream {
        expanded(file.clone(), &self.members.kept_by(file)).0
    }

    /// The same upstream once its names have these members; `file`: what the file says of it.
    #[must_use]
    pub fn with_members(&self, file: model::Upstream, members: Members) -> Self {
        let means = Means { keys: self.keys.clone(), secured: self.secured.clone() };
        Self::after(file, means, members, self.counters.len(), self)
    }

    fn after(
        file: model::Upstream,
        means: Means,
        members: Members,
        workers: usize,
        before: &Upstream,
    ) -> Self {
        let (config, missing) = expanded(file, &members);
        let pairs = diff::pairs(&before.as_it_is(), &config);
        let instance = |((instance, missing), pair): (_, &Option<usize>)| {
            let before = pair.map(|index| &*before.instances[index]);
            Arc::new(Instance::new(&config, instance, missing, &means, workers, before))
        };
        let mut instances: Vec<_> = config.instances.iter().zip(missing).zip(&pairs).map(instance).collect();
        let left = |(index, _): &(usize, &Arc<Instance>)| !pairs.contains(&Some(*index));
        let leaving = before.instances.iter().enumerate().filter(left).map(|(_, instance)| instance);
        instances.extend(leaving.filter(|instance| !instance.is_empty()).map(|instance| instance.leaving()));
        Self::with(config, means, members, instances, (before.counters.clone(), before.common.clone()))
    }

    fn with(
        config: model::Upstream,
        Means { keys, secured }: Means,
        members: Members,
        instances: Vec<Arc<Instance>>,
        (counters, common): (Arc<[UpstreamCounters]>, Arc<Common>),
    ) -> Self {
        let timeouts = config.timeouts;
        Upstream {
            instances,
            keys,
            secured,
            members,
            tunnel_limits: tunnel::Limits {
                idle: timeouts.tunnel_idle,
                half_close: timeouts.half_close,
                close_wait: timeouts.close_wait,
                send: timeouts.send,
                ping: timeouts.ping,
            },
            counters,
            common,
            config,
        }
    }

    /// What the file says, as if it named those of its instances that are leaving too.
    fn as_it_is(&self) -> model::Upstream {
        let instances = self.instances.iter().map(|instance| instance.config.clone()).collect();
        model::Upstream { instances, ..self.config.clone() }
    }

    /// Those of its instances that the file names.
    pub fn named(&self) -> &[Arc<Instance>] {
        &self.instances[..self.config.instances.len()]
    }

    /// Those of its instances that the file no longer names.
    pub fn leaving(&self) -> &[Arc<Instance>] {
        &self.instances[self.config.instances.len()..]
    }

    /// The same without those that have left; `None`: nobody has.
    pub fn without_left(&self) -> Option<Self> {
        let stay = self.leaving().iter().filter(|instance| !instance.is_empty());
        let instances: Vec<_> = self.named().iter().chain(stay).cloned().collect();
        (instances.len() < self.instances.len()).then(|| Upstream {
            config: self.config.clone(),
            instances,
            keys: self.keys.clone(),
            secured: self.secured.clone(),
            tunnel_limits: self.tunnel_limits,
            members: self.members.clone(),
            counters: self.counters.clone(),
            common: self.common.clone(),
        })
    }

    /// Nothing is open at any of its instances.
    pub fn is_empty(&self) -> bool {
        self.instances.iter().all(|instance| instance.is_empty())
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
        self.common.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// A lookup of a name that it expands failed, or had an empty answer.
    pub fn lookup_failed(&self) {
        self.common.failed_lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// Lookups of its names so far that failed, or had an empty answer.
    pub fn dns_failures(&self) -> u64 {
        let of_instances: u64 = self.instances.iter().map(|instance| instance.endpoint.dns_failures()).sum();
        self.common.failed_lookups.load(Ordering::Relaxed) + of_instances
    }

    /// Those that may take clients, now or when they pass.
    fn takers(&self) -> impl Iterator<Item = &Arc<Instance>> {
        let takes = |instance: &&Arc<Instance>| {
            matches!(instance.state(), InstanceState::Ready | InstanceState::Cordon)
        };
        self.instances.iter().filter(takes)
    }

    /// How far its checks are believed now, for placing whoever comes. That an instance is down is believed also when the others'
    /// checks are not, while one is there that is not down: it is so when neither its checks nor its tunnels hear anything of it,
    /// which no wrong check can make so, and whoever went there would wait in vain. Only when all are is there nothing to lose.
    pub fn belief(&self) -> Belief {
        let checks = self.believes_checks();
        let down = checks || self.takers().any(|instance| instance.vitals.state() != health::State::Down);
        Belief { checks, down }
    }

    /// Enough of its instances pass their checks for those to be believed (`health.panic_below`).
    pub fn believes_checks(&self) -> bool {
        let standing = |instance: &Arc<Instance>| Standing {
            backup: instance.config.backup,
            passes: instance.vitals.passes(),
        };
        health::are_believed(self.takers().map(standing), self.config.health.panic_below)
    }

    /// Another instance than this one takes new clients and passes its checks.
    pub fn has_another_up(&self, than: &Instance) -> bool {
        let takes = |other: &&Arc<Instance>| {
            other.id != than.id && other.state() == InstanceState::Ready && other.vitals.passes()
        };
        self.instances.iter().any(|other| takes(&other))
    }

    /// The place of an instance; `None`: it is not of this upstream, or was removed.
    pub fn index(&self, instance: &Instance) -> Option<usize> {
        self.instances.iter().position(|known| known.id == instance.id)
    }

    /// A connection to an instance may serve another client: it does not begin with the header of one.
    pub fn keeps_connections(&self) -> bool {
        self.config.send_proxy_protocol == model::SendProxyProtocol::Off
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

/// The upstream as its names have these members, and which of its instances are missing.
fn expanded(file: model::Upstream, members: &Members) -> (model::Upstream, Vec<bool>) {
    let expanded = expand::instances(&file, members);
    let missing = expanded.iter().map(|expanded| expanded.missing).collect();
    let instances = expanded.into_iter().map(|expanded| expanded.instance).collect();
    (model::Upstream { instances, ..file }, missing)
}

/// One instance as a generation sees it.
#[derive(Debug)]
pub struct Instance {
    /// Its name in the file, the metrics and the logs.
    pub name: String,
    /// What the file says of it.
    pub config: model::Instance,
    /// Its identity for rendezvous hashing.
    pub hash: InstanceHash,
    /// Where it is.
    pub endpoint: Arc<Endpoint>,
    /// Its name no longer has its address (`expand`).
    missing: bool,
    /// What a cookie calls it: one token for each secret.
    tokens: Vec<InstanceToken>,
    identity: Arc<Identity>,
}

/// What belongs to an instance for as long as it is the same one, whatever generations say of it: what it carries, how it is,
/// what it counts.
#[derive(Debug)]
pub struct Identity {
    /// Tells instances apart within this process.
    pub id: u32,
    /// What it carries.
    pub load: Load,
    /// Its health.
    pub vitals: Vitals,
    /// What the administrator wants of it.
    pub lifecycle: Lifecycle,
    counters: Box<[InstanceCounters]>,
}

impl Deref for Instance {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

impl Identity {
    fn new(upstream: &model::Upstream, config: &model::Instance, workers: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Identity {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            load: Load::new(upstream.max_handshakes),
            vitals: Vitals::new(),
            lifecycle: Lifecycle::new(config.state),
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
}

impl Identity {
    /// Requests that are open at it, polls and streams included.
    pub fn requests(&self) -> u32 {
        let exchanges = self.counters.iter().map(InstanceCounters::exchanges_open).sum::<i64>();
        u32::try_from(exchanges).unwrap_or(0)
    }

    /// Nothing is open at it: no tunnel, no session, no exchange.
    pub fn is_empty(&self) -> bool {
        self.load.total() == 0 && self.requests() == 0
    }
}

impl Instance {
    /// The same one, as one that the file no longer names: it counts in no mapping.
    fn leaving(&self) -> Arc<Instance> {
        Arc::new(Instance {
            name: self.name.clone(),
            config: model::Instance { backup: true, ..self.config.clone() },
            hash: self.hash,
            endpoint: self.endpoint.clone(),
            missing: self.missing,
            tokens: self.tokens.clone(),
            identity: self.identity.clone(),
        })
    }

    /// `before`: the same instance in the generation before.
    fn new(
        upstream: &model::Upstream,
        config: &model::Instance,
        missing: bool,
        Means { keys, secured }: &Means,
        workers: usize,
        before: Option<&Instance>,
    ) -> Self {
        let same_place =
            |before: &&Instance| (&before.config.host, before.config.port) == (&config.host, config.port);
        let same_way = |before: &&Instance| match (&before.endpoint.secured, secured) {
            (None, None) => true,
            (Some(was), Some(is)) => Arc::ptr_eq(was, is),
            _ => false,
        };
        Instance {
            name: config.name.clone(),
            config: config.clone(),
            hash: InstanceHash::of(&upstream.name, &config.name),
            endpoint: match before.filter(same_place).filter(same_way) {
                Some(before) => before.endpoint.clone(),
                None => Arc::new(Endpoint::new(&config.host, config.port, secured.clone())),
            },
            missing,
            tokens: keys
                .as_ref()
                .map(|keys| keys.instance_tokens(&upstream.name, &config.name))
                .unwrap_or_default(),
            identity: match before {
                Some(before) => before.identity.clone(),
                None => Arc::new(Identity::new(upstream, config, workers)),
            },
        }
    }

    /// What it does: what is wanted of it, but that one whose name no longer has its address takes no new clients. (That is no
    /// word of the administrator's: his is what it was when the address is back.)
    pub fn state(&self) -> InstanceState {
        match self.lifecycle.state() {
            InstanceState::Ready if self.missing => InstanceState::Cordon,
            // Else whoever holds something there would keep it from ever being empty.
            InstanceState::Drain if self.lifecycle.is_cut(|| clock::coarse().since_boot()) => {
                InstanceState::Maintain
            }
            state => state,
        }
    }

    /// Its name no longer has its address.
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// The token under the secret that seals; `None`: its upstream has no cookie.
    pub fn token(&self) -> Option<InstanceToken> {
        self.tokens.first().copied()
    }

    /// It carries as many tunnels as it may, with those that wait to begin: no other session begins at it.
    pub fn is_full(&self) -> bool {
        self.config.max_tunnels.is_some_and(|most| self.load.with_others(self.load.total()) >= most)
    }

    /// It carries more than it may, with the handshake that asks. `in_session`: an upgrade of a session that counts already.
    fn is_beyond(&self, in_session: bool) -> bool {
        let Some(most) = self.config.max_tunnels else { return false };
        let others = || self.load.tunnels().saturating_add(self.load.handshakes());
        most < self.load.with_others(if in_session { others() } else { self.load.begun() })
    }
}
