//! An instance's health: what its checks come to goes in, its state comes out, and when the next check is due.
//!
//! ```text
//!              first check passes, `rise` in a row later
//! Unknown ------------------------------------------------> Up
//!    |  answers, but not as it should, or late, or its tunnels speak: `fall` in a row
//!    |-----------------------------------------------------> Degraded   no new clients, nothing ends
//!    |  cannot be reached, or says nothing: `fall` in a row
//!    '-----------------------------------------------------> Down       nothing new, bindings are re-made
//! ```
//!
//! The first check decides alone: there is nothing yet that a wrong word could take away, and a client that is sent to an
//! instance that was never seen up only waits. One answer of any kind makes Down Degraded: a process that speaks is not dead.
//!
//! What clients see of an instance ([`Health::suspect`]) makes for a check at once and nothing else, and for no more checks
//! than a failing one would: nobody can take an instance out, or have it flooded, by odd requests.
//!
//! Pure: time is an argument, as the duration since the clock began. Must not: know how a check is made.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::config::model;

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not checked, or not yet: as good as up.
    Unknown,
    /// Its checks pass.
    Up,
    /// It answers, but not as it should, or late.
    Degraded,
    /// It cannot be reached, or says nothing.
    Down,
}

/// What is heard of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer is good and came in time.
    Passed,
    /// An answer came in time, and is not good: why, for people.
    Unfit(String),
    /// No connection, or none that lived until an answer: why, for people.
    Lost(String),
    /// There was no answer in time, nor anything else of it; the check still waits for one.
    Late,
    /// The same, but its tunnels spoke meanwhile: it is busy, not dead.
    Busy,
    /// An answer of any kind came after [`Event::Late`], so long after the check began.
    Answered(Duration),
    /// The check could not be made, which says nothing of the instance.
    Void,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why, for people: "3 checks failed: connection refused".
    pub evidence: String,
    /// When the first check of those that failed last began.
    pub since: Duration,
    /// It has not answered in time: whoever waits for it now may wait for long.
    pub late: bool,
}

/// What is known of one instance.
#[derive(Clone, Debug)]
pub struct Health {
    rules: model::Health,
    state: State,
    /// Checks that passed, since the last that failed.
    passes: u32,
    /// Checks that failed, since the last that passed.
    failures: u32,
    /// Those of them without an answer, since the last answer.
    losses: u32,
    /// When the first of the failures began.
    failing_since: Duration,
    /// Checks that have waited for an answer in vain, since the last answer.
    unanswered: u32,
    /// The last answer that was late, since the last check that passed.
    slow: Option<Duration>,
    /// Checks that began.
    checks: u64,
    /// The latest of them that was answered.
    answered: u64,
    began: Option<Duration>,
    due: Duration,
    /// When it came back.
    back: Option<Duration>,
    /// Its first pass is a return, not a start of the proxy.
    returns: bool,
}

/// The share of an instance that is not in its slow start, in hundredths.
pub const WHOLE: u8 = 100;
/// The share at the begin of a slow start.
const LEAST: u8 = 10;
/// Steps in which the share grows, at most one in every [`STEP_MIN`].
const STEPS: u32 = 30;
const STEP_MIN: Duration = Duration::from_millis(100);

impl Health {
    /// Of an instance that nothing is known of: its first check is due now.
    pub fn new(rules: &model::Health, now: Duration) -> Self {
        Health {
            rules: rules.clone(),
            state: State::Unknown,
            passes: 0,
            failures: 0,
            losses: 0,
            failing_since: now,
            unanswered: 0,
            slow: None,
            checks: 0,
            answered: 0,
            began: None,
            due: now,
            back: None,
            returns: false,
        }
    }

    /// Of one whose state another process has found: what that believed goes on, and the first check is due now. `share`: how far it
    /// was in its slow start, in hundredths.
    pub fn of_one_that_is_known(rules: &model::Health, now: Duration, state: State, share: u8) -> Self {
        let grown = u32::from(share.clamp(LEAST, WHOLE) - LEAST);
        let warming = (state == State::Up && share < WHOLE)
            .then(|| now.saturating_sub(rules.slow_start * grown / u32::from(WHOLE - LEAST)));
        Health { state, back: warming, ..Self::new(rules, now) }
    }

    /// Of an instance that is used again: what was known of it is no longer true, for it has been replaced. Its first check decides
    /// alone, and it has a slow start.
    pub fn of_one_that_returns(rules: &model::Health, now: Duration) -> Self {
        Health { returns: true, ..Self::new(rules, now) }
    }

    /// Goes on by these rules; checks that run are forgotten, and the next is due soon.
    pub fn follows(&mut self, rules: &model::Health, now: Duration) {
        self.rules = rules.clone();
        self.due = self.due.min(self.soonest(now));
    }

    /// What it is now.
    pub fn state(&self) -> State {
        self.state
    }

    /// It lives, as its tunnels say, or it has answered wrongly before, and has left `fall` checks in a row without an answer: whoever waits
    /// for it now may wait for long.
    pub fn is_silent(&self) -> bool {
        self.state == State::Degraded && self.unanswered >= self.rules.fall
    }

    /// When the next check is to begin.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A check begins; its number. `random`: for the jitter.
    pub fn begin(&mut self, now: Duration, random: u64) -> u64 {
        self.checks += 1;
        self.began = Some(now);
        // Of the first it is soon heard, one way or the other.
        let soon = self.is_undecided() && self.state != State::Unknown;
        self.due = now + if soon { self.fast() } else { jittered(self.rules.interval, random) };
        self.checks
    }

    /// Something is heard of the check of this number.
    pub fn hear(&mut self, check: u64, event: Event, now: Duration) -> Option<Change> {
        if self.failures == 0 {
            // Should this one be the first.
            let waited =
                if matches!(event, Event::Late | Event::Busy) { self.rules.timeout } else { Duration::ZERO };
            self.failing_since = now.saturating_sub(waited);
        }
        let late = matches!(event, Event::Late | Event::Busy);
        self.unanswered = match event {
            Event::Late | Event::Busy if check >= self.answered => self.unanswered.saturating_add(1),
            Event::Void | Event::Lost(_) | Event::Late | Event::Busy => self.unanswered,
            Event::Passed | Event::Unfit(_) | Event::Answered(_) => 0,
        };
        let change = match event {
            Event::Void => None,
            Event::Passed => self.passed(check, now),
            Event::Unfit(what) => self.unfit(check, &what),
            Event::Lost(what) => self.lost(&what),
            // One that began later has been answered meanwhile: this silence is old.
            Event::Late | Event::Busy if check < self.answered => None,
            Event::Late => self.lost(&format!("no answer within {:?}", self.rules.timeout)),
            Event::Busy => self.busy(),
            Event::Answered(after) => self.answered_late(check, after),
        };
        if self.is_undecided() {
            self.due = self.due.min(self.soonest(now));
        }
        change.map(|change| Change { late, ..change })
    }

    /// Something was seen of it that a check should look into.
    pub fn suspect(&mut self, now: Duration) {
        self.due = self.due.min(self.soonest(now));
    }

    /// Its share of new clients in hundredths, 10 to 100: it grows over `slow_start` once it is back.
    pub fn share(&self, now: Duration) -> u8 {
        let Some(elapsed) = self.warming(now) else { return WHOLE };
        let grown =
            u128::from(WHOLE - LEAST) * elapsed.as_millis() / self.rules.slow_start.as_millis().max(1);
        LEAST + u8::try_from(grown).unwrap_or(WHOLE - LEAST)
    }

    /// When to look again, for a check or because its share has grown.
    pub fn wake(&self, now: Duration) -> Duration {
        let step = (self.rules.slow_start / STEPS).max(STEP_MIN);
        if self.warming(now).is_some() { self.due.min(now + step) } else { self.due }
    }

    /// How long it has been back, until its slow start is over.
    fn warming(&self, now: Duration) -> Option<Duration> {
        let elapsed = now.saturating_sub(self.back.filter(|_| self.state == State::Up)?);
        (elapsed < self.rules.slow_start).then_some(elapsed)
    }

    fn passed(&mut self, check: u64, now: Duration) -> Option<Change> {
        self.answered = self.answered.max(check);
        (self.failures, self.losses, self.slow) = (0, 0, None);
        self.passes = self.passes.saturating_add(1);
        match self.state {
            State::Up => None,
            State::Unknown => {
                self.back = self.returns.then_some(now);
                self.become_of(State::Up, "the first check passed".to_owned())
            }
            State::Degraded | State::Down if self.passes < self.rules.rise => None,
            State::Degraded | State::Down => {
                self.back = Some(now);
                self.become_of(State::Up, format!("{} passed", checks(self.passes)))
            }
        }
    }

    fn unfit(&mut self, check: u64, what: &str) -> Option<Change> {
        self.answered = self.answered.max(check);
        self.losses = 0;
        self.failed();
        match self.state {
            State::Down => self.become_of(State::Degraded, format!("it answers again, but: {what}")),
            State::Unknown => self.become_of(State::Degraded, self.say(self.failures, what)),
            State::Up if self.failures >= self.rules.fall => {
                self.become_of(State::Degraded, self.say(self.failures, what))
            }
            State::Up | State::Degraded => None,
        }
    }

    fn lost(&mut self, what: &str) -> Option<Change> {
        self.losses = self.losses.saturating_add(1);
        self.failed();
        match self.state {
            State::Down => None,
            State::Unknown => self.become_of(State::Down, self.say(self.losses, what)),
            _ if self.losses >= self.rules.fall => self.become_of(State::Down, self.say(self.losses, what)),
            // They failed in different ways, or were answered late: it lives.
            State::Up if self.failures >= self.rules.fall => {
                let slow = self.slow.map(|after| format!("answered after {after:?}"));
                self.become_of(State::Degraded, self.say(self.failures, slow.as_deref().unwrap_or(what)))
            }
            State::Up | State::Degraded => None,
        }
    }

    /// As one that answers late, however long its answer takes.
    fn busy(&mut self) -> Option<Change> {
        let what = format!("no answer within {:?}, though its tunnels speak", self.rules.timeout);
        self.losses = 0;
        self.failed();
        match self.state {
            State::Down => self.become_of(State::Degraded, what),
            State::Unknown => self.become_of(State::Degraded, self.say(self.failures, &what)),
            State::Up if self.failures >= self.rules.fall => {
                self.become_of(State::Degraded, self.say(self.failures, &what))
            }
            State::Up | State::Degraded => None,
        }
    }

    /// It is counted as failed already: it shows that the instance lives, no more.
    fn answered_late(&mut self, check: u64, after: Duration) -> Option<Change> {
        self.answered = self.answered.max(check);
        self.losses = 0;
        // To the millisecond.
        let after = Duration::from_millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self.slow = Some(after);
        (self.state == State::Down)
            .then(|| self.become_of(State::Degraded, format!("it answers again, but after {after:?}")))
            .flatten()
    }

    fn failed(&mut self) {
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
    }

    /// "3 checks failed: connection refused"
    fn say(&self, failed: u32, what: &str) -> String {
        match self.state {
            State::Unknown => format!("the first check failed: {what}"),
            _ => format!("{} failed: {what}", checks(failed)),
        }
    }

    fn become_of(&mut self, to: State, evidence: String) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then_some(Change { from, to, evidence, since: self.failing_since, late: false })
    }

    /// What was heard points to another state than the present one.
    fn is_undecided(&self) -> bool {
        match self.state {
            State::Unknown => true,
            State::Up => self.failures > 0,
            State::Degraded => self.passes > 0 || self.losses > 0,
            State::Down => self.passes > 0,
        }
    }

    /// The earliest that a check may begin.
    fn soonest(&self, now: Duration) -> Duration {
        self.began.map_or(now, |began| now.max(began + self.fast()))
    }

    fn fast(&self) -> Duration {
        self.rules.fast_interval.min(self.rules.interval)
    }
}

/// `interval`, longer or shorter by up to a twentieth, so that what began together does not stay together.
fn jittered(interval: Duration, random: u64) -> Duration {
    let tenth = u64::try_from(interval.as_nanos() / 10).unwrap_or(u64::MAX);
    let (_, part) = tenth.carrying_mul(random, 0);
    interval.saturating_sub(Duration::from_nanos(tenth / 2)) + Duration::from_nanos(part)
}

fn checks(count: u32) -> String {
    if count == 1 { "1 check".to_owned() } else { format!("{count} checks") }
}

/// How far the checks of an upstream are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// Whatever they say.
    pub checks: bool,
    /// That an instance is down.
    pub down: bool,
}

impl Belief {
    /// As what an instance is treated whose checks say `state`, when somebody is placed.
    pub fn of(self, state: State) -> State {
        match state {
            State::Down if self.down => State::Down,
            State::Degraded if self.checks => State::Degraded,
            _ => State::Up,
        }
    }
}

/// An instance among those of its upstream, as far as [`are_believed`] looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// `backup`
    pub backup: bool,
    /// Its checks pass, or it is not checked.
    pub passes: bool,
}

/// Whether the checks of an upstream are believed: at least `panic_below` hundredths of `instances`, those that may take
/// clients, pass. Otherwise it is more likely that the checks are wrong, and if they are right there is little to lose.
///
/// Backups are counted apart, and enough of either will do: a backup is there for the day when all others are down.
pub fn are_believed(instances: impl Iterator<Item = Standing>, panic_below: u8) -> bool {
    let (mut passing, mut all) = ([0_usize; 2], [0_usize; 2]);
    for Standing { backup, passes } in instances {
        all[usize::from(backup)] += 1;
        passing[usize::from(backup)] += usize::from(passes);
    }
    let enough = |line: usize| all[line] > 0 && passing[line] * 100 >= all[line] * usize::from(panic_below);
    all == [0, 0] || enough(0) || enough(1)
}
