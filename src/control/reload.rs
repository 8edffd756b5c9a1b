//! A changed file comes into force: one generation follows another, and what is the same in both goes on untouched.

use std::sync::Arc;

use super::{Running, assemble, lifecycle};
use crate::config::Config;
use crate::config::diff::{self, Diff};
use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::tunnel::Reason;
use crate::upstream::{Instance, Upstream};
use crate::worker::Command;

impl Running {
    /// Puts `config` in force. What cannot change while the process runs stays as it was, and is named in the difference.
    ///
    /// # Errors
    /// When something that it names cannot be used: everything stays as it was then.
    pub fn reload(&self, config: Config) -> Result<Diff, String> {
        let mut difference = None;
        let (before, next) = self.publisher.follow(|before| {
            difference = Some(diff::diff(&before.config, &config));
            assemble::generation(lasting(config, &before.config), &self.surroundings, Some(before))
        })?;
        let orders = self.orders();
        for command in commands(&before, &next) {
            orders.send_blocking(command);
        }
        Ok(difference.unwrap_or_default())
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

/// What the workers have to do.
fn commands(before: &Generation, next: &Generation) -> Vec<Command> {
    let mut commands = Vec::new();
    for upstream in &next.upstreams {
        let same = |known: &&Arc<Upstream>| known.config.name == upstream.config.name;
        let known = before.upstreams.iter().chain(&before.leaving).find(same);
        let was = |instance: &Instance| {
            known.and_then(|known| known.instances.iter().find(|known| known.id == instance.id))
        };
        let named = upstream.instances.len() - upstream.leaving().len();
        for (index, instance) in upstream.instances.iter().enumerate() {
            match was(instance) {
                _ if index >= named => commands.extend(leaves(upstream, instance)),
                // The file's word wins over a command's, when it has changed; or it is named again before it had left.
                Some(was) if was.config.state != instance.config.state || instance.lifecycle.is_removed() => {
                    instance.lifecycle.removed(false);
                    let state = instance.config.state;
                    commands.push(lifecycle::want(upstream, instance, state, Reason::Drained));
                }
                _ => {}
            }
        }
    }
    for upstream in &next.leaving {
        commands.extend(upstream.instances.iter().filter_map(|instance| leaves(upstream, instance)));
    }
    let moved = |(was, is): (&Arc<Instance>, &Arc<Instance>)| !Arc::ptr_eq(&was.endpoint, &is.endpoint);
    let all = |generation: &Generation| -> Vec<Arc<Instance>> {
        generation.upstreams.iter().flat_map(|upstream| upstream.instances.clone()).collect()
    };
    let (old, new) = (all(before), all(next));
    let pairs = new.iter().filter_map(|is| Some((old.iter().find(|was| was.id == is.id)?, is)));
    if pairs.into_iter().any(moved) {
        commands.push(Command::ForgetIdle);
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
