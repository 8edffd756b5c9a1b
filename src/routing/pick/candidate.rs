//! What may go to an instance, and which instances a client may be placed at.

use super::{Need, Passed};
use crate::affinity::ip_hash::InstanceHash;
use crate::config::model::InstanceState;

/// One instance as placement sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its identity for rendezvous hashing.
    pub hash: InstanceHash,
    /// 1 to 1000
    pub weight: u32,
    /// Hundredths of its weight that count, 1 to 100: fewer than all in a slow start.
    pub share: u8,
    /// Takes clients only when no other can.
    pub backup: bool,
    /// What the administrator wants of it.
    pub state: InstanceState,
    /// What is known of its health.
    pub health: Health,
    /// It holds as many tunnels as it may (`max_tunnels`).
    pub full: bool,
    /// What it carries: tunnels, live sessions, handshakes in flight. Looked at only where [`super::Policy::looks_at_loads`].
    pub load: u64,
    /// This client was moved away from it and must not return yet.
    pub away: bool,
}

/// [`Candidate::share`] outside a slow start.
const WHOLE: u8 = 100;

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// Its checks fail while what runs there still speaks: no new clients, nothing ends.
    Degraded,
    /// The same, and it does not answer: whoever starts a session goes elsewhere, also if it is bound.
    Silent,
    /// It does not answer, or was tried in vain for this exchange.
    Down,
}

/// What an instance lets in; each lets in what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// Nothing.
    Nothing,
    /// What it already holds: known sessions, plain requests of clients that are bound to it.
    Held,
    /// Session starts of clients that are bound to it.
    Bound,
    /// New clients.
    New,
}

impl Candidate {
    /// One that is up, ready, and carries nothing.
    pub fn ready(hash: InstanceHash, weight: u32) -> Self {
        Candidate {
            hash,
            weight,
            share: WHOLE,
            backup: false,
            state: InstanceState::Ready,
            health: Health::Up,
            full: false,
            load: 0,
            away: false,
        }
    }

    /// What it lets in of requests of this kind.
    pub fn opening(&self, need: Need) -> Opening {
        if self.health == Health::Down { Opening::Nothing } else { self.opening_if_up(need) }
    }

    /// What it would let in were it not down.
    fn opening_if_up(&self, need: Need) -> Opening {
        match self.state {
            InstanceState::Maintain => Opening::Nothing,
            InstanceState::Drain => Opening::Held,
            // Who comes without starting a session opens no tunnel.
            _ if self.full && need == Need::Start => Opening::Held,
            _ if self.health == Health::Silent && need == Need::Start => Opening::Held,
            InstanceState::Cordon => Opening::Bound,
            InstanceState::Ready if matches!(self.health, Health::Degraded | Health::Silent) => {
                Opening::Bound
            }
            InstanceState::Ready => Opening::New,
        }
    }

    /// Why a client that is bound to it may not go there; `None`: it may.
    pub(super) fn refuses_bound(&self, need: Need) -> Option<Passed> {
        let needed = if need == Need::Start { Opening::Bound } else { Opening::Held };
        if self.opening(need) >= needed {
            return (need == Need::Start && self.away).then_some(Passed::Moved);
        }
        Some(match (self.state, self.health) {
            (InstanceState::Maintain, _) => Passed::Maintenance,
            (_, Health::Down) => Passed::Down,
            (InstanceState::Drain, _) => Passed::Drain,
            (_, Health::Silent) if !self.full => Passed::Down,
            _ => Passed::Full,
        })
    }
}

/// The instances among which a client is placed by a hash or by `balance`.
#[derive(Clone, Copy)]
pub(super) struct Eligible<'c> {
    candidates: &'c [Candidate],
    need: Need,
    as_if_up: bool,
    rank: Rank,
    /// One of them is in its slow start: all weigh in hundredths.
    warming: bool,
}

/// The lowest that there is takes all: those that are closed to new clients, and those that the client was moved away from, only
/// when there is no other, `backup` only when there is no other of those.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    held: bool,
    away: bool,
    backup: bool,
}

impl<'c> Eligible<'c> {
    /// `None`: nobody. `as_if_up`: also those that would be eligible were they not down.
    pub(super) fn of(candidates: &'c [Candidate], need: Need, as_if_up: bool) -> Option<Self> {
        let lowest = Rank { held: false, away: false, backup: false };
        let all = Eligible { candidates, need, as_if_up, rank: lowest, warming: false };
        let rank = candidates.iter().filter_map(|candidate| all.rank_of(candidate)).min()?;
        let eligible = Eligible { rank, ..all };
        let warming = eligible.iter().any(|(_, candidate)| candidate.share != WHOLE);
        Some(Eligible { warming, ..eligible })
    }

    /// What one of them weighs among the others, slow start included. Only the proportions mean something.
    pub(super) fn weight(self, candidate: &Candidate) -> u32 {
        let weight = candidate.weight.max(1);
        if self.warming { weight.saturating_mul(candidate.share.clamp(1, WHOLE).into()) } else { weight }
    }

    /// Each with its index in the whole list.
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, &'c Candidate)> + Clone {
        self.candidates
            .iter()
            .enumerate()
            .filter(move |(_, candidate)| self.rank_of(candidate) == Some(self.rank))
    }

    /// Whether the instance at `index` is one of them.
    pub(super) fn has(self, index: usize) -> bool {
        self.rank_of(self.candidate(index)) == Some(self.rank)
    }

    /// The instance at `index`.
    pub(super) fn candidate(self, index: usize) -> &'c Candidate {
        &self.candidates[index]
    }

    /// The weights of all that are `backup` as those here are, eligible or not, in the order of the file; of others 0. A slow
    /// start does not count: by nginx's mapping it would move everybody.
    pub(super) fn weights_in_line(self) -> impl Iterator<Item = u32> + Clone {
        let weight = move |candidate: &Candidate| {
            if candidate.backup == self.rank.backup { candidate.weight.max(1) } else { 0 }
        };
        self.candidates.iter().map(weight)
    }

    /// `None`: it may not be chosen in any case.
    fn rank_of(self, candidate: &Candidate) -> Option<Rank> {
        let opening =
            if self.as_if_up { candidate.opening_if_up(self.need) } else { candidate.opening(self.need) };
        let (least, away) = match self.need {
            // One that nobody here knows may have begun through another proxy, which placed it as it is placed here. One that
            // began before its instance was closed to new clients is not found so, and moves once.
            Need::Session(_) => (Opening::Held, false),
            Need::Start | Need::Plain => (Opening::New, candidate.away),
        };
        (opening >= least).then_some(Rank { held: opening < Opening::New, away, backup: candidate.backup })
    }
}
