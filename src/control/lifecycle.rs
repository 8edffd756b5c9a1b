//! What is wanted of an instance becomes so: the one place that begins and ends drains.

use std::num::NonZeroU16;

use crate::config::model::InstanceState;
use crate::local::clock;
use crate::tunnel::{Order, Reason};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Drain};

/// Wants `state` of an instance from now on, and says what the workers have to do for it. `reason`: why it is emptied, if it is.
#[must_use = "the workers must hear of it"]
pub(super) fn want(
    upstream: &Upstream,
    instance: &Instance,
    state: InstanceState,
    reason: Reason,
) -> Command {
    let before = instance.lifecycle.state();
    if matches!(state, InstanceState::Ready | InstanceState::Cordon) {
        instance.lifecycle.wants(state);
        return Command::Keep(instance.id);
    }
    let rules = &upstream.config.drain;
    let now = clock::coarse();
    let begins = now.after(rules.grace);
    instance.lifecycle.empties(state, begins.since_boot(), rules.spread);
    tracing::info!(
        upstream = upstream.config.name,
        instance = instance.name,
        ?before,
        ?state,
        tunnels = instance.load.tunnels(),
        grace = ?rules.grace,
        spread = ?rules.spread,
        "instance is emptied"
    );
    Command::Drain(Drain {
        instance: instance.id,
        order: Order { reason, code: NonZeroU16::new(rules.close_code), silent_since: None },
        begins,
        spread: rules.spread,
        deadline: now.after(rules.deadline),
    })
}
