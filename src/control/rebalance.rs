//! Moves clients from instances that carry more than `max_skew` times their fair share to those that have room, a few a second.
//!
//! Every second it looks at each upstream that wants it: [`Upstream::skewed`] says how many, the workers offer the tunnels that are
//! idle for longest, and those that are so of all are closed one after the other until the next look. `affinity/rest` keeps the clients
//! from coming straight back, placement finds them another instance.
//!
//! Must not: decide who has a share (`upstream/shares`), or how many are too many (`upstream/skew`).

mod allot;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::publisher::Publisher;
use crate::observe::events;
use crate::tunnel::{Order, Reason};
use crate::upstream::skew;
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Idlest, Offer, Orders};
use allot::Allowance;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// For so many looks more a client that was moved may not be back: Socket.IO's come after 0.5 to 1.5 s.
const AWAY: usize = 2;

/// A worker that has not offered anything by then has something better to do.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks, for as long as it is polled.
pub(super) async fn run(publisher: Arc<Publisher>, orders: Orders) {
    let mut known: HashMap<String, Progress> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let generation = publisher.current();
        let wants = |upstream: &&Arc<Upstream>| upstream.config.rebalance.max_skew.is_some();
        let mut seen = HashMap::new();
        for upstream in generation.upstreams.iter().filter(wants) {
            let mut progress = known.remove(&upstream.config.name).unwrap_or_default();
            progress.look(upstream, &orders).await;
            seen.insert(upstream.config.name.clone(), progress);
        }
        known = seen;
    }
}

/// How far the rebalance of one upstream is.
#[derive(Debug, Default)]
struct Progress {
    allowance: Allowance,
    /// How many were moved at each of the last looks, the latest first: they may not be back yet.
    away: VecDeque<u32>,
    /// It has begun, and the log says so.
    runs: bool,
    /// Since then so many were moved.
    moved: u32,
}

impl Progress {
    /// One look, and what follows from it.
    async fn look(&mut self, upstream: &Upstream, orders: &Orders) {
        let allowed = self.allowance.of(LOOK, upstream.config.rebalance.rate.pause());
        self.away.truncate(AWAY);
        let away = self.away.iter().sum();
        let skewed = if upstream.is_settled() { upstream.skewed(away) } else { vec![] };
        let moves: Vec<u32> = skewed.iter().map(|skewed| skewed.moves).collect();
        self.announce(upstream, &moves, away);
        let mut moved = 0;
        let now = skew::parts(&moves, allowed);
        for ((instance, now), all) in upstream.instances.iter().zip(now).zip(moves) {
            if now > 0 {
                moved += close_idlest(instance, now, all, orders).await;
            }
        }
        self.moved = self.moved.saturating_add(moved);
        self.away.push_front(moved);
    }

    /// Says in the log when it begins, and when it is done.
    fn announce(&mut self, upstream: &Upstream, moves: &[u32], away: u32) {
        let name = &upstream.config.name;
        let left: u32 = moves.iter().fold(0, |all, one| all.saturating_add(*one));
        match (self.runs, left) {
            (false, 1..) => {
                tracing::info!(
                    target: events::REBALANCE,
                    upstream = name,
                    tunnels = left,
                    "clients are moved to instances that carry less"
                );
                self.runs = true;
            }
            // While some are on their way the last word is not said.
            (true, 0) if away == 0 => {
                tracing::info!(target: events::REBALANCE, upstream = name, moved = self.moved, "no more clients are moved");
                *self = Progress { allowance: self.allowance, ..Progress::default() };
            }
            _ => {}
        }
    }
}

/// Closes `now` of the tunnels of an instance until the next look, of `all` that have to go sometime; how many it will be.
async fn close_idlest(instance: &Instance, now: u32, all: u32, orders: &Orders) -> u32 {
    let (offers, mut offered) = mpsc::channel(orders.workers().max(1));
    let order = Order::of(Reason::Rebalanced);
    let most = usize::try_from(now).unwrap_or(usize::MAX);
    orders.send(Command::CloseIdlest(Idlest { instance: instance.id, order, most, offers })).await;
    let mut came: Vec<Offer> = Vec::new();
    // Until all have answered, or have dropped what they would answer with.
    let all_came = async {
        while let Some(offer) = offered.recv().await {
            came.push(offer);
        }
    };
    // An error: some are late, and are left out.
    let _ = tokio::time::timeout(PATIENCE, all_came).await;
    // Those that were told at an earlier look and have not left yet are counted in `all` still.
    let closing: usize = came.iter().map(|offer| offer.closing).sum();
    let left = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(closing);
    let idle: Vec<_> = came.iter().map(|offer| &*offer.idle_since).collect();
    let moments = allot::moments(&idle, most.min(left), LOOK);
    let closed = moments.iter().map(Vec::len).sum::<usize>();
    for (offer, moments) in came.into_iter().zip(moments) {
        // An error: that worker has ended.
        let _ = offer.close.send(moments);
    }
    u32::try_from(closed).unwrap_or(u32::MAX)
}
