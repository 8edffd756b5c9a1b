//! How long an exchange waits for what: a deadline for each direction, so that what moves in one does not excuse the other,
//! and one timer for both.

use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use super::respond::Failure;
use crate::config::model::Timeouts;
use crate::local::clock::{self, Moment};
use crate::local::stream::LOOK_EVERY;
use crate::local::timer::Timer;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// More of the request's body.
    RequestBody,
    /// The instance takes what it was sent.
    InstanceTakes,
    /// The head of the answer.
    AnswerHead,
    /// The answer to an upgrade.
    Switch,
    /// More of the answer's body.
    AnswerBody,
    /// The client takes what it was sent.
    ClientTakes,
}

impl Wait {
    fn duration(self, timeouts: &Timeouts) -> Duration {
        match self {
            Wait::RequestBody => timeouts.request_body,
            Wait::InstanceTakes | Wait::ClientTakes => timeouts.send,
            Wait::AnswerHead => timeouts.response_head,
            Wait::Switch => timeouts.upgrade,
            Wait::AnswerBody => timeouts.body_idle,
        }
    }

    /// What it means when it takes too long.
    pub(super) fn failure(self) -> Failure {
        match self {
            Wait::RequestBody => Failure::BodyTimeout,
            Wait::InstanceTakes => Failure::InstanceStalled,
            Wait::AnswerHead | Wait::Switch => Failure::AnswerTimeout,
            Wait::AnswerBody => Failure::AnswerStalled,
            Wait::ClientTakes => Failure::ClientStalled,
        }
    }
}

/// What a direction waits for, and whether it has come a step further since it was asked last; `None`: it is through.
pub(super) type Expected = Option<(Wait, bool)>;

/// What the timer's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// This has taken too long.
    Late(Wait),
    /// Time to look whether the client is still there.
    Look,
}

/// The deadlines of one exchange.
#[derive(Debug)]
pub(super) struct Patience<'x> {
    timer: &'x Timer,
    up: Option<(Wait, Moment)>,
    down: Option<(Wait, Moment)>,
    armed: Option<Moment>,
}

impl<'x> Patience<'x> {
    pub(super) fn new(timer: &'x Timer) -> Self {
        Patience { timer, up: None, down: None, armed: None }
    }

    /// What each direction waits for now. `look`: the client's end would not be seen.
    pub(super) fn expect(&mut self, up: Expected, down: Expected, timeouts: &Timeouts, look: bool) {
        renew(&mut self.up, up, timeouts);
        renew(&mut self.down, down, timeouts);
        let deadline = self.next().map(|(_, deadline)| deadline);
        if look {
            // The look that is due already stays due.
            let look = clock::coarse().after(LOOK_EVERY);
            let next = [deadline, self.armed, Some(look)].into_iter().flatten().min();
            self.arm(next);
        } else {
            self.arm(deadline);
        }
    }

    /// Ready when something has lasted too long, or it is time to look.
    pub(super) fn poll(&mut self, cx: &Poller<'_>) -> Poll<Lapse> {
        ready!(self.timer.poll(cx));
        let now = clock::coarse();
        self.armed = None;
        let next = self.next();
        match next {
            Some((wait, deadline)) if deadline <= now => Poll::Ready(Lapse::Late(wait)),
            _ => {
                let look = now.after(LOOK_EVERY);
                self.arm(Some(next.map_or(look, |(_, deadline)| deadline.min(look))));
                Poll::Ready(Lapse::Look)
            }
        }
    }

    fn next(&self) -> Option<(Wait, Moment)> {
        [self.up, self.down].into_iter().flatten().min_by_key(|(_, deadline)| *deadline)
    }

    fn arm(&mut self, moment: Option<Moment>) {
        if self.armed != moment {
            self.armed = moment;
            match moment {
                Some(moment) => self.timer.set_at(moment),
                None => self.timer.clear(),
            }
        }
    }
}

/// A deadline lasts for as long as the same is waited for and nothing comes.
fn renew(slot: &mut Option<(Wait, Moment)>, expected: Expected, timeouts: &Timeouts) {
    *slot = match (*slot, expected) {
        (_, None) => None,
        (Some((before, deadline)), Some((wait, false))) if before == wait => Some((before, deadline)),
        (_, Some((wait, _))) => Some((wait, clock::coarse().after(wait.duration(timeouts)))),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn timeouts() -> Timeouts {
        let text = "listen = \":80\"\n[upstream.app]\ninstances = [\"a:1\"]\n[timeouts]\nsend = \"2s\"\nbody_idle = \"2s\"\n";
        config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config.timeouts
    }

    /// The regression: one upload byte a second kept an answer alive whose reader took nothing.
    #[test]
    fn an_upload_that_trickles_does_not_excuse_a_stalled_answer() {
        let (timer, timeouts) = (Timer::new(), timeouts());
        let mut patience = Patience::new(&timer);
        patience.expect(Some((Wait::RequestBody, false)), Some((Wait::ClientTakes, false)), &timeouts, false);
        let deadlines = (patience.up, patience.down);
        std::thread::sleep(Duration::from_millis(30));
        patience.expect(Some((Wait::RequestBody, true)), Some((Wait::ClientTakes, false)), &timeouts, false);
        assert_eq!(patience.down, deadlines.1);
        assert_ne!(patience.up, deadlines.0);
        assert_eq!(patience.next().map(|(wait, _)| wait), Some(Wait::ClientTakes));
        // Another thing to wait for has its own time.
        patience.expect(None, Some((Wait::AnswerBody, false)), &timeouts, false);
        assert_eq!(patience.up, None);
        assert_ne!(patience.down, deadlines.1);
    }

    #[test]
    fn a_look_comes_before_a_far_deadline() {
        let (timer, timeouts) = (Timer::new(), timeouts());
        let mut patience = Patience::new(&timer);
        patience.expect(None, Some((Wait::AnswerHead, false)), &timeouts, false);
        let far = patience.armed;
        patience.expect(None, Some((Wait::AnswerHead, false)), &timeouts, true);
        assert!(patience.armed < far);
        patience.expect(None, Some((Wait::AnswerHead, false)), &timeouts, false);
        assert_eq!(patience.armed, far);
    }
}
