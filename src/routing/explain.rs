//! Why a client goes where it goes: what each key says when it is asked alone, what comes of all, and what would come of them were
//! that instance down. Nothing is decided here: it asks [`pick`] and [`consider`], as the data path does.
//!
//! Must not: know names, make sentences.

#[cfg(test)]
mod tests;

use super::pick::{By, Candidate, Choice, Client, Health, Outcome, Policy, Verdict, among, consider, pick};
use crate::config::model::{OnDown, StickyKey};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What the keys of `sticky.by` say, in their order.
    pub keys: Vec<Said>,
    /// What comes of it.
    pub result: Placed,
    /// What would come of it if that instance were down too; `None`: it goes to none.
    pub if_down: Option<Placed>,
}

/// What one key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its verdict. Those of keys behind the one that decides count for nothing.
    pub verdict: Verdict,
    /// No key before it decided.
    pub asked: bool,
    /// Of a key that hashes: the instances in the order in which the client would come to them, each when those before it are
    /// down.
    pub order: Vec<usize>,
}

/// Where a client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// As the data path has it. Where `balance` decides, its instance is one of `among` and no more than that.
    pub outcome: Outcome,
    /// The instances from which `balance` takes one, where it decides; else empty.
    pub among: Vec<usize>,
}

/// Explains one client.
pub fn explain(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate]) -> Explained {
    let mut asked = true;
    let keys = (0..policy.by.len()).map(|place| {
        let verdict = consider(policy, client, candidates, place);
        let said = Said { verdict, asked, order: order(policy, client, candidates, place) };
        asked &= matches!(verdict, Verdict::Passed(_) | Verdict::Silent(_));
        said
    });
    let keys = keys.collect();
    let result = placed(policy, client, candidates);
    let if_down = match result.outcome {
        Outcome::To(Choice { by: By::Balance, .. }) if result.among.len() > 1 => None,
        Outcome::To(Choice { instance, .. }) => {
            Some(placed(policy, client, &with_down(candidates, instance)))
        }
        Outcome::SessionGone | Outcome::Fail | Outcome::Nowhere => None,
    };
    Explained { keys, result, if_down }
}

fn placed(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate]) -> Placed {
    let outcome = pick(policy, client, candidates, |_| 0);
    let by_balance = matches!(outcome, Outcome::To(Choice { by: By::Balance, .. }));
    let among = if by_balance { among(client.need, candidates) } else { Vec::new() };
    Placed { outcome, among }
}

fn order(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate], place: usize) -> Vec<usize> {
    if matches!(policy.by[place], StickyKey::Sid | StickyKey::Cookie) {
        return Vec::new();
    }
    // Even where whoever belongs to one that is down is turned away: the order is the same.
    let policy = Policy { on_down: OnDown::Rebind, ..policy };
    let mut candidates = candidates.to_vec();
    let mut order = Vec::new();
    while let Verdict::Goes(instance) = consider(policy, client, &candidates, place) {
        order.push(instance);
        candidates[instance].health = Health::Down;
    }
    order
}

fn with_down(candidates: &[Candidate], instance: usize) -> Vec<Candidate> {
    let mut candidates = candidates.to_vec();
    candidates[instance].health = Health::Down;
    candidates
}
