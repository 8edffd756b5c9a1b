//! What the process that takes over makes of what it is told: before it serves, and of the one that lingers afterwards.

use std::collections::HashMap;
use std::time::Duration;

use super::channel::Channel;
use super::estate::find;
use super::wire::{Answered, Carried, Instance, Life, Member, Offered, Resting, Sid, decode, encode};
use crate::affinity::sid::table::SidKey;
use crate::config::model;
use crate::control::admin::api::Health;
use crate::control::lifecycle;
use crate::control::publisher::Publisher;
use crate::generation::Generation;
use crate::http::Shared;
use crate::http::heir::Place;
use crate::local::clock;
use crate::upstream::expand::{self, Members, Presence};
use crate::upstream::health::State;
use crate::upstream::load::Home;
use crate::upstream::{self, Upstream};
use crate::worker::Command;

/// An instance is as it was there. What the workers have to do for that.
pub(super) fn as_it_was(
    upstream: &Upstream,
    instance: &upstream::Instance,
    known: &Instance,
) -> Option<Command> {
    let state = match known.health {
        Health::Unknown => State::Unknown,
        Health::Up => State::Up,
        Health::Degraded => State::Degraded,
        Health::Down => State::Down,
    };
    if upstream.config.health.check != model::Check::Off && state != State::Unknown {
        instance.vitals.take_over(state, known.share.min(100), known.evidence.clone());
    }
    // The file's word has changed: it wins.
    if instance.config.state != known.configured {
        return None;
    }
    match known.emptying {
        Some(emptying) if lifecycle::empties(known.state) => {
            Some(lifecycle::go_on(upstream, instance, known.state, emptying.into()))
        }
        _ => {
            instance.lifecycle.wants(known.state);
            None
        }
    }
}

/// The members that the names of an upstream have.
pub(super) fn members(all: &[Member], upstream: &str) -> Members {
    let mut by_name: HashMap<&str, Vec<expand::Member>> = HashMap::new();
    for member in all.iter().filter(|member| member.upstream == upstream) {
        let since = |millis| Presence::Missing { since: Duration::from_millis(millis) };
        let presence = member.missing.map_or(Presence::Present, since);
        by_name.entry(&member.name).or_default().push(expand::Member { address: member.address, presence });
    }
    by_name.into_iter().fold(Members::default(), |members, (name, some)| members.with(name, some))
}

/// Learns sessions.
pub(super) fn learn(sids: Vec<Sid>, shared: &Shared, generation: &Generation) {
    let now = clock::coarse().since_boot();
    for sid in sids {
        // At one that the file no longer names it has nowhere to go.
        let Some(instance) = find(generation, &sid.upstream, &sid.instance) else { continue };
        let home = Home::living(instance.clone(), sid.by.into(), sid.hash);
        shared.sids.take_over(sid.known(home), now);
    }
}

/// Sends clients away that rest.
pub(super) fn rest(some: &[Resting], shared: &Shared, generation: &Generation) {
    let now = clock::coarse().since_boot();
    for resting in some {
        let instance = find(generation, &resting.upstream, &resting.instance);
        if let (Some(instance), Some((who, until))) = (instance, resting.who()) {
            shared.rest.send_away(who, instance.id, now, until);
        }
    }
}

/// What the process that lingers says, until it ends: of sessions that begin there, whose clients may come here with their next request.
pub(super) fn hear(later: &Channel, shared: &Shared, publisher: &Publisher) {
    listen(later, shared, publisher);
    // Nothing, once it has ended.
    let generation = publisher.current();
    let all = generation.all().flat_map(|upstream| &upstream.instances);
    all.for_each(|instance| instance.load.has_elsewhere(0));
}

fn listen(later: &Channel, shared: &Shared, publisher: &Publisher) {
    loop {
        let received = match later.receive() {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "the process that lingers is not heard any more"),
        };
        let answer = match decode(&received.bytes) {
            Ok(Offered::Sids(some)) => {
                let heard = Answered::Heard { of: some.last().map_or(0, Sid::key) };
                pass_on(&some, shared, &publisher.current());
                learn(some, shared, &publisher.current());
                heard
            }
            Ok(Offered::Ask(key)) => {
                let sid = known(SidKey::of(key), shared, &publisher.current());
                Answered::Known { of: key, sid: sid.map(Box::new) }
            }
            Ok(Offered::Load(some)) => {
                loaded(&some, &publisher.current());
                continue;
            }
            Ok(other) => {
                tracing::warn!(message = ?other, "of the process that lingers: not expected now");
                continue;
            }
            Err(error) => {
                tracing::warn!(error, "of the process that lingers");
                continue;
            }
        };
        if later.send(&encode(&answer), &[]).is_err() {
            return;
        }
    }
}

/// What instances carry there.
fn loaded(some: &[Carried], generation: &Generation) {
    for Carried { upstream, instance, tunnels } in some {
        if let Some(instance) = find(generation, upstream, instance) {
            instance.load.has_elsewhere(*tunnels);
        }
    }
}

/// Another process may have taken over from this one too.
fn pass_on(some: &[Sid], shared: &Shared, generation: &Generation) {
    for sid in some.iter().filter(|_| shared.heir.is_there()) {
        let upstream = generation.upstreams.iter().find(|known| known.config.name == sid.upstream);
        let instance = find(generation, &sid.upstream, &sid.instance);
        if let (Some(upstream), Some(instance)) = (upstream, instance) {
            let sid_hash = sid.hash;
            shared.heir.tell(&sid.clone().known(Place { upstream, instance, sid_hash }));
        }
    }
}

fn known(key: SidKey, shared: &Shared, generation: &Generation) -> Option<Sid> {
    let known =
        shared.sids.known(key, |home| (home.instance().clone(), Life::from(home.life()), home.sid_hash()))?;
    let (instance, life, hash) = &known.home;
    let upstream = generation.upstreams.iter().find(|upstream| upstream.index(instance).is_some())?;
    Some(Sid::of(&known, (&upstream.config.name, &instance.name), *life, *hash))
}
