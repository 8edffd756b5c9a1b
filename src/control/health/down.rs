//! What becomes of what is open at an instance that was found dead.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::config::model::WhenDown;
use crate::local::clock::Moment;
use crate::tunnel::{Order, Reason};
use crate::upstream::health::{Change, State};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Closing, Which};

/// What to close after this change: of one that is down what `[upstream.NAME.down]` says; of one that says nothing, or is too busy
/// to, the session starts that wait for it, which find another one then. But for `close = "always"` only when there is another
/// instance to go to: to wait for this one is better than to knock in vain.
pub(super) fn closings(upstream: &Upstream, instance: &Instance, change: &Change) -> Vec<Closing> {
    let (belief, another) = (upstream.belief(), upstream.has_another_up(instance));
    let elsewhere = belief.checks && another;
    let nothing_comes = match change.to {
        State::Down => belief.down,
        State::Degraded => belief.checks && change.silent,
        State::Up | State::Unknown => false,
    };
    let mut closings = Vec::new();
    if nothing_comes && another {
        closings.push(closing(upstream, instance, Which::Starts));
    }
    if change.to == State::Down {
        closings.extend(of_one_that_is_down(upstream, instance, Moment::at(change.since), elsewhere));
    }
    closings
}

fn of_one_that_is_down(
    upstream: &Upstream,
    instance: &Instance,
    since: Moment,
    elsewhere: bool,
) -> Vec<Closing> {
    let rules = &upstream.config.down;
    let tunnels = match rules.close {
        WhenDown::Always => Some(None),
        WhenDown::Silent if elsewhere => Some(Some(since)),
        WhenDown::Silent | WhenDown::Never => None,
    };
    let tunnels = tunnels.map(|silent_since| {
        let all = closing(upstream, instance, Which::Tunnels);
        let order = Order { silent_since, ..all.order };
        Closing { order, over: rules.span(instance.load.tunnels()), ..all }
    });
    // Each of them waits for an answer that does not come.
    let exchanges =
        (elsewhere || rules.close == WhenDown::Always).then(|| closing(upstream, instance, Which::Exchanges));
    exchanges.into_iter().chain(tunnels).collect()
}

/// These, at once.
fn closing(upstream: &Upstream, instance: &Instance, which: Which) -> Closing {
    let code = NonZeroU16::new(upstream.config.down.close_code);
    let order = Order { reason: Reason::Down, code, silent_since: None };
    Closing { instance: Some(instance.id), which, order, over: Duration::ZERO }
}
