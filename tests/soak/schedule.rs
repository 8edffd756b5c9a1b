//! What happens when: a pure function of the seed. It keeps count of what it did to whom, so that enough instances are always well:
//! more than half, for a proxy that has nobody left to go to has nothing to show.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::dice::Dice;
use crate::file::{Ask, Bad, How, Manner, State};

/// Something that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL
    Kill(usize),
    /// Its process is started again.
    Start(usize),
    /// SIGSTOP
    Stop(usize),
    /// SIGCONT
    Continue(usize),
    State(usize, State, How),
    Remove(usize, How),
    Add(usize, How),
    Rename(usize, How),
    Weight(usize, u32, How),
    /// The file is one that cannot be used.
    Spoil(Bad, How),
    /// The file is what it should be again.
    Mend(How),
    /// A reload of what is there.
    Again,
}

/// When, after the begin, and what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Action {
    pub(crate) at: Duration,
    pub(crate) deed: Deed,
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:8.3} s  {:?}", self.at.as_secs_f64(), self.deed)
    }
}

/// Whether an instance can be taken out of the file: of the first ones the counters are compared to the end.
pub(crate) fn may_be_removed(slot: usize) -> bool {
    slot >= 4
}

/// What is done within `length` to so many instances; everything is well again before its end.
pub(crate) fn schedule(seed: u64, length: Duration, slots: usize) -> Vec<Action> {
    let mut dice = Dice::of(seed, "schedule", 0);
    let length = length.as_millis() as u64;
    let mut busy = vec![false; slots];
    let mut spoilt = false;
    // What has to follow: at which millisecond; the number keeps two of them apart.
    let mut follow: BTreeMap<(u64, usize), Deed> = BTreeMap::new();
    let mut actions = Vec::new();
    let mut now = 2_000;
    while now + 6_000 < length || !follow.is_empty() {
        while let Some(first) =
            follow.first_entry().filter(|first| first.key().0 <= now || now + 6_000 >= length)
        {
            let at = first.key().0;
            let deed = first.remove();
            match deed {
                Deed::Start(slot) | Deed::Continue(slot) | Deed::Add(slot, _) | Deed::State(slot, ..) => {
                    busy[slot] = false;
                }
                _ => spoilt = false,
            }
            actions.push(Action { at: Duration::from_millis(at), deed });
        }
        if now + 6_000 >= length {
            break;
        }
        let left = length - now - 5_000;
        // What cannot be done now is drawn again, but not for ever.
        let drawn = (0..20).find_map(|_| draw(&mut dice, &mut busy, &mut spoilt));
        if let Some((deed, then)) = drawn {
            actions.push(Action { at: Duration::from_millis(now), deed });
            if let Some((after, deed)) = then {
                follow.insert((now + after.min(left), actions.len()), deed);
            }
        }
        now += dice.within(300..=2_500);
    }
    actions.sort_by_key(|action| action.at);
    actions
}

/// What to do next, and what has to follow after how many milliseconds. `None`: what was drawn cannot be done now.
fn draw(dice: &mut Dice, busy: &mut [bool], spoilt: &mut bool) -> Option<(Deed, Option<(u64, Deed)>)> {
    let slot = dice.within(0..=busy.len() as u64 - 1) as usize;
    let kind = dice.within(0..=99);
    let (how, later) = (how(dice), how(dice));
    let (short, long) = (dice.within(200..=9_000), dice.within(1_000..=14_000));
    let deed = match kind {
        0..36 => {
            let few = busy.iter().filter(|busy| **busy).count() < (busy.len() - 1) / 2;
            if busy[slot] || !few {
                return None;
            }
            let ready = (long, Deed::State(slot, State::Ready, later));
            let (deed, then) = match kind {
                0..8 => (Deed::Kill(slot), (short, Deed::Start(slot))),
                8..16 => (Deed::Stop(slot), (short, Deed::Continue(slot))),
                16..20 => (Deed::State(slot, State::Drain, how), ready),
                20..23 => (Deed::State(slot, State::Cordon, how), ready),
                23..26 => (Deed::State(slot, State::Maintain, how), ready),
                _ if may_be_removed(slot) => (Deed::Remove(slot, how), (long, Deed::Add(slot, later))),
                _ => return None,
            };
            busy[slot] = true;
            return Some((deed, Some(then)));
        }
        36..55 => Deed::Rename(slot, how),
        55..80 => Deed::Weight(slot, dice.within(1..=5) as u32, how),
        80..92 if !*spoilt => {
            *spoilt = true;
            let bad = dice.one(&Bad::ALL);
            // What only the watcher refuses must not be asked for.
            let how = if bad == Bad::Shortened { How { ask: Ask::Watch, ..how } } else { how };
            return Some((Deed::Spoil(bad, how), Some((short, Deed::Mend(later)))));
        }
        92.. if !*spoilt => Deed::Again,
        _ => return None,
    };
    // What changes the file would mend it.
    (!*spoilt || deed == Deed::Again).then_some((deed, None))
}

fn how(dice: &mut Dice) -> How {
    How {
        manner: dice.one(&[Manner::InPlace, Manner::Rename, Manner::Pieces]),
        ask: dice.one(&[Ask::HangUp, Ask::HangUp, Ask::Watch]),
    }
}
