//! Watches one instance: makes its checks when they are due, and publishes what they come to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::down;
use crate::config::model;
use crate::local::{clock, random};
use crate::observe::events;
use crate::observe::metrics::CheckResult;
use crate::upstream::health::{Change, Event, Health, State};
use crate::upstream::probe::{self, Target};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Orders};

/// Checks of one instance at a time, those that are late included; more wait for an end. One that hangs has five by default.
const OF_ONE: usize = 8;

/// An upstream, and whether its checks are believed.
#[derive(Debug)]
pub(super) struct Group {
    /// As the present generation has it.
    upstream: RefCell<Arc<Upstream>>,
    believed: Cell<bool>,
    orders: Orders,
}

impl Group {
    pub(super) fn new(upstream: Arc<Upstream>, orders: Orders) -> Self {
        let believed = Cell::new(upstream.believes_checks());
        Group { upstream: RefCell::new(upstream), believed, orders }
    }

    /// The same upstream in another generation.
    pub(super) fn follow(&self, upstream: Arc<Upstream>) {
        self.upstream.replace(upstream);
        self.look();
    }

    fn upstream(&self) -> Arc<Upstream> {
        self.upstream.borrow().clone()
    }

    /// Says so once when its checks are believed no longer, or again.
    fn look(&self) {
        let upstream = self.upstream();
        let (believed, upstream) = (upstream.believes_checks(), &upstream.config.name);
        match (self.believed.replace(believed), believed) {
            (true, false) => {
                tracing::warn!(target: events::PANIC, upstream, "too few instances pass: errors of checks are not believed");
            }
            (false, true) => {
                tracing::info!(target: events::PANIC, upstream, "enough instances pass: checks are believed again");
            }
            _ => {}
        }
    }
}

/// An instance that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) group: Rc<Group>,
    /// As the present generation has it.
    pub(super) instance: RefCell<Arc<Instance>>,
    pub(super) target: Target,
    pub(super) rules: model::Health,
    pub(super) health: RefCell<Health>,
}

/// What is heard of a check: its number, what, and after how long.
type Heard = (u64, Event, Duration);

pub(super) async fn watch(watched: Rc<Watched>, permits: Arc<Semaphore>) {
    let now = || clock::now().since_boot();
    let Watched { group, instance, health, .. } = &*watched;
    // What belongs to its identity is the same in each generation.
    let known = instance.borrow().clone();
    let vitals = &known.vitals;
    let (mut tell, mut hear) = mpsc::channel::<Heard>(OF_ONE);
    let mut checks = Checks::default();
    loop {
        if vitals.was_forgotten() {
            // What is on its way was asked of the one before.
            checks = Checks::default();
            (tell, hear) = mpsc::channel(OF_ONE);
            health.replace(Health::of_one_that_returns(&watched.rules, now()));
        }
        checks.forget_ended();
        let wake = {
            let health = health.borrow();
            vitals.publish(health.state(), health.share(now()));
            vitals.falls_silent(health.is_silent());
            health.wake(now()).saturating_sub(now())
        };
        tokio::select! {
            // Not by the worker's wheel, which is too coarse for intervals with a jitter.
            () = tokio::time::sleep(wake), if checks.has_room() => {
                if health.borrow().due() <= now() {
                    let check = health.borrow_mut().begin(now(), random::next());
                    checks.begin(check, run(check, watched.clone(), permits.clone(), tell.clone()));
                }
            }
            () = vitals.suspected() => health.borrow_mut().suspect(now()),
            Some((check, event, took)) = hear.recv() => {
                if let Some(result) = result(&event) {
                    vitals.counters.check(result, took.as_secs_f64());
                }
                if matches!(event, Event::Late | Event::Busy) && permits.available_permits() == 0 {
                    checks.give_up(check);
                }
                let change = health.borrow_mut().hear(check, event, now());
                let falls_silent = vitals.falls_silent(health.borrow().is_silent());
                let (upstream, instance) = (group.upstream(), instance.borrow().clone());
                let closings = if let Some(change) = change {
                    vitals.publish(change.to, health.borrow().share(now()));
                    announce(&upstream, &instance, &change);
                    group.look();
                    down::closings(&upstream, &instance, &change)
                } else if falls_silent {
                    down::of_one_that_falls_silent(&upstream, &instance)
                } else {
                    vec![]
                };
                for closing in closings {
                    group.orders.send(Command::Close(closing)).await;
                }
            }
            Some(_) = checks.tasks.join_next() => {}
        }
    }
}

/// One check, once there is room for it.
async fn run(check: u64, watched: Rc<Watched>, permits: Arc<Semaphore>, tell: mpsc::Sender<Heard>) {
    // An error: never closed.
    let _permit = permits.acquire_owned().await;
    let instance = watched.instance.borrow().clone();
    let before = said(&instance);
    probe::probe(&watched.target, async |event, took| {
        let speaks = event == Event::Late && said(&instance) != before;
        let event = if speaks { Event::Busy } else { event };
        // An error: nobody watches any more.
        drop(tell.send((check, event, took)).await);
    })
    .await;
}

/// Bytes that its tunnels have brought from it so far.
fn said(instance: &Instance) -> u64 {
    instance.shards().into_iter().map(|counters| counters.bytes_down.get()).fold(0, u64::wrapping_add)
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
        Event::Late | Event::Busy => CheckResult::Timeout,
        Event::Void => CheckResult::NotMade,
        Event::Answered(_) => return None,
    })
}

fn announce(upstream: &Upstream, instance: &Instance, change: &Change) {
    let (upstream, name, evidence) = (&upstream.config.name, &instance.name, &change.evidence);
    instance.vitals.explain(evidence, clock::epoch_seconds());
    match change.to {
        State::Down => {
            tracing::warn!(target: events::DOWN, upstream, instance = name, evidence, "instance is down");
        }
        State::Degraded => {
            tracing::warn!(target: events::DEGRADED, upstream, instance = name, evidence, "instance is degraded: no new clients");
        }
        State::Up | State::Unknown => {
            tracing::info!(target: events::UP, upstream, instance = name, evidence, "instance is up");
        }
    }
}
