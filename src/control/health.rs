//! Checks the instances, on a thread of its own: a check never waits for traffic, nor traffic for a check.
//!
//! One task watches one instance. What it finds goes into the instance's [`Vitals`](crate::upstream::vitals::Vitals), where
//! placement reads it, and once for each change into the log.

mod down;
mod watch;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::expand::Names;
use super::gate::Gate;
use super::gather::Gatherer;
use super::lifecycle::Administrator;
use super::rebalance;
use super::surroundings::Resolver;
use crate::config::model::{self, Check, InstanceState};
use crate::generation::Generation;
use crate::local::{clock, timer};
use crate::upstream::health::Health;
use crate::upstream::probe::Target;
use crate::upstream::{Instance, Upstream};
use crate::worker::{Orders, Pulse};
use watch::{Group, Watched};

/// Checks at a time that each instance adds to those of the process, and the most that there are.
const EACH: usize = 4;
const OF_ALL: usize = 256;

/// How often instances that are leaving are looked at.
const REAP: Duration = Duration::from_millis(500);

/// The thread that checks.
#[derive(Debug)]
pub(super) struct Supervisor {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// How many checks of these upstreams may run at a time: as many descriptors are kept for them.
pub(super) fn at_a_time(generation: &Generation) -> usize {
    let expands =
        |file: &model::Upstream| file.health.check != Check::Off && file.expanded().next().is_some();
    // Nobody knows how many instances a name will have.
    if generation.config.upstreams.iter().any(expands) {
        return OF_ALL;
    }
    let checked = generation.upstreams.iter().flat_map(|upstream| checked(upstream)).count();
    (checked * EACH).min(OF_ALL)
}

/// Makes the thread that checks, and looks up names that are expanded; it begins when the gate is open.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub(super) fn supervise(
    administrator: Administrator,
    resolver: Resolver,
    pulse: Arc<Pulse>,
    gate: Gate,
) -> io::Result<Supervisor> {
    let (stop, mut stopped) = oneshot::channel();
    let (report, ready) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("health".to_owned()).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime: LocalRuntime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        // Whoever started it hears of success as soon as the loop can run.
        let _ = report.send(Ok(()));
        runtime.block_on(async {
            tokio::select! {
                () = gate.passes() => supervise_all(administrator, resolver, stopped, &pulse).await,
                _ = &mut stopped => {}
            }
        });
        pulse.end();
        // A resolver that does not answer is not waited for.
        runtime.shutdown_background();
    })?;
    match ready.recv() {
        Ok(result) => result.map(|()| Supervisor { stop, thread }),
        Err(_) => Err(io::Error::other("the thread that checks ended before it began")),
    }
}

impl Supervisor {
    /// Ends it.
    pub(super) fn stop(self) {
        // Whoever no longer listens has ended.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread that checks panicked");
        }
    }
}

/// Its instances that are checked.
fn checked(upstream: &Upstream) -> impl Iterator<Item = &Arc<Instance>> {
    let checks = upstream.config.health.check != Check::Off;
    let wanted = |instance: &&Arc<Instance>| instance.lifecycle.state() != InstanceState::Maintain;
    upstream.instances.iter().filter(move |_| checks).filter(wanted)
}

/// Watches the instances of each generation in turn, and forgets those that have left.
async fn supervise_all(
    administrator: Administrator,
    resolver: Resolver,
    mut stopped: oneshot::Receiver<()>,
    pulse: &Pulse,
) {
    // Dropped at the end, with all that runs in them.
    let mut driver = JoinSet::new();
    driver.spawn_local(timer::drive());
    let publisher = administrator.publisher.clone();
    driver.spawn_local(rebalance::run(publisher.clone(), administrator.orders.clone()));
    let mut watchers = Watchers::new(administrator.orders.clone());
    let mut names = Names::new(administrator, resolver);
    let mut gatherer = Gatherer::default();
    loop {
        let generation = publisher.current();
        watchers.follow(&generation);
        names.follow(&generation);
        drop(generation);
        loop {
            pulse.beat();
            tokio::select! {
                // An error: whoever could have said so is gone.
                _ = &mut stopped => return,
                () = publisher.changed() => break,
                () = tokio::time::sleep(REAP) => {
                    // Before those are forgotten that have left.
                    gatherer.look(&publisher.current(), clock::coarse());
                    publisher.reap();
                }
            }
        }
    }
}

/// All who watch. An instance that is the same in the next generation is watched on, its checks in flight included: were each
/// begun anew, reloads that come faster than checks would keep everybody from ever being found down.
#[derive(Debug)]
struct Watchers {
    orders: Orders,
    permits: Permits,
    /// By the name of the upstream.
    groups: HashMap<String, Rc<Group>>,
    /// By the number of the instance.
    watched: HashMap<u32, Watcher>,
    tasks: JoinSet<()>,
}

/// Who watches one instance. Dropped, nobody does.
#[derive(Debug)]
struct Watcher {
    watched: Rc<Watched>,
    task: AbortHandle,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watchers {
    fn new(orders: Orders) -> Self {
        Watchers {
            orders,
            permits: Permits::default(),
            groups: HashMap::new(),
            watched: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Watches the instances of this generation, and no others.
    fn follow(&mut self, generation: &Generation) {
        self.permits.become_of(at_a_time(generation));
        let (mut groups, mut watched) = (HashMap::new(), HashMap::new());
        for upstream in &generation.upstreams {
            let group = self.group(upstream);
            for instance in checked(upstream) {
                let before = self.watched.remove(&instance.id);
                watched.insert(instance.id, self.watcher(&group, upstream, instance, before));
            }
            groups.insert(upstream.config.name.clone(), group);
        }
        (self.groups, self.watched) = (groups, watched);
        while self.tasks.try_join_next().is_some() {}
    }

    fn group(&mut self, upstream: &Arc<Upstream>) -> Rc<Group> {
        let known = self.groups.remove(&upstream.config.name);
        let group = known.unwrap_or_else(|| Rc::new(Group::new(upstream.clone(), self.orders.clone())));
        group.follow(upstream.clone());
        group
    }

    fn watcher(
        &mut self,
        group: &Rc<Group>,
        upstream: &Upstream,
        instance: &Arc<Instance>,
        before: Option<Watcher>,
    ) -> Watcher {
        let target = Target::of(upstream, instance);
        let rules = &upstream.config.health;
        let now = clock::now().since_boot();
        let health = match before {
            Some(before) if before.goes_on(&target, rules) => {
                before.watched.instance.replace(instance.clone());
                return before;
            }
            // It is asked otherwise, or by other rules. What is known of it is still true, unless it has moved.
            Some(Watcher { ref watched, .. }) if watched.target.is_at_the_place_of(&target) => {
                let mut health = watched.health.borrow().clone();
                health.follows(rules, now);
                health
            }
            // Of a process that takes over from another one.
            _ if instance.vitals.was_taken_over() => {
                let (state, share) = (instance.vitals.state(), instance.vitals.share());
                Health::of_one_that_is_known(rules, now, state, share)
            }
            _ => Health::new(rules, now),
        };
        let watched = Rc::new(Watched {
            group: group.clone(),
            instance: RefCell::new(instance.clone()),
            target,
            rules: rules.clone(),
            health: RefCell::new(health),
        });
        let task = self.tasks.spawn_local(watch::watch(watched.clone(), self.permits.semaphore.clone()));
        Watcher { watched, task }
    }
}

impl Watcher {
    /// It need not begin anew for an instance that is to be asked so, by these rules.
    fn goes_on(&self, target: &Target, rules: &model::Health) -> bool {
        // One that has panicked has ended.
        !self.task.is_finished() && self.watched.target.is_as(target) && self.watched.rules == *rules
    }
}

/// How many checks may run at a time.
#[derive(Debug)]
struct Permits {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl Default for Permits {
    fn default() -> Self {
        Permits { semaphore: Arc::new(Semaphore::new(0)), count: 0 }
    }
}

impl Permits {
    /// There are so many from now on, and at least one. Fewer: those in use go when there is a next change.
    fn become_of(&mut self, count: usize) {
        // Descriptors were kept for so many at the start; what a reload adds is to be checked all the same.
        let count = count.max(1);
        self.semaphore.add_permits(count.saturating_sub(self.count));
        let less = self.semaphore.forget_permits(self.count.saturating_sub(count));
        self.count = self.count.max(count) - less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_follow_the_number_of_instances_also_while_they_are_in_use() {
        let mut permits = Permits::default();
        let semaphore = permits.semaphore.clone();
        let free = || semaphore.available_permits();
        let mut become_of = |count| {
            permits.become_of(count);
            free()
        };
        assert_eq!([become_of(0), become_of(4), become_of(2), become_of(8)], [1, 4, 2, 8]);
        let mut in_use: Vec<_> = (0..6).map(|_| semaphore.try_acquire().unwrap()).collect();
        assert_eq!([become_of(8), become_of(3)], [2, 0], "6 of 6 are in use");
        in_use.truncate(2);
        assert_eq!(free(), 4, "those that came back");
        assert_eq!(become_of(3), 1);
        in_use.clear();
        assert_eq!([free(), become_of(0), become_of(5)], [3, 1, 5]);
    }
}
