//! What becomes of what is open at an instance that was found dead.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::config::model::WhenDown;
use crate::local::clock::Moment;
use crate::tunnel::{Order, Reason};
use crate::upstream::health::{Change, State};
use crate::upstream::{Instance, Upstream};
use crate::worker::{Closing, Which};

/// What to close after this change. Nothing, unless it is down; and but for `close = "always"` only when there is another
/// instance to go to: to wait for this one is better than to knock in vain.
pub(super) fn closings(upstream: &Upstream, instance: &Instance, change: &Change) -> Vec<Closing> {
    let rules = &upstream.config.down;
    if change.to != State::Down {
        return vec![];
    }
    let elsewhere = upstream.believes_checks() && upstream.has_another_up(instance);
    let tunnels = match rules.close {
        WhenDown::Always => Some(None),
        WhenDown::Silent if elsewhere => Some(Some(Moment::at(change.since))),
        WhenDown::Silent | WhenDown::Never => None,
    };
    let order =
        |silent_since| Order { reason: Reason::Down, code: NonZeroU16::new(rules.close_code), silent_since };
    let tunnels = tunnels.map(|silent_since| Closing {
        instance: Some(instance.id),
        which: Which::Tunnels,
        order: order(silent_since),
        over: rules.span(instance.load.tunnels()),
    });
    // Each of them waits for an answer that does not come.
    let exchanges = (elsewhere || rules.close == WhenDown::Always).then(|| Closing {
        instance: Some(instance.id),
        which: Which::Exchanges,
        order: order(None),
        over: Duration::ZERO,
    });
    exchanges.into_iter().chain(tunnels).collect()
}
