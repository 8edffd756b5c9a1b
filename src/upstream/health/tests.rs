mod properties;

use super::*;

/// The defaults, in milliseconds.
fn rules() -> model::Health {
    let ms = Duration::from_millis;
    model::Health {
        check: model::Check::Tcp,
        interval: ms(1000),
        fast_interval: ms(500),
        timeout: ms(1000),
        rise: 2,
        fall: 3,
        slow_start: ms(10_000),
        panic_below: 50,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What an instance does with a check.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers well after so many milliseconds.
    Pass(u64),
    /// Answers after so many milliseconds with an error.
    Fail(u64),
    Refuse,
    Hang,
    /// Says nothing to a check, and something to its tunnels.
    Busy,
}
use Does::{Busy, Fail, Hang, Pass, Refuse};

/// An instance that does what `script` says from the moment that stands before it, and its health.
struct Play {
    health: Health,
    script: Vec<(u64, Does)>,
    /// What will be heard: when, of which check.
    coming: Vec<(Duration, u64, Event)>,
    /// When checks began.
    begun: Vec<u64>,
    changes: Vec<(u64, State, String)>,
}

impl Play {
    fn new(rules: &model::Health, script: &[(u64, Does)]) -> Self {
        Play {
            health: Health::new(rules, Duration::ZERO),
            script: script.to_vec(),
            coming: vec![],
            begun: vec![],
            changes: vec![],
        }
    }

    /// Plays up to `end` milliseconds; suspicions at these moments.
    fn run(mut self, end: u64, suspicions: &[u64]) -> Self {
        let mut suspicions = suspicions.iter().map(|at| ms(*at)).peekable();
        loop {
            self.coming.sort_by_key(|(at, ..)| *at);
            let heard = self.coming.first().map_or(Duration::MAX, |(at, ..)| *at);
            let suspected = suspicions.peek().copied().unwrap_or(Duration::MAX);
            let next = heard.min(suspected).min(self.health.due());
            if next > ms(end) {
                return self;
            }
            if heard == next {
                let (at, check, event) = self.coming.remove(0);
                let change = self.health.hear(check, event, at);
                self.changes.extend(change.map(|change| (millis(at), change.to, change.evidence)));
            } else if suspected == next {
                suspicions.next();
                self.health.suspect(next);
            } else {
                self.check(next);
            }
        }
    }

    /// A check begins: what is heard of it is known, as the script is.
    fn check(&mut self, now: Duration) {
        // In the middle: no jitter.
        let check = self.health.begin(now, 1 << 63);
        self.begun.push(millis(now));
        let does = self.script.iter().rfind(|(from, _)| ms(*from) <= now).unwrap().1;
        let (after, event) = match does {
            Pass(after) => (ms(after), Event::Passed),
            Fail(after) => (ms(after), Event::Unfit("answered 500".to_owned())),
            Refuse => (ms(1), Event::Lost("connection refused".to_owned())),
            Hang | Busy => (Duration::MAX, Event::Void),
        };
        let timeout = self.health.rules.timeout;
        if after < timeout {
            self.coming.push((now + after, check, event));
            return;
        }
        let silence = if matches!(does, Busy) { Event::Busy } else { Event::Late };
        self.coming.push((now + timeout, check, silence));
        if after < 5 * timeout {
            self.coming.push((now + after, check, Event::Answered(after)));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// Plays `script` for 20 s by the defaults.
fn check(script: &[(u64, Does)], expected: &[(u64, State, &str)]) {
    let play = Play::new(&rules(), script).run(20_000, &[]);
    let changes: Vec<_> =
        play.changes.iter().map(|(at, state, evidence)| (*at, *state, evidence.as_str())).collect();
    assert_eq!(changes, expected, "{script:?}");
}

const UP: (u64, State, &str) = (2, State::Up, "the first check passed");

#[test]
fn what_becomes_of_an_instance() {
    use State::{Degraded, Down, Up};
    check(&[(0, Pass(2))], &[UP]);
    check(&[(0, Refuse)], &[(1, Down, "the first check failed: connection refused")]);
    check(&[(0, Hang)], &[(1000, Down, "the first check failed: no answer within 1s")]);
    check(&[(0, Fail(5))], &[(5, Degraded, "the first check failed: answered 500")]);
    // Killed just after a check: noticed after 1 s, decided after 2.
    check(&[(0, Pass(2)), (10, Refuse)], &[UP, (2001, Down, "3 checks failed: connection refused")]);
    // Stopped just after a check, and just before one: down in 2.5 to 3.5 s.
    check(&[(0, Pass(2)), (10, Hang)], &[UP, (3500, Down, "3 checks failed: no answer within 1s")]);
    check(&[(0, Pass(2)), (2000, Hang)], &[UP, (4500, Down, "3 checks failed: no answer within 1s")]);
    check(&[(0, Pass(2)), (10, Fail(2))], &[UP, (2002, Degraded, "3 checks failed: answered 500")]);
    // Slow: alive, however slow.
    check(&[(0, Pass(2)), (10, Pass(1200))], &[UP, (3500, Degraded, "3 checks failed: answered after 1.2s")]);
    check(
        &[(0, Pass(2)), (10, Pass(3300))],
        &[
            UP,
            (3500, Down, "3 checks failed: no answer within 1s"),
            (4300, Degraded, "it answers again, but after 3.3s"),
        ],
    );
    // Too busy to answer: alive for as long as its tunnels speak.
    check(
        &[(0, Pass(2)), (10, Busy), (8000, Pass(2))],
        &[
            UP,
            (3500, Degraded, "3 checks failed: no answer within 1s, though its tunnels speak"),
            (9002, Up, "2 checks passed"),
        ],
    );
    check(
        &[(0, Pass(2)), (10, Busy), (6000, Hang), (12_000, Busy)],
        &[
            UP,
            (3500, Degraded, "3 checks failed: no answer within 1s, though its tunnels speak"),
            (9000, Down, "3 checks failed: no answer within 1s"),
            (13_000, Degraded, "no answer within 1s, though its tunnels speak"),
        ],
    );
    // One lost answer, or two, is weather.
    check(&[(0, Pass(2)), (900, Refuse), (1900, Pass(2))], &[UP]);
    check(&[(0, Pass(2)), (900, Hang), (2900, Pass(2))], &[UP]);
    // It fails now so, now so: it lives.
    check(
        &[(0, Pass(2)), (900, Refuse), (1400, Fail(1)), (1900, Refuse), (2400, Fail(1)), (2900, Refuse)],
        &[
            UP,
            (2001, Degraded, "3 checks failed: connection refused"),
            (4001, Down, "3 checks failed: connection refused"),
        ],
    );
    // It comes back.
    let died = [UP, (2001, Down, "3 checks failed: connection refused")];
    check(
        &[(0, Pass(2)), (10, Refuse), (5000, Pass(2))],
        &[&died[..], &[(6002, Up, "2 checks passed")]].concat(),
    );
    check(
        &[(0, Pass(2)), (10, Refuse), (5000, Fail(2)), (7000, Pass(2))],
        &[
            &died[..],
            &[(5502, Degraded, "it answers again, but: answered 500"), (8002, Up, "2 checks passed")],
        ]
        .concat(),
    );
    // Of one that was never seen up two checks are asked for as well: it may be starting.
    check(
        &[(0, Refuse), (1500, Pass(2))],
        &[(1, Down, "the first check failed: connection refused"), (2502, Up, "2 checks passed")],
    );
}

#[test]
fn how_fast_checks_follow() {
    let check = |script: &[(u64, Does)], suspicions: &[u64], expected: &[u64]| {
        let play = Play::new(&rules(), script).run(5500, suspicions);
        assert_eq!(play.begun, expected, "{script:?} {suspicions:?}");
    };
    check(&[(0, Pass(2))], &[], &[0, 1000, 2000, 3000, 4000, 5000]);
    check(&[(0, Pass(2)), (900, Refuse)], &[], &[0, 1000, 1500, 2000, 2500, 3500, 4500, 5500]);
    check(&[(0, Pass(2)), (900, Hang)], &[], &[0, 1000, 2000, 2500, 3000, 3500, 4500, 5500]);
    // A suspicion: a check at once.
    check(&[(0, Pass(2))], &[1700], &[0, 1000, 1700, 2700, 3700, 4700]);
    // A flood of them: no more checks than when one fails.
    let flood: Vec<u64> = (1..5500).collect();
    check(&[(0, Pass(2))], &flood, &[0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 5500]);
}

#[test]
fn a_silence_that_is_older_than_an_answer_says_nothing() {
    let mut health = Health::new(&rules(), Duration::ZERO);
    let first = health.begin(ms(0), 0);
    health.hear(first, Event::Passed, ms(1));
    let hung = health.begin(ms(1000), 0);
    let answered = health.begin(ms(1500), 0);
    health.hear(answered, Event::Passed, ms(1501));
    health.hear(hung, Event::Late, ms(2000));
    assert_eq!((health.failures, health.losses), (0, 0));
    // What cannot be made says nothing at all.
    let void = health.begin(ms(2500), 0);
    health.hear(void, Event::Void, ms(2501));
    assert_eq!((health.state(), health.failures, health.passes), (State::Up, 0, 2));
}

#[test]
fn the_share_grows_once_it_is_back() {
    let mut play = Play::new(&rules(), &[(0, Pass(0)), (900, Refuse), (2900, Pass(0))]);
    let check = |play: &Play, at: u64, share: u8, wake: u64| {
        assert_eq!((play.health.share(ms(at)), play.health.wake(ms(at))), (share, ms(wake)), "at {at}");
    };
    play = play.run(500, &[]);
    check(&play, 500, 100, 1000);
    play = play.run(2500, &[]);
    // Down: nobody asks.
    check(&play, 2500, 100, 3500);
    play = play.run(4000, &[]);
    assert_eq!(play.changes.last().unwrap().0, 4000);
    let back = |after: u64| play.health.share(ms(4000 + after));
    assert_eq!([0, 111, 112, 1000, 5000, 9999, 10_000, 60_000].map(back), [10, 10, 11, 19, 55, 99, 100, 100]);
    // The next step of the share, then the next check.
    assert_eq!(millis(play.health.wake(ms(4000))), 4333);
    check(&play, 4400, 13, 4500);

    let at_once = model::Health { slow_start: Duration::ZERO, ..rules() };
    let play = Play::new(&at_once, &[(0, Pass(0)), (900, Refuse), (2900, Pass(0))]).run(4000, &[]);
    assert_eq!(play.changes.last().unwrap().1, State::Up);
    check(&play, 4000, 100, 4500);
}

/// Slow is not silent: whoever is answered late is answered.
#[test]
fn who_says_nothing_is_silent_until_it_says_something() {
    let mut health = Health::new(&rules(), Duration::ZERO);
    let mut check = |event: Event, state, silent| {
        let number = health.begin(Duration::ZERO, 0);
        health.hear(number, event.clone(), Duration::ZERO);
        assert_eq!((health.state(), health.is_silent()), (state, silent), "{event:?}");
    };
    let unfit = || Event::Unfit("answered 500".to_owned());
    check(Event::Passed, State::Up, false);
    check(unfit(), State::Up, false);
    check(unfit(), State::Up, false);
    check(Event::Busy, State::Degraded, false);
    check(Event::Busy, State::Degraded, false);
    check(Event::Answered(ms(1200)), State::Degraded, false);
    // The regression: one that was degraded before was never found silent.
    check(Event::Busy, State::Degraded, false);
    check(Event::Void, State::Degraded, false);
    check(Event::Busy, State::Degraded, false);
    check(Event::Busy, State::Degraded, true);
    check(Event::Lost("reset".to_owned()), State::Degraded, true);
    check(unfit(), State::Degraded, false);
}

#[test]
fn the_jitter_is_a_tenth() {
    let check =
        |random: u64, expected: u64| assert_eq!(jittered(ms(1000), random).as_millis(), u128::from(expected));
    check(0, 950);
    check(1 << 63, 1000);
    check(u64::MAX, 1049);
}

#[test]
fn whether_checks_are_believed() {
    // Of each line how many pass, of how many.
    let check = |(passing, primaries): (usize, usize), (ready, backups): (usize, usize), below, expected| {
        let line = |backup, passing, all| (0..all).map(move |n| Standing { backup, passes: n < passing });
        let instances = line(false, passing, primaries).chain(line(true, ready, backups));
        assert_eq!(
            are_believed(instances, below),
            expected,
            "{passing}/{primaries} and {ready}/{backups} backups, below {below}%"
        );
    };
    check((2, 2), (0, 0), 50, true);
    check((1, 2), (0, 0), 50, true);
    check((0, 2), (0, 0), 50, false);
    check((0, 1), (0, 0), 50, false);
    check((1, 3), (0, 0), 50, false);
    check((2, 3), (0, 0), 50, true);
    check((1, 3), (0, 0), 33, true);
    check((1, 3), (0, 0), 34, false);
    check((0, 3), (0, 0), 0, true);
    check((2, 3), (0, 0), 100, false);
    check((3, 3), (0, 0), 100, true);
    // That is what the backup is for.
    check((0, 2), (1, 1), 50, true);
    check((0, 2), (0, 1), 50, false);
    check((2, 2), (0, 1), 50, true);
    check((0, 0), (0, 1), 50, false);
    check((0, 0), (1, 1), 50, true);
    // All others are in maintenance.
    check((0, 0), (0, 0), 50, true);
}
