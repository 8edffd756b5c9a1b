//! What is wanted of an instance becomes so: the one place that begins and ends drains.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::by::By;
use super::kept::Kept;
use super::publisher::Publisher;
use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::local::clock;
use crate::observe::events;
use crate::tunnel::{Force, Order, Reason};
use crate::upstream::health::State;
use crate::upstream::lifecycle::Emptying;
use crate::upstream::{Instance, Upstream};
use crate::worker::{Command, Drain, Orders};

/// Of those that there are, an error names so many.
const SHOWN: usize = 8;

/// Wants `state` of an instance from now on, and says what the workers have to do for it; `None`: nothing else than before.
/// `reason`: why it is emptied, if it is; `by`: who wants it.
#[must_use = "the workers must hear of it"]
pub(super) fn want(
    upstream: &Upstream,
    instance: &Instance,
    state: InstanceState,
    reason: Reason,
    by: By,
) -> Option<Command> {
    let before = instance.lifecycle.state();
    if !empties(state) {
        instance.lifecycle.wants(state);
        if empties(before) {
            instance.vitals.forget();
        }
        tracing::info!(
            target: events::STATE,
            upstream = upstream.config.name,
            instance = instance.name,
            before = before.as_str(),
            state = state.as_str(),
            %by,
            "wanted is {}",
            state.as_str()
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
        target: events::STATE,
        upstream = upstream.config.name,
        instance = instance.name,
        before = before.as_str(),
        state = state.as_str(),
        tunnels = instance.load.tunnels(),
        grace = ?rules.grace,
        spread = ?rules.spread,
        %by,
        "wanted is {}: it is emptied",
        state.as_str()
    );
    Some(Command::Drain(Drain {
        instance: instance.id,
        order: Order { reason, code: NonZeroU16::new(rules.close_code), force: Force::Gently },
        begins,
        spread: rules.spread,
        deadline,
    }))
}

/// Goes on with a drain that another process has begun: what the workers have to do.
#[must_use = "the workers must hear of it"]
pub(super) fn go_on(
    upstream: &Upstream,
    instance: &Instance,
    state: InstanceState,
    emptying: Emptying,
) -> Command {
    instance.lifecycle.empties(state, emptying);
    let code = NonZeroU16::new(upstream.config.drain.close_code);
    Command::Drain(Drain {
        instance: instance.id,
        order: Order { reason: Reason::Drained, code, force: Force::Gently },
        begins: clock::Moment::at(emptying.from),
        spread: emptying.over,
        deadline: clock::Moment::at(emptying.cut),
    })
}

/// What the workers have to do for an instance that is new, or was wanted so before the process began.
pub(super) fn begin(upstream: &Upstream, instance: &Instance) -> Option<Command> {
    let state = instance.lifecycle.state();
    if empties(state) { want(upstream, instance, state, Reason::Drained, By::File) } else { None }
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
        by: By,
    ) -> Result<Vec<Member>, Refusal> {
        let _one = self.publisher.alone();
        let generation = self.publisher.current();
        let found: Vec<Vec<Member>> = names
            .iter()
            .map(|name| find(&generation, name))
            .collect::<Result<_, _>>()
            .map_err(Refusal::Unknown)?;
        let found = found.concat();
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
            .filter_map(|(upstream, instance)| want(upstream, instance, state, Reason::Drained, by))
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

/// The instances that are called so: `UPSTREAM/INSTANCE`, or where there is one upstream `INSTANCE`; `UPSTREAM/*` is all of it.
///
/// # Errors
/// There is none; says which there are.
pub(super) fn find(generation: &Generation, called: &str) -> Result<Vec<Member>, String> {
    let upstreams = &generation.upstreams;
    let members = || {
        upstreams.iter().flat_map(|upstream| {
            upstream.named().iter().map(move |instance| (upstream.clone(), instance.clone()))
        })
    };
    let is = |(upstream, instance): &Member| match called.strip_prefix(upstream.config.name.as_str()) {
        Some("/*") => true,
        Some(rest) if rest.strip_prefix('/') == Some(instance.name.as_str()) => true,
        _ => upstreams.len() == 1 && instance.name == called,
    };
    let found: Vec<Member> = members().filter(is).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let name = |(upstream, instance): Member| format!("{}/{}", upstream.config.name, instance.name);
    let mut known: Vec<String> = members().take(SHOWN).map(name).collect();
    if members().nth(SHOWN).is_some() {
        known.push("...".to_owned());
    }
    Err(format!("there is no instance {called}; there are: {}", known.join(", ")))
}

/// The upstream that would have no instance left for new clients without these, and has one now.
fn left_without(without: &[Member]) -> Option<String> {
    let takes = |upstream: &Upstream, instance: &Instance| {
        let seems = upstream.belief().of(instance.vitals.state());
        instance.state() == InstanceState::Ready && seems == State::Up
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use State::{Degraded, Down, Unknown, Up};

    #[test]
    fn the_last_that_is_alive_is_the_last() {
        let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\nsticky.by = []\ninstances = [\"a:1\", \"b:1\", \"c:1\"]\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let upstream = Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1));
        // What the checks say of a, b and c; which of them leave.
        let check = |states: [State; 3], leave: &[usize], last: bool| {
            for (instance, state) in upstream.named().iter().zip(states) {
                instance.vitals.publish(state, 100);
            }
            let leaving: Vec<Member> =
                leave.iter().map(|index| (upstream.clone(), upstream.named()[*index].clone())).collect();
            assert_eq!(left_without(&leaving).is_some(), last, "{states:?} {leave:?}");
        };
        check([Up, Up, Up], &[0, 1], false);
        check([Up, Up, Up], &[0, 1, 2], true);
        check([Up, Up, Down], &[0, 1], true);
        check([Up, Up, Down], &[2], false);
        // Two of three hang: checks are not believed, and whoever came to those two would wait in vain all the same.
        check([Down, Down, Up], &[2], true);
        check([Down, Down, Unknown], &[2], true);
        check([Down, Down, Up], &[0, 1], false);
        // The checks are wrong, more likely than not.
        check([Degraded, Degraded, Up], &[2], false);
        // There is nothing to lose.
        check([Down, Down, Down], &[2], false);
        check([Down, Down, Down], &[0, 1, 2], true);
    }
}
