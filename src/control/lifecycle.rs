//! What is wanted of an instance becomes so: the one place that begins and ends drains.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::kept::Kept;
use super::publisher::Publisher;
use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::local::clock;
use crate::tunnel::{Order, Reason};
use crate::upstream::lifecycle::Emptying;
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Drain, Orders};

/// Wants `state` of an instance from now on, and says what the workers have to do for it; `None`: nothing else than before.
/// `reason`: why it is emptied, if it is.
#[must_use = "the workers must hear of it"]
pub(super) fn want(
    upstream: &Upstream,
    instance: &Instance,
    state: InstanceState,
    reason: Reason,
) -> Option<Command> {
    let before = instance.lifecycle.state();
    if !empties(state) {
        instance.lifecycle.wants(state);
        if empties(before) {
            instance.vitals.forget();
        }
        tracing::info!(
            upstream = upstream.config.name,
            instance = instance.name,
            ?before,
            ?state,
            "instance"
        );
        return Some(Command::Keep(instance.id));
    }
    if empties(before) && instance.lifecycle.emptying().is_some() {
        // To say it again, or in the file too, must not begin it anew.
        instance.lifecycle.still_empties(state);
        return None;
    }
    let rules = &upstream.config.drain;
    let now = clock::coarse();
    let (begins, deadline) = (now.after(rules.grace), now.after(rules.deadline));
    let emptying = Emptying {
        from: begins.since_boot(),
        over: rules.spread,
        cut: deadline.since_boot(),
        began_with: instance.load.total(),
    };
    instance.lifecycle.empties(state, emptying);
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
    Some(Command::Drain(Drain {
        instance: instance.id,
        order: Order { reason, code: NonZeroU16::new(rules.close_code), silent_since: None },
        begins,
        spread: rules.spread,
        deadline,
    }))
}

/// What the workers have to do for an instance that is new, or was wanted so before the process began.
pub(super) fn begin(upstream: &Upstream, instance: &Instance) -> Option<Command> {
    let state = instance.lifecycle.state();
    if empties(state) { want(upstream, instance, state, Reason::Drained) } else { None }
}

/// What is open at an instance in this state is closed.
pub(super) fn empties(state: InstanceState) -> bool {
    matches!(state, InstanceState::Drain | InstanceState::Maintain)
}

/// Whoever may want something of instances by command.
#[derive(Clone, Debug)]
pub(super) struct Administrator {
    pub(super) publisher: Arc<Publisher>,
    pub(super) orders: Orders,
    pub(super) kept: Arc<Kept>,
}

/// An instance, and its upstream.
pub(super) type Member = (Arc<Upstream>, Arc<Instance>);

/// Why a command is not obeyed; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such instance; says which there are.
    Unknown(String),
    /// It would leave an upstream of this name without an instance for new clients.
    Last(String),
    /// The file itself wants something else of this instance.
    File {
        upstream: String,
        instance: String,
        /// What it wants.
        state: InstanceState,
    },
}

impl Administrator {
    /// Wants `state` of all of these from now on, or of none. `even_the_last`: also where no other instance is left for new clients.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn want(
        &self,
        names: &[String],
        state: InstanceState,
        even_the_last: bool,
    ) -> Result<Vec<Member>, Refusal> {
        let _one = self.publisher.alone();
        let generation = self.publisher.current();
        let found: Vec<Member> = names
            .iter()
            .map(|name| find(&generation, name))
            .collect::<Result<_, _>>()
            .map_err(Refusal::Unknown)?;
        if state == InstanceState::Ready {
            if let Some((upstream, instance)) =
                found.iter().find(|(_, instance)| instance.config.state != InstanceState::Ready)
            {
                return Err(Refusal::File {
                    upstream: upstream.config.name.clone(),
                    instance: instance.name.clone(),
                    state: instance.config.state,
                });
            }
        } else if let (Some(upstream), false) = (left_without(&found), even_the_last) {
            return Err(Refusal::Last(upstream));
        }
        let other = found.iter().filter(|(_, instance)| instance.lifecycle.state() != state);
        let commands: Vec<Command> = other
            .filter_map(|(upstream, instance)| want(upstream, instance, state, Reason::Drained))
            .collect();
        // First: whoever sees it done may rely on it.
        self.kept.keep(&generation);
        for command in commands {
            self.orders.send_blocking(command);
        }
        // One in maintenance is not checked.
        self.publisher.touch();
        Ok(found)
    }
}

/// The instance that is called so: `UPSTREAM/INSTANCE`, or where there is one upstream `INSTANCE`.
///
/// # Errors
/// Which there are.
pub(super) fn find(generation: &Generation, called: &str) -> Result<Member, String> {
    let upstreams = &generation.upstreams;
    let members = || {
        upstreams.iter().flat_map(|upstream| {
            upstream.named().iter().map(move |instance| (upstream.clone(), instance.clone()))
        })
    };
    let is = |(upstream, instance): &Member| match called.strip_prefix(upstream.config.name.as_str()) {
        Some(rest) if rest.strip_prefix('/') == Some(instance.name.as_str()) => true,
        _ => upstreams.len() == 1 && instance.name == called,
    };
    members().find(is).ok_or_else(|| {
        const SHOWN: usize = 8;
        let mut known: Vec<_> = members()
            .take(SHOWN)
            .map(|(upstream, instance)| format!("{}/{}", upstream.config.name, instance.name))
            .collect();
        if members().nth(SHOWN).is_some() {
            known.push("...".to_owned());
        }
        format!("there is no instance {called}; there are: {}", known.join(", "))
    })
}

/// The upstream that would have no instance left for new clients without these, and has one now.
fn left_without(without: &[Member]) -> Option<String> {
    let takes = |upstream: &Upstream, instance: &Instance| {
        let passes = instance.vitals.passes() || !upstream.believes_checks();
        instance.state() == InstanceState::Ready && passes
    };
    let goes = |instance: &Arc<Instance>| without.iter().any(|(_, leaving)| leaving.id == instance.id);
    without
        .iter()
        .map(|(upstream, _)| upstream)
        .find(|upstream| {
            let taking = || upstream.named().iter().filter(|instance| takes(upstream, instance));
            taking().next().is_some() && taking().all(goes)
        })
        .map(|upstream| upstream.config.name.clone())
}
