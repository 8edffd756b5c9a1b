//! What a process has to hand over to the one that takes over from it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::under_way::UnderWay;
use super::wire::{Empties, Instance, Life, Member, Resting, Sid};
use crate::affinity::sid::table::{Known, Place, SidKey};
use crate::control::admin::Place as AdminPlace;
use crate::control::admin::api::Health;
use crate::control::kept::Kept;
use crate::control::lock::Lock;
use crate::control::publisher::Publisher;
use crate::control::sockets::remove_unix;
use crate::generation::Generation;
use crate::http::Shared;
use crate::listener::bind::Listening;
use crate::upstream::expand::Presence;
use crate::upstream::health::State;
use crate::upstream::{self, Upstream, load};

/// Entries that are taken out of the table of sids under one lock.
const AT_ONCE: usize = 256;

/// A listener, and its sockets.
#[derive(Clone, Debug)]
pub(in crate::control) struct Listens {
    /// As the file has its address.
    pub(in crate::control) called: String,
    /// With its port.
    pub(in crate::control) door: String,
    /// The file of a unix socket that nobody else keeps.
    pub(in crate::control) leaves: Option<PathBuf>,
    pub(in crate::control) sockets: Vec<Arc<Listening>>,
}

/// What can be handed over once only.
#[derive(Debug, Default)]
pub(in crate::control) struct Goods {
    pub(in crate::control) listeners: Vec<Listens>,
    /// Of metrics and of the status page, by what `wire` calls them.
    pub(in crate::control) pages: Vec<(String, OwnedFd)>,
    pub(in crate::control) lock: Option<Lock>,
}

/// All of it.
#[derive(Debug)]
pub(in crate::control) struct Estate {
    goods: Mutex<Goods>,
    pub(in crate::control) shared: Shared,
    pub(in crate::control) publisher: Arc<Publisher>,
    pub(in crate::control) kept: Arc<Kept>,
    pub(in crate::control) under_way: UnderWay,
    /// The admin socket; without one nobody asks for an upgrade.
    admin: Mutex<Option<Arc<AdminPlace>>>,
}

impl Estate {
    pub(in crate::control) fn new(
        goods: Goods,
        shared: Shared,
        publisher: Arc<Publisher>,
        kept: Arc<Kept>,
    ) -> Self {
        let (goods, under_way) = (Mutex::new(goods), UnderWay::default());
        Estate { goods, shared, publisher, kept, under_way, admin: Mutex::default() }
    }

    /// What can be handed over once only; for a moment.
    pub(super) fn goods(&self) -> MutexGuard<'_, Goods> {
        self.goods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody accepts any more.
    pub(in crate::control) fn close(&self) {
        self.goods().listeners.clear();
    }

    /// It belongs to another process from now on, but for the listeners that are called so: those are nobody's. What the doors of all
    /// of them are called.
    pub(super) fn give_up(&self, without: &[String]) -> Vec<String> {
        self.kept.leave();
        let goods = std::mem::take(&mut *self.goods());
        let left = goods.listeners.into_iter().filter(|listener| without.contains(&listener.called));
        let (doors, leaves): (Vec<String>, Vec<_>) = left.map(|left| (left.door, left.leaves)).unzip();
        remove_unix(leaves.iter().flatten());
        doors
    }

    /// The listening sockets, as they go over.
    pub(in crate::control) fn listeners(&self) -> Vec<Listens> {
        self.goods().listeners.clone()
    }

    /// The lock is this process's own from now on.
    pub(in crate::control) fn sign(&self) {
        if let Some(lock) = &mut self.goods().lock {
            lock.sign();
        }
    }

    /// This process takes commands there.
    pub(in crate::control) fn commands_are_taken(&self, place: Arc<AdminPlace>) {
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Where commands are taken.
    pub(in crate::control) fn admin(&self) -> Option<Arc<AdminPlace>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How every instance is now.
    pub(super) fn instances(&self) -> Vec<Instance> {
        let generation = self.publisher.current();
        let of = |upstream: &Arc<Upstream>| {
            let name = upstream.config.name.clone();
            upstream.named().iter().map(|one| instance(&name, one)).collect::<Vec<_>>()
        };
        generation.upstreams.iter().flat_map(of).collect()
    }

    /// The members of names that are expanded.
    pub(super) fn members(&self) -> Vec<Member> {
        let generation = self.publisher.current();
        let of = |upstream: &Arc<Upstream>| {
            let member = |(name, member): (&str, &upstream::expand::Member)| Member {
                upstream: upstream.config.name.clone(),
                name: name.to_owned(),
                address: member.address,
                missing: match member.presence {
                    Presence::Present => None,
                    Presence::Missing { since } => Some(u64::try_from(since.as_millis()).unwrap_or(0)),
                },
            };
            upstream.members.each().map(member).collect::<Vec<_>>()
        };
        generation.upstreams.iter().flat_map(of).collect()
    }

    /// Clients that rest.
    pub(super) fn resting(&self) -> Vec<Resting> {
        let names = Names::of(&self.publisher.current());
        let named = |(who, id, until)| {
            let (upstream, instance) = names.0.get(&id)?;
            Some(Resting::of(who, upstream, instance, until))
        };
        self.shared.rest.all().into_iter().filter_map(named).collect()
    }

    /// Learned sids, piece by piece.
    ///
    /// # Errors
    /// Of `send`.
    pub(super) fn sids<E>(&self, mut send: impl FnMut(Vec<Sid>) -> Result<(), E>) -> Result<u64, E> {
        let names = Names::of(&self.publisher.current());
        let (mut place, mut count) = (Some(Place::default()), 0);
        while let Some(from) = place {
            let of = |home: &load::Home| (home.instance().id, Life::from(home.life()), home.sid_hash());
            let (known, next) = self.shared.sids.list(from, AT_ONCE, of);
            let sids: Vec<Sid> = known.iter().filter_map(|known| names.sid(known)).collect();
            count += sids.len() as u64;
            send(sids)?;
            place = next;
        }
        Ok(count)
    }

    /// Those of these keys that are still known.
    pub(super) fn sids_of(&self, keys: &[SidKey]) -> Vec<Sid> {
        let names = Names::of(&self.publisher.current());
        let of = |home: &load::Home| (home.instance().id, Life::from(home.life()), home.sid_hash());
        keys.iter().filter_map(|key| names.sid(&self.shared.sids.known(*key, of)?)).collect()
    }
}

/// The sockets' descriptors.
pub(super) fn descriptors(sockets: &[Arc<Listening>]) -> Vec<BorrowedFd<'_>> {
    sockets
        .iter()
        .map(|socket| match &**socket {
            Listening::Tcp(tcp) => tcp.as_fd(),
            Listening::Unix(unix) => unix.as_fd(),
        })
        .collect()
}

/// The names of instances by their numbers.
struct Names(HashMap<u32, (String, String)>);

impl Names {
    fn of(generation: &Generation) -> Self {
        let each = generation.upstreams.iter().flat_map(|upstream| {
            let name = &upstream.config.name;
            upstream.named().iter().map(move |one| (one.id, (name.clone(), one.name.clone())))
        });
        Names(each.collect())
    }

    fn sid(&self, known: &Known<(u32, Life, u64)>) -> Option<Sid> {
        let (id, by, hash) = known.home;
        let (upstream, instance) = self.0.get(&id)?;
        Some(Sid::of(known, (upstream, instance), by, hash))
    }
}

impl From<load::Life> for Life {
    fn from(of: load::Life) -> Self {
        match of {
            load::Life::Polling => Life::Polling,
            load::Life::Left => Life::Left,
            load::Life::Tunnel => Life::Tunnel,
        }
    }
}

impl From<Life> for load::Life {
    fn from(of: Life) -> Self {
        match of {
            Life::Polling => load::Life::Polling,
            Life::Left => load::Life::Left,
            Life::Tunnel => load::Life::Tunnel,
        }
    }
}

/// An instance by its names.
pub(super) fn find<'g>(
    generation: &'g Generation,
    upstream: &str,
    instance: &str,
) -> Option<&'g Arc<upstream::Instance>> {
    let upstream = generation.upstreams.iter().find(|known| known.config.name == upstream)?;
    upstream.named().iter().find(|known| known.name == instance)
}

fn instance(upstream: &str, of: &upstream::Instance) -> Instance {
    Instance {
        upstream: upstream.to_owned(),
        name: of.name.clone(),
        health: match of.vitals.state() {
            State::Unknown => Health::Unknown,
            State::Up => Health::Up,
            State::Degraded => Health::Degraded,
            State::Down => Health::Down,
        },
        share: of.vitals.share(),
        evidence: of.vitals.evidence(),
        state: of.lifecycle.state(),
        configured: of.config.state,
        emptying: of.lifecycle.emptying().map(Empties::from),
    }
}

/// Client connections that are open, over all listeners.
pub(in crate::control) fn open(doors: &[Arc<crate::http::Door>]) -> u64 {
    let open = doors.iter().flat_map(|door| door.counters.iter());
    u64::try_from(open.map(|counters| counters.connections_open.get()).sum::<i64>()).unwrap_or(0)
}

/// As long as something is not over.
pub(super) fn left(until: crate::local::clock::Moment) -> Duration {
    until.since(crate::local::clock::now())
}
