//! What is an event only after a while or in sums: the end of a drain, re-binds, limits of upstreams. Looks at what others count.
//!
//! Must not: be asked by anybody on the data path.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::generation::Generation;
use crate::local::clock::Moment;
use crate::observe::events;
use crate::observe::metrics::{InstanceCounters, RebindReason, UpstreamCounters};
use crate::upstream::lifecycle::Emptying;
use crate::upstream::{Instance, Upstream};

/// Re-binds are summed over this.
const SUM: Duration = Duration::from_secs(5);

/// A limit is told of once in this.
const LIMIT: Duration = Duration::from_mins(1);

/// What was cut needs a moment to be gone, besides the time in which its ends may answer a Close.
const AFTER_CUT: Duration = Duration::from_secs(3);

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    /// By the number of the instance.
    drains: HashMap<u32, Drain>,
    /// By the number of the instance, in the order of [`RebindReason::ALL`].
    bound: HashMap<u32, [u64; RebindReason::COUNT]>,
    /// Of clients that were bound to an instance which is no longer there, by the name of the upstream.
    removed: HashMap<String, u64>,
    limits: HashMap<Limit, Hits>,
    /// When counters are looked at next.
    next: Moment,
}

/// A drain that is known.
#[derive(Debug)]
struct Drain {
    upstream: String,
    instance: Arc<Instance>,
    emptying: Emptying,
    /// What was cut is to be gone so long after.
    after_cut: Duration,
    ended: bool,
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Limit {
    /// `max_handshakes` of the instance of this number.
    Handshakes(u32),
    /// `limits.sids`, by the name of the upstream.
    Sids(String),
}

/// A limit's.
#[derive(Debug, Default)]
struct Hits {
    told: u64,
    next: Moment,
}

impl Gatherer {
    /// Looks at everything, at `now`; twice a second or so.
    pub(super) fn look(&mut self, generation: &Generation, now: Moment) {
        self.drains(generation, now);
        if now >= self.next {
            self.next = now.after(SUM);
            self.rebinds(generation);
            self.limits(generation, now);
        }
    }

    fn drains(&mut self, generation: &Generation, now: Moment) {
        for upstream in generation.all() {
            for instance in &upstream.instances {
                let emptying = instance.lifecycle.emptying();
                match (self.drains.entry(instance.id), emptying) {
                    (Entry::Occupied(known), None) => drop(known.remove()),
                    (Entry::Occupied(known), Some(emptying)) if known.get().emptying == emptying => {}
                    (Entry::Vacant(_), None) => {}
                    (entry, Some(emptying)) => {
                        let after_cut = upstream.config.timeouts.close_wait + AFTER_CUT;
                        let (upstream, instance) = (upstream.config.name.clone(), instance.clone());
                        entry.insert_entry(Drain { upstream, instance, emptying, after_cut, ended: false });
                    }
                }
            }
        }
        self.drains.values_mut().for_each(|drain| drain.look(now));
        // Who has left is told of, and forgotten.
        let is_known =
            |drain: &Drain| generation.all().any(|upstream| upstream.index(&drain.instance).is_some());
        self.drains.retain(|_, drain| !drain.ended || is_known(drain));
    }

    fn rebinds(&mut self, generation: &Generation) {
        let (mut bound, mut removed) = (HashMap::new(), HashMap::new());
        for upstream in generation.all() {
            let name = &upstream.config.name;
            for instance in &upstream.instances {
                let before = self.bound.get(&instance.id).copied().unwrap_or_default();
                let counts = rebinds(instance);
                for ((reason, count), before) in RebindReason::ALL.iter().zip(counts).zip(before) {
                    if let clients @ 1.. = count.saturating_sub(before) {
                        let (reason, instance) = (reason.as_str(), &instance.name);
                        tracing::info!(target: events::REBIND, upstream = name, instance, reason, clients, "its clients went to others");
                    }
                }
                bound.insert(instance.id, counts);
            }
            let count = sum(upstream, |counters| counters.rebinds(RebindReason::Removed));
            let before = self.removed.get(name).copied().unwrap_or_default();
            if let clients @ 1.. = count.saturating_sub(before) {
                let reason = RebindReason::Removed.as_str();
                tracing::info!(target: events::REBIND, upstream = name, reason, clients, "clients of instances that are gone went to others");
            }
            removed.insert(name.clone(), count);
        }
        (self.bound, self.removed) = (bound, removed);
    }

    fn limits(&mut self, generation: &Generation, now: Moment) {
        self.forget_limits(generation);
        for upstream in generation.all() {
            let name = &upstream.config.name;
            for instance in &upstream.instances {
                let shed = instance.load.shed();
                if let Some(times) = self.hit(Limit::Handshakes(instance.id), shed, now) {
                    let instance = &instance.name;
                    tracing::warn!(target: events::LIMIT, upstream = name, instance, times, "max_handshakes: handshakes were turned away");
                }
            }
            let evicted = upstream.instances.iter().map(|instance| instance.load.evicted()).sum();
            if let Some(times) = self.hit(Limit::Sids(name.clone()), evicted, now) {
                tracing::warn!(target: events::LIMIT, upstream = name, times, "limits.sids: sessions were forgotten before their time");
            }
        }
    }

    /// Those of what is no longer there.
    fn forget_limits(&mut self, generation: &Generation) {
        self.limits.retain(|limit, _| {
            generation.all().any(|upstream| match limit {
                Limit::Handshakes(id) => upstream.instances.iter().any(|instance| instance.id == *id),
                Limit::Sids(name) => upstream.config.name == *name,
            })
        });
    }

    /// How often a limit was hit since it was told of, if it is to be told of now.
    fn hit(&mut self, limit: Limit, count: u64, now: Moment) -> Option<u64> {
        if count == 0 {
            return None;
        }
        let hits = self.limits.entry(limit).or_default();
        // Counters of what was removed and is back begin anew.
        hits.told = hits.told.min(count);
        let times = count - hits.told;
        if times == 0 || now < hits.next {
            return None;
        }
        *hits = Hits { told: count, next: now.after(LIMIT) };
        Some(times)
    }
}

impl Drain {
    /// Says so once when it has ended.
    fn look(&mut self, now: Moment) {
        let (is_empty, now) = (self.instance.is_empty(), now.since_boot());
        if self.ended || !(is_empty || now >= self.emptying.cut + self.after_cut) {
            return;
        }
        self.ended = true;
        let (upstream, instance) = (&self.upstream, &self.instance.name);
        let began_with = self.emptying.began_with;
        let (closed, cut) = self.instance.lifecycle.closed();
        let seconds = now.saturating_sub(self.emptying.from).as_secs();
        if is_empty {
            tracing::info!(target: events::DRAINED, upstream, instance, began_with, closed, cut, seconds, "is empty");
        } else {
            tracing::warn!(target: events::DRAINED, upstream, instance, began_with, closed, cut, seconds, "is not empty, though the time for that is over");
        }
    }
}

fn rebinds(instance: &Instance) -> [u64; RebindReason::COUNT] {
    let mut counts = [0; RebindReason::COUNT];
    for shard in instance.shards() {
        let of = |reason: &RebindReason| InstanceCounters::rebinds(shard, *reason);
        counts.iter_mut().zip(RebindReason::ALL).for_each(|(count, reason)| *count += of(reason));
    }
    counts
}

fn sum(upstream: &Upstream, count: impl Fn(&UpstreamCounters) -> u64) -> u64 {
    upstream.shards().into_iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_of_once_a_minute_with_all_that_came_since() {
        let mut gatherer = Gatherer::default();
        let mut check = |count, seconds, told| {
            let now = Moment::at(Duration::from_secs(seconds));
            assert_eq!(
                gatherer.hit(Limit::Sids("app".to_owned()), count, now),
                told,
                "{count} after {seconds} s"
            );
        };
        check(0, 0, None);
        check(3, 1, Some(3));
        check(9, 2, None);
        check(9, 61, Some(6));
        check(9, 200, None);
        check(2, 300, None);
        check(4, 301, Some(2));
    }

    /// The regression: they were kept for ever, also of instances that come and go with a name.
    #[test]
    fn limits_of_what_is_gone_are_forgotten() {
        let text = "listen = \":80\"\n[upstream.app]\ninstances = [\"a:1\", \"b:1\"]\n";
        let config =
            crate::config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let upstream = Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1));
        let id = upstream.instances[1].id;
        let mut generation = Generation { config, upstreams: vec![upstream], leaving: vec![] };
        let mut gatherer = Gatherer::default();
        for limit in [Limit::Handshakes(id), Limit::Sids("app".to_owned())] {
            gatherer.hit(limit, 1, Moment::default());
        }
        gatherer.forget_limits(&generation);
        assert_eq!(gatherer.limits.len(), 2);
        generation.upstreams.clear();
        gatherer.forget_limits(&generation);
        assert!(gatherer.limits.is_empty());
    }
}
