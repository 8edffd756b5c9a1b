//! What becomes of what is open at an instance that was found dead.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::config::model::WhenDown;
use crate::local::clock::Moment;
use crate::tunnel::{Force, Order, Reason};
use crate::upstream::health::{Change, State};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Closing, Which};

/// What to close after this change: of one that is down what `[upstream.NAME.down]` says; of one that answers late, or not, the session
/// starts that wait for it, which find another one then. But for `close = "always"` only when there is another instance to go to: to
/// wait for this one is better than to knock in vain.
pub(super) fn closings(upstream: &Upstream, instance: &Instance, change: &Change) -> Vec<Closing> {
    let (belief, another) = (upstream.belief(), upstream.has_another_up(instance));
    let (elsewhere, rules) = (belief.checks && another, &upstream.config.down);
    let always = rules.close == WhenDown::Always;
    // Each of them waits for an answer that does not come.
    let waiting = match change.to {
        State::Down if elsewhere || always => Some(Which::Exchanges),
        State::Down if belief.down && another => Some(Which::Starts),
        State::Degraded if change.late && elsewhere => Some(Which::Starts),
        State::Down | State::Degraded | State::Up | State::Unknown => None,
    };
    let tunnels = match (change.to, rules.close) {
        (State::Down, WhenDown::Always) => Some(Force::Gently),
        (State::Down, WhenDown::Silent) if elsewhere => Some(Force::IfSilentSince(Moment::at(change.since))),
        _ => None,
    };
    let waiting = waiting.map(|which| closing(upstream, instance, which));
    let tunnels = tunnels.map(|force| {
        let all = closing(upstream, instance, Which::Tunnels);
        let order = Order { force, ..all.order };
        Closing { order, over: rules.span(instance.load.tunnels()), ..all }
    });
    waiting.into_iter().chain(tunnels).collect()
}

/// The same of one that was degraded before it fell silent.
pub(super) fn of_one_that_falls_silent(upstream: &Upstream, instance: &Instance) -> Vec<Closing> {
    let elsewhere = upstream.belief().checks && upstream.has_another_up(instance);
    elsewhere.then(|| closing(upstream, instance, Which::Starts)).into_iter().collect()
}

/// These, at once.
fn closing(upstream: &Upstream, instance: &Instance, which: Which) -> Closing {
    let code = NonZeroU16::new(upstream.config.down.close_code);
    let order = Order { reason: Reason::Down, code, force: Force::Gently };
    Closing { instance: Some(instance.id), which, order, over: Duration::ZERO }
}
