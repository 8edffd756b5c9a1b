//! A changed file comes into force: one generation follows another, and what is the same in both goes on untouched.

use std::sync::Arc;

use super::publisher::Publisher;
use super::surroundings::Surroundings;
use super::{assemble, lifecycle};
use crate::config::Config;
use crate::config::diff::{self, Diff};
use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::tunnel::Reason;
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Orders};

/// Whoever may put another configuration in force: a signal, the watched file, a command.
#[derive(Clone, Debug)]
pub struct Reloader {
    publisher: Arc<Publisher>,
    orders: Orders,
    surroundings: Surroundings,
}

/// What a reload does about a change that removes a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Somebody asked for it.
    Asked,
    /// Nobody did: `[reload] max_removed` counts, for the file may have been cut off.
    Watched,
}

impl Reloader {
    pub(super) fn new(publisher: Arc<Publisher>, orders: Orders, surroundings: Surroundings) -> Self {
        Reloader { publisher, orders, surroundings }
    }

    /// Puts `config` in force. What cannot change while the process runs stays as it was, and is named in the difference.
    ///
    /// # Errors
    /// When something that it names cannot be used, or it removes too much: everything stays as it was then.
    pub fn reload(&self, config: Config, caution: Caution) -> Result<Diff, String> {
        let mut difference = Diff::default();
        let followed = self.publisher.follow(|before| {
            difference = diff::diff(&before.config, &config);
            let too_much = difference.removes_too_much(before.config.reload.max_removed);
            if let (Caution::Watched, Some(too_much)) = (caution, too_much) {
                return Err(too_much);
            }
            assemble::generation(lasting(config, &before.config), &self.surroundings, Some(before))
        });
        self.publisher.reloads.note(followed.is_ok());
        let (before, next) = followed?;
        for command in commands(&before, &next) {
            self.orders.send_blocking(command);
        }
        // What is wanted of instances became so after the generation was published.
        self.publisher.touch();
        Ok(difference)
    }

    /// The file is to be watched, as what is in force says.
    pub(super) fn watches(&self) -> bool {
        self.publisher.current().config.reload.watch
    }

    /// The file cannot be read or is wrong: everything stays as it was.
    pub fn refused(&self) {
        self.publisher.reloads.note(false);
    }
}

/// What the process began with stays.
fn lasting(config: Config, before: &Config) -> Config {
    Config {
        workers: before.workers,
        listeners: before.listeners.clone(),
        metrics: before.metrics,
        log: before.log.clone(),
        ..config
    }
}

/// What the workers have to do when one generation has followed another.
pub(super) fn commands(before: &Generation, next: &Generation) -> Vec<Command> {
    let mut commands = Vec::new();
    for upstream in &next.upstreams {
        let known = before.upstream(&upstream.config.name);
        for instance in upstream.named() {
            let was = known.and_then(|known| known.instances.iter().find(|known| known.id == instance.id));
            let Some(was) = was else { continue };
            // The file's word wins over a command's, when it has changed; or it is named again before it had left.
            if was.config.state != instance.config.state || instance.lifecycle.is_removed() {
                instance.lifecycle.removed(false);
                commands.push(lifecycle::want(upstream, instance, instance.config.state, Reason::Drained));
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
    Some(lifecycle::want(upstream, instance, InstanceState::Drain, Reason::Removed))
}
