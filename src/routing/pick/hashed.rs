//! Placement by an address or a value: the same instance from every proxy that sees the same instances.

use super::candidate::Eligible;
use super::{Candidate, Client, Health, Need, Policy, Silence, Verdict};
use crate::affinity::ClientKey;
use crate::affinity::ip_hash::{self, Lot};
use crate::affinity::value_hash::ValueKey;
use crate::config::model::{IpHash, OnDown};

/// By `sticky.ip_hash`.
pub(super) fn by_address(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate]) -> Verdict {
    by(policy, client.need, candidates, |eligible| match policy.ip_hash {
        IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, bound } => {
            let key = ClientKey::of(client.address, ipv4_prefix, ipv6_prefix);
            // Only who starts a session adds to a load; whoever asks for something else comes to where it was before.
            let ceiling =
                bound.filter(|_| client.need == Need::Start).map(|bound| Ceiling::of(bound, eligible));
            rendezvous(key, eligible, ceiling)
        }
        IpHash::Nginx => {
            ip_hash::nginx(client.address, &eligible.weights_in_line(), |index| eligible.has(index))
        }
    })
}

/// By the value of a header or of a parameter.
pub(super) fn by_value(policy: Policy<'_>, need: Need, value: ValueKey, candidates: &[Candidate]) -> Verdict {
    by(policy, need, candidates, |eligible| rendezvous(value, eligible, None))
}

fn by(
    policy: Policy<'_>,
    need: Need,
    candidates: &[Candidate],
    hash: impl Fn(Eligible<'_>) -> Option<usize>,
) -> Verdict {
    // Who is not to be placed anew when its instance is down must be told which instance that is.
    let as_if_up = policy.on_down == OnDown::Fail;
    let Some(eligible) = Eligible::of(candidates, need, as_if_up) else {
        return Verdict::Silent(Silence::Nobody);
    };
    match hash(eligible) {
        Some(instance) if candidates[instance].health == Health::Down => Verdict::Failed(instance),
        Some(instance) => Verdict::Goes(instance),
        None => Verdict::Silent(Silence::GaveUp),
    }
}

fn rendezvous(key: impl Lot, eligible: Eligible<'_>, ceiling: Option<Ceiling>) -> Option<usize> {
    let below = |candidate: &Candidate| {
        ceiling.is_none_or(|ceiling| ceiling.leaves_room(candidate, eligible.weight(candidate)))
    };
    let candidates = eligible.iter().filter(|(_, candidate)| below(candidate));
    ip_hash::rendezvous(
        key,
        candidates.map(|(index, candidate)| (index, candidate.hash, eligible.weight(candidate))),
    )
}

/// Bounded loads: an instance takes no more than `bound` times its fair share of what all carry together with this client, that
/// is `ceil(bound * (total load + 1) * weight / total weight)`.
///
/// As `bound` is at least 1, those capacities add up to more than the total load, so there is always one with room.
#[derive(Clone, Copy)]
struct Ceiling {
    /// `bound * (total load + 1)`, in hundredths
    allowed: u128,
    /// In hundredths too.
    total_weight: u128,
}

impl Ceiling {
    fn of(bound: u32, eligible: Eligible<'_>) -> Self {
        let (mut load, mut weight) = (0, 0);
        for (_, candidate) in eligible.iter() {
            load += u128::from(candidate.load);
            weight += u128::from(eligible.weight(candidate));
        }
        Ceiling { allowed: u128::from(bound) * (load + 1), total_weight: 100 * weight }
    }

    /// `load < ceil(allowed * weight / total weight)`, without dividing: what is whole and below a number is below the next whole
    /// one, and the other way round.
    fn leaves_room(self, candidate: &Candidate, weight: u32) -> bool {
        u128::from(candidate.load) * self.total_weight < self.allowed * u128::from(weight)
    }
}
