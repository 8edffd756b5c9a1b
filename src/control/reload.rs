//! A changed file comes into force: one generation follows another, and what is the same in both goes on untouched.

use std::sync::Arc;

use super::by::By;
use super::certificates::Certificates;
use super::lifecycle::Administrator;
use super::notify::Manager;
use super::plan::Plan;
use super::surroundings::Surroundings;
use super::watch::Digest;
use super::{assemble, lifecycle};
use crate::config::Config;
use crate::config::model::{InstanceState, Listener};
use crate::generation::Generation;
use crate::tunnel::Reason;
use crate::upstream::{Instance, Upstream};
use crate::worker::Command;

/// Whoever may put another configuration in force: a signal, the watched file, a command.
#[derive(Clone, Debug)]
pub struct Reloader {
    administrator: Administrator,
    surroundings: Surroundings,
    certificates: Arc<Certificates>,
}

/// What a reload does about a change that removes a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Somebody asked for it.
    Asked,
    /// Nobody did, or nobody confirmed what it removes: `[reload] max_removed` counts, for the file may have been cut off.
    Watched,
}

impl Reloader {
    pub(super) fn new(
        administrator: Administrator,
        surroundings: Surroundings,
        certificates: Arc<Certificates>,
    ) -> Self {
        Reloader { administrator, surroundings, certificates }
    }

    /// What a reload with `config` would do.
    ///
    /// # Errors
    /// When something that it names cannot be used, or it removes too much.
    pub fn rehearse(&self, config: &Config, caution: Caution) -> Result<Plan, String> {
        let before = self.administrator.publisher.current();
        let plan = cautious(Plan::of(&before, config), &before.config, caution)?;
        assemble::check(config, &self.surroundings)?;
        self.certificates.prepare(config).map_err(|unusable| unusable.why)?;
        Ok(plan)
    }

    /// Puts `config` in force. What cannot change while the process runs stays as it was, and is named in the difference.
    ///
    /// # Errors
    /// When something that it names cannot be used, or it removes too much: everything stays as it was then.
    pub fn reload(&self, config: Config, caution: Caution) -> Result<Plan, String> {
        self.reload_explained(config, caution, |why| why)
    }

    /// The same; `explain` knows where the file is that is complained of.
    pub(super) fn reload_explained(
        &self,
        config: Config,
        caution: Caution,
        explain: impl Fn(String) -> String,
    ) -> Result<Plan, String> {
        let publisher = &self.administrator.publisher;
        let _one = publisher.alone();
        let mut plan = Plan::default();
        let done = put_in_force(&self.administrator, |before| {
            plan = cautious(Plan::of(before, &config), &before.config, caution)?;
            let certificates = self.certificates.prepare(&config).map_err(|unusable| unusable.why)?;
            let next =
                assemble::generation(lasting(config, &before.config), &self.surroundings, Some(before))?;
            // From here on nothing can fail.
            self.certificates.serve(certificates);
            Ok(next)
        });
        let done = done.map_err(explain);
        publisher.reloads.note(done.clone());
        done.map(|()| plan)
    }

    /// The file is to be watched, as what is in force says.
    pub(super) fn watches(&self) -> bool {
        self.administrator.publisher.current().config.reload.watch
    }

    /// What is in force came from this content.
    pub(super) fn came_from(&self, digest: Digest) {
        self.administrator.publisher.reloads.came_from(digest);
    }

    /// The service manager, who hears of a reload.
    pub(super) fn manager(&self) -> &Manager {
        &self.surroundings.manager
    }

    /// The file cannot be read or is wrong: everything stays as it was.
    pub(super) fn refused(&self, why: String) {
        self.administrator.publisher.reloads.note(Err(why));
    }
}

/// Puts the generation in force that is made out of the present one, and sees to what follows from it. Whoever calls is
/// [alone](super::publisher::Publisher::alone).
///
/// # Errors
/// When it cannot be made: nothing is changed then.
pub(super) fn put_in_force<E>(
    administrator: &Administrator,
    make: impl FnOnce(&Generation) -> Result<Generation, E>,
) -> Result<(), E> {
    let Administrator { publisher, orders, kept } = administrator;
    let (before, next) = publisher.follow(make)?;
    let commands = commands(&before, &next);
    // First: whoever sees it done may rely on it.
    kept.keep(&next);
    for command in commands {
        orders.send_blocking(command);
    }
    // What is wanted of instances became so after the generation was published.
    publisher.touch();
    Ok(())
}

/// The plan, unless it removes more than may be removed so.
fn cautious(plan: Plan, before: &Config, caution: Caution) -> Result<Plan, String> {
    match (caution, plan.difference.removes_too_much(before.reload.max_removed)) {
        (Caution::Watched, Some(too_much)) => Err(too_much),
        _ => Ok(plan),
    }
}

/// What the process began with stays.
fn lasting(config: Config, before: &Config) -> Config {
    Config {
        workers: before.workers,
        listeners: before.listeners.iter().map(|listener| lasting_listener(listener, &config)).collect(),
        admin: before.admin.clone(),
        metrics: before.metrics,
        log: before.log.clone(),
        ..config
    }
}

/// A listener as it was, but for what whoever connects next may find changed.
fn lasting_listener(before: &Listener, config: &Config) -> Listener {
    let next = config.listeners.iter().find(|next| next.address == before.address);
    let Listener { tls, redirect, .. } = next.unwrap_or(before).clone();
    Listener { tls, redirect, ..before.clone() }
}

/// What the workers have to do when one generation has followed another.
fn commands(before: &Generation, next: &Generation) -> Vec<Command> {
    let mut commands = Vec::new();
    for upstream in &next.upstreams {
        let known = before.upstream(&upstream.config.name);
        for instance in upstream.named() {
            let was = known.and_then(|known| known.instances.iter().find(|known| known.id == instance.id));
            let Some(was) = was else {
                commands.extend(lifecycle::begin(upstream, instance));
                continue;
            };
            // The file's word wins over a command's, when it has changed; or it is named again before it had left.
            if was.config.state != instance.config.state || instance.lifecycle.is_removed() {
                instance.lifecycle.removed(false);
                let state = instance.config.state;
                commands.extend(lifecycle::want(upstream, instance, state, Reason::Drained, By::File));
            }
        }
        commands.extend(upstream.leaving().iter().filter_map(|instance| leaves(upstream, instance)));
    }
    for upstream in &next.leaving {
        commands.extend(upstream.instances.iter().filter_map(|instance| leaves(upstream, instance)));
    }
    commands
}

/// Empties an instance that the file no longer names, unless that has begun.
fn leaves(upstream: &Upstream, instance: &Instance) -> Option<Command> {
    if instance.lifecycle.is_removed() {
        return None;
    }
    instance.lifecycle.removed(true);
    lifecycle::want(upstream, instance, InstanceState::Drain, Reason::Removed, By::File)
}
