//! Checks the instances, on a thread of its own: a check never waits for traffic, nor traffic for a check.
//!
//! One task watches one instance. What it finds goes into the instance's [`Vitals`](crate::upstream::vitals::Vitals), where
//! placement reads it, and once for each change into the log.

mod down;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::publisher::Publisher;
use super::rebalance;
use crate::config::model::{Check, InstanceState};
use crate::generation::Generation;
use crate::local::{clock, random, timer};
use crate::observe::metrics::CheckResult;
use crate::upstream::connect::Endpoint;
use crate::upstream::health::{Change, Event, Health, State};
use crate::upstream::probe::{self, Target};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Orders};

/// Checks of one instance at a time, those that are late included; more wait for an end. One that hangs has five by default.
const OF_ONE: usize = 8;
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
    let checked = generation.upstreams.iter().flat_map(|upstream| checked(upstream)).count();
    (checked * EACH).min(OF_ALL)
}

/// Starts to check. `orders`: to those who close what is open at one that is down.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub(super) fn supervise(publisher: Arc<Publisher>, orders: Orders) -> io::Result<Supervisor> {
    let (stop, stopped) = oneshot::channel();
    let (report, ready) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("health".to_owned()).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime: LocalRuntime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        // Whoever started it hears of success as soon as the loop can run.
        let _ = report.send(Ok(()));
        runtime.block_on(supervise_all(&publisher, &orders, stopped));
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
async fn supervise_all(publisher: &Arc<Publisher>, orders: &Orders, mut stopped: oneshot::Receiver<()>) {
    // Dropped at the end, with all that runs in them.
    let mut driver = JoinSet::new();
    driver.spawn_local(timer::drive());
    driver.spawn_local(rebalance::run(publisher.clone(), orders.clone()));
    let mut known = Known::new();
    loop {
        let generation = publisher.current();
        // Descriptors were kept for so many at the start; what a reload adds is to be checked all the same.
        let permits = Arc::new(Semaphore::new(at_a_time(&generation).max(1)));
        let (watchers, now_known) = watch_all(&generation, orders, &permits, &known);
        known = now_known;
        loop {
            tokio::select! {
                // An error: whoever could have said so is gone.
                _ = &mut stopped => return,
                () = publisher.changed() => break,
                () = tokio::time::sleep(REAP) => publisher.reap(),
            }
        }
        drop(watchers);
    }
}

/// What is known of the instances that are watched, by their numbers: it outlives a generation, unless one has moved.
type Known = HashMap<u32, (Arc<Endpoint>, Rc<RefCell<Health>>)>;

/// Watches all instances of a generation, for as long as the result lives.
fn watch_all(
    generation: &Generation,
    orders: &Orders,
    permits: &Arc<Semaphore>,
    known: &Known,
) -> (JoinSet<()>, Known) {
    let mut watchers = JoinSet::new();
    let mut now_known = Known::new();
    for upstream in &generation.upstreams {
        let group = Rc::new(Group {
            upstream: upstream.clone(),
            believed: Cell::new(upstream.believes_checks()),
            orders: orders.clone(),
        });
        for instance in checked(upstream) {
            let now = clock::now().since_boot();
            let rules = &upstream.config.health;
            let health = match known.get(&instance.id) {
                Some((place, health)) if Arc::ptr_eq(place, &instance.endpoint) => {
                    health.borrow_mut().follows(rules, now);
                    health.clone()
                }
                _ => Rc::new(RefCell::new(Health::new(rules, now))),
            };
            now_known.insert(instance.id, (instance.endpoint.clone(), health.clone()));
            watchers.spawn_local(watch(group.clone(), instance.clone(), health, permits.clone()));
        }
    }
    (watchers, now_known)
}

/// An upstream, and whether its checks are believed.
#[derive(Debug)]
struct Group {
    upstream: Arc<Upstream>,
    believed: Cell<bool>,
    orders: Orders,
}

/// What is heard of a check: its number, what, and after how long.
type Heard = (u64, Event, Duration);

async fn watch(
    group: Rc<Group>,
    instance: Arc<Instance>,
    health: Rc<RefCell<Health>>,
    permits: Arc<Semaphore>,
) {
    let now = || clock::now().since_boot();
    let target = Rc::new(Target::of(&group.upstream, &instance));
    let (tell, mut hear) = mpsc::channel::<Heard>(OF_ONE);
    let mut checks = Checks::default();
    loop {
        checks.forget_ended();
        let wake = {
            let health = health.borrow();
            instance.vitals.publish(health.state(), health.share(now()));
            health.wake(now()).saturating_sub(now())
        };
        tokio::select! {
            // Not by the worker's wheel, which is too coarse for intervals with a jitter.
            () = tokio::time::sleep(wake), if checks.has_room() => {
                if health.borrow().due() <= now() {
                    let check = health.borrow_mut().begin(now(), random::next());
                    checks.begin(check, run(check, target.clone(), permits.clone(), tell.clone()));
                }
            }
            () = instance.vitals.suspected() => health.borrow_mut().suspect(now()),
            Some((check, event, took)) = hear.recv() => {
                if let Some(result) = result(&event) {
                    instance.vitals.counters.check(result, took.as_secs_f64());
                }
                if event == Event::Late && permits.available_permits() == 0 {
                    checks.give_up(check);
                }
                let change = health.borrow_mut().hear(check, event, now());
                if let Some(change) = change {
                    instance.vitals.publish(change.to, health.borrow().share(now()));
                    announce(&group, &instance, &change);
                    for closing in down::closings(&group.upstream, &instance, &change) {
                        group.orders.send(Command::Close(closing)).await;
                    }
                }
            }
            Some(_) = checks.tasks.join_next() => {}
        }
    }
}

/// One check, once there is room for it.
async fn run(check: u64, target: Rc<Target>, permits: Arc<Semaphore>, tell: mpsc::Sender<Heard>) {
    // An error: never closed.
    let _permit = permits.acquire_owned().await;
    // An error: nobody watches any more.
    probe::probe(&target, async |event, took| drop(tell.send((check, event, took)).await)).await;
}

/// The checks of one instance that run, by their numbers.
#[derive(Debug, Default)]
struct Checks {
    tasks: JoinSet<()>,
    running: Vec<(u64, AbortHandle)>,
}

impl Checks {
    fn begin(&mut self, check: u64, task: impl Future<Output = ()> + 'static) {
        self.running.push((check, self.tasks.spawn_local(task)));
    }

    fn has_room(&self) -> bool {
        self.running.len() < OF_ONE
    }

    /// Gives up one that is late: others wait for its place.
    fn give_up(&self, late: u64) {
        self.running.iter().filter(|(check, _)| *check == late).for_each(|(_, task)| task.abort());
    }

    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|(_, task)| !task.is_finished());
    }
}

/// How an event counts; `None`: its check has been counted.
fn result(event: &Event) -> Option<CheckResult> {
    Some(match event {
        Event::Passed => CheckResult::Passed,
        Event::Unfit(_) => CheckResult::Unfit,
        Event::Lost(_) => CheckResult::Lost,
        Event::Late => CheckResult::Timeout,
        Event::Void => CheckResult::NotMade,
        Event::Answered(_) => return None,
    })
}

fn announce(group: &Group, instance: &Instance, change: &Change) {
    let (upstream, name, evidence) = (&group.upstream.config.name, &instance.name, &change.evidence);
    instance.vitals.explain(evidence, clock::epoch_seconds());
    match change.to {
        State::Down => tracing::warn!(upstream, instance = name, evidence, "instance is down"),
        State::Degraded => {
            tracing::warn!(upstream, instance = name, evidence, "instance is degraded: no new clients");
        }
        State::Up | State::Unknown => {
            tracing::info!(upstream, instance = name, evidence, "instance is up");
        }
    }
    let believed = group.upstream.believes_checks();
    match (group.believed.replace(believed), believed) {
        (true, false) => {
            tracing::warn!(upstream, "too few instances pass: checks are not believed, all count as up");
        }
        (false, true) => tracing::info!(upstream, "enough instances pass: checks are believed again"),
        _ => {}
    }
}
