//! The instances of an upstream as placement sees them now: for the data path, and for whoever explains what it does.

use std::net::IpAddr;
use std::time::Duration;

use crate::affinity::rest::{Rest, Who};
use crate::affinity::sid::table::{SidKey, Table};
use crate::config::model::StickyKey;
use crate::routing::pick::{Candidate, Health, Sid};
use crate::upstream::health::{Belief, State};
use crate::upstream::load::Home;
use crate::upstream::{Instance, Upstream};

/// All instances, in their order. `by_load`: what they carry can decide
/// ([`looks_at_loads`](crate::routing::pick::Policy::looks_at_loads)).
pub fn candidates(upstream: &Upstream, by_load: bool) -> impl Iterator<Item = Candidate> {
    let belief = upstream.belief();
    upstream.instances.iter().map(move |instance| Candidate {
        hash: instance.hash,
        weight: instance.config.weight,
        share: instance.vitals.share(),
        backup: instance.config.backup,
        state: instance.state(),
        health: health(upstream, belief, instance),
        full: instance.is_full(),
        load: if by_load { instance.load.total().into() } else { 0 },
        away: false,
    })
}

/// How an instance is, as far as its checks are believed.
pub(super) fn health(upstream: &Upstream, belief: Belief, instance: &Instance) -> Health {
    match belief.of(instance.vitals.state()) {
        State::Down => Health::Down,
        // To wait for it is better than to be turned away.
        State::Degraded if instance.vitals.is_silent() && upstream.has_another_up(instance) => Health::Silent,
        State::Degraded => Health::Degraded,
        State::Up | State::Unknown => Health::Up,
    }
}

/// As whom a client is sent away, and is known when it comes again: its binding, or the address of one that has none.
pub fn who(upstream: &Upstream, binding: Option<[u8; 8]>, address: IpAddr) -> Who {
    match binding {
        Some(id) => Who::Binding(id),
        None => Who::Address(upstream.client_key(address)),
    }
}

/// Marks those from which the client rests at `now`.
pub fn mark_away(candidates: &mut [Candidate], upstream: &Upstream, rest: &Rest, who: Who, now: Duration) {
    rest.each_of(who, now, |id| {
        let index = upstream.instances.iter().position(|instance| instance.id == id);
        if let Some(candidate) = index.and_then(|index| candidates.get_mut(index)) {
            candidate.away = true;
        }
    });
}

/// What is known of a session, for whoever only asks: that is no use of it.
pub fn known_session(sids: &Table<Home>, upstream: &Upstream, sid: &str, now: Duration) -> Sid {
    if !upstream.config.sticky.by.contains(&StickyKey::Sid) {
        return Sid::Unknown;
    }
    let key = sids.key(&upstream.config.name, sid.as_bytes());
    match sids.peek(key, now, |home| place_of(upstream, home, key, now)) {
        None => Sid::Unknown,
        Some(index) => index.map_or(Sid::Gone, Sid::At),
    }
}

/// The instance that a session lives at; `None`: it is gone, or the session has to leave it.
pub(super) fn place_of(upstream: &Upstream, home: &Home, key: SidKey, now: Duration) -> Option<usize> {
    let dismissed = home.instance().lifecycle.has_dismissed(key.spread(), now);
    upstream.index(home.instance()).filter(|_| !dismissed)
}
