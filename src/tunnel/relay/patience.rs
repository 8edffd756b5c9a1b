//! What of a tunnel has lasted too long: the one deadline that it waits for, and what comes of it.

use super::super::direction::Direction;
use super::super::{Order, Owner, Reason, ping};
use super::Tunnel;
use crate::local::clock::{self, Moment};

/// What a deadline means.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// To close it for a reason.
    Close(Reason),
    /// To ask the client for a sign of life.
    Ask,
    /// To obey an order that was put off.
    Obey(Order),
    /// Closing has lasted long enough.
    Cut,
}

impl<O: Owner> Tunnel<O> {
    /// When the first direction ended.
    pub(super) fn half_since(&self) -> Option<Moment> {
        (self.half != Moment::default()).then_some(self.half)
    }

    /// The next moment at which something has lasted too long.
    fn deadline(&self) -> (Moment, Due) {
        if let Some(closing) = self.closing() {
            return (closing.deadline, Due::Cut);
        }
        let limits = self.owner.limits();
        let idle = (self.active.after(limits.idle), Due::Close(Reason::Idle));
        let half = self
            .half_since()
            .map(|since| (since.after(limits.half_close), Due::Close(Reason::HalfCloseTimeout)));
        let owed = self
            .half_since()
            .filter(|_| self.down.owes_close())
            .map(|moment| (moment, Due::Close(Reason::InstanceLost)));
        let stalled = [&self.up, &self.down]
            .into_iter()
            .filter_map(Direction::waiting_since)
            .min()
            .map(|since| (since.after(limits.send), Due::Close(Reason::Stalled)));
        let ping = self.rare.as_deref().and_then(|rare| rare.pings.as_ref()).zip(limits.ping).map(
            |(pings, every)| match pings.due(every) {
                (moment, ping::Due::Ask) => (moment, Due::Ask),
                (moment, ping::Due::Lost) => (moment, Due::Close(Reason::PingTimeout)),
            },
        );
        let put_off = self.put_off().map(|(order, moment)| (moment, Due::Obey(order)));
        [Some(idle), half, owed, stalled, ping, put_off]
            .into_iter()
            .flatten()
            .min_by_key(|(moment, _)| *moment)
            .unwrap_or(idle)
    }

    /// Waits for that.
    pub(super) fn arm(&self) {
        self.timer.set_at(self.deadline().0);
    }

    /// The timer has fired: `true` when patience has ended, otherwise closing has begun or the deadline had moved.
    pub(super) fn on_timer(&mut self) -> bool {
        let (moment, due) = self.deadline();
        let now = clock::coarse();
        if now < moment {
            self.arm();
            return false;
        }
        match due {
            Due::Cut => return true,
            Due::Ask => self.want_ping(now),
            Due::Obey(order) => self.comply(order),
            Due::Close(Reason::PingTimeout) if self.down.waiting_since().is_some() => {
                self.pings_mut().into_iter().for_each(|pings| pings.still_queued(now));
                self.arm();
            }
            Due::Close(Reason::InstanceLost) => {
                let code = self.owner.broken_code();
                self.close(Reason::InstanceLost, Some(code));
            }
            Due::Close(reason) => self.close(reason, None),
        }
        false
    }

    /// The client has been silent: to be asked at the next boundary, unless it has said Close.
    fn want_ping(&mut self, now: Moment) {
        let says_more = !self.up.close_seen();
        if let Some(pings) = self.pings_mut() {
            if says_more {
                pings.want(now);
            } else {
                pings.put_off(now);
            }
        }
        self.arm();
    }
}
