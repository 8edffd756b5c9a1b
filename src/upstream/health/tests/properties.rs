//! What holds whatever checks come to, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// A check begins, if one is due.
    Begin(u64),
    /// Of one of the checks that are on their way something is heard.
    Hear(usize, Event),
    Suspect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Passed),
        2 => Just(Event::Unfit("answered 500".to_owned())),
        2 => Just(Event::Lost("connection refused".to_owned())),
        2 => Just(Event::Late),
        1 => Just(Event::Busy),
        1 => (1000..5000_u64).prop_map(|after| Event::Answered(ms(after))),
        1 => Just(Event::Void),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..700_u64).prop_map(Step::Wait),
        any::<u64>().prop_map(Step::Begin),
        (any::<usize>(), event()).prop_map(|(which, event)| Step::Hear(which, event)),
        Just(Step::Suspect),
    ]
}

/// What the rules say in the fewest words: failures in a row, and those among them behind the last answer.
#[derive(Default)]
struct Reference {
    failures: u32,
    losses: u32,
    passes: u32,
}

impl Reference {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Passed => *self = Reference { passes: self.passes + 1, ..Reference::default() },
            Event::Unfit(_) | Event::Busy => {
                *self = Reference { failures: self.failures + 1, ..Reference::default() }
            }
            Event::Lost(_) | Event::Late => {
                *self = Reference { failures: self.failures + 1, losses: self.losses + 1, passes: 0 };
            }
            Event::Answered(_) => self.losses = 0,
            Event::Void => {}
        }
    }
}

proptest! {
    #[test]
    fn no_state_changes_without_what_the_rules_ask_for(
        steps in prop::collection::vec(step(), 1..200),
        rise in 1..4_u32,
        fall in 1..5_u32,
    ) {
        let rules = model::Health { rise, fall, ..rules() };
        let mut health = Health::new(&rules, Duration::ZERO);
        let mut reference = Reference::default();
        let (mut now, mut last, mut on_their_way) = (Duration::ZERO, None, vec![]);
        for step in steps {
            let before = health.state();
            match step {
                Step::Wait(wait) => now += ms(wait),
                Step::Begin(random) if health.due() <= now => {
                    let fastest = last.is_none_or(|last| now >= last + rules.fast_interval);
                    prop_assert!(fastest, "checks follow each other too fast");
                    last = Some(now);
                    on_their_way.push(health.begin(now, random));
                    prop_assert!(health.due() <= now + rules.interval + rules.interval / 20);
                }
                Step::Suspect => {
                    health.suspect(now);
                    prop_assert_eq!(health.state(), before);
                }
                Step::Hear(which, event) if !on_their_way.is_empty() => {
                    let check = on_their_way[which % on_their_way.len()];
                    if !matches!(event, Event::Late | Event::Busy) || check >= health.answered {
                        reference.hear(&event);
                    }
                    let change = health.hear(check, event.clone(), now);
                    prop_assert_eq!(change.is_some(), health.state() != before);
                    let first = before == State::Unknown;
                    match (before, health.state()) {
                        (before, after) if before == after => {}
                        (_, State::Up) => prop_assert!(first || reference.passes >= rise),
                        (State::Down, State::Degraded) => prop_assert_eq!(reference.losses, 0),
                        (_, State::Degraded) => prop_assert!(first || reference.failures >= fall),
                        (_, State::Down) => prop_assert!(first || reference.losses >= fall),
                        (_, State::Unknown) => prop_assert!(false, "what is known is not forgotten"),
                    }
                    // And the other way round: what the rules ask for has its effect.
                    let is = health.state();
                    prop_assert!(reference.losses < fall || is != State::Up);
                    prop_assert!(reference.failures < fall || is != State::Up);
                    prop_assert!(reference.passes < rise || is == State::Up || is == State::Unknown);
                }
                Step::Begin(_) | Step::Hear(..) => {}
            }
            let share = health.share(now);
            prop_assert!((LEAST..=WHOLE).contains(&share));
            prop_assert!(health.wake(now) <= health.due());
        }
    }
}
