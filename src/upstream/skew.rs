//! How unevenly an upstream's instances carry its tunnels, and how many a rebalance moves: what they carry in, numbers out.
//!
//! ```text
//! fair share    of the tunnels of all that have a share, by weight
//! most          max_skew x the fair share, rounded up
//! beyond        what it carries more than that
//! moves         of those as many as the others have room for: each up to its own `most`, and to max_tunnels
//! ```
//!
//! It cannot swing: an instance is never brought below its `most`, and all that move fit in below the `most` of others, who so
//! never come to be beyond themselves. Clients that were moved and are not back yet count as tunnels that exist, so that shares do
//! not shrink while they are away, and as room that is taken. (Where they come to is for placement to say: by the least tunnels
//! they go to where there is room, by a hash without a bound wherever it points.)
//!
//! Pure. Must not: know who takes part, or why.

#[cfg(test)]
mod tests;

/// What is assumed for `max_skew` where it is off, in hundredths: for those who want to know what it would do.
pub const ASSUMED: u32 = 125;

/// What one instance carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Open tunnels.
    pub tunnels: u32,
    /// 1 to 1000
    pub weight: u32,
    /// More that it may take (`max_tunnels`); `None` = any number.
    pub room: Option<u32>,
    /// It has a share. One that has none is not moved from, and nothing is moved to it.
    pub takes_part: bool,
}

/// What that means for one instance, in tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skewed {
    /// Its fair share, rounded; `None`: it has none.
    pub fair: Option<u32>,
    /// What it carries beyond `max_skew` times that.
    pub beyond: u32,
    /// Of those as many as have somewhere to go.
    pub moves: u32,
}

/// For each of these instances. `max_skew` in hundredths, at least 100. `away`: clients that were moved a moment ago and are
/// not back yet, as far as is known.
pub fn skewed(instances: &[Carried], max_skew: u32, away: u32) -> Vec<Skewed> {
    let have_a_share = || instances.iter().filter(|instance| instance.takes_part);
    let whole = have_a_share().map(|instance| u64::from(instance.tunnels)).sum::<u64>() + u64::from(away);
    let weights: u64 = have_a_share().map(|instance| u64::from(instance.weight.max(1))).sum();
    // Thousands of instances of a weight of a thousand with all tunnels there can be, times a skew of a hundred: below 2^80.
    let most = |instance: &Carried| {
        let share = u128::from(whole) * u128::from(instance.weight.max(1)) * u128::from(max_skew);
        u64::try_from(share.div_ceil(u128::from(weights.max(1)) * 100)).unwrap_or(u64::MAX)
    };
    let beyond = |instance: &Carried| {
        let more =
            if instance.takes_part { u64::from(instance.tunnels).saturating_sub(most(instance)) } else { 0 };
        u32::try_from(more).unwrap_or(u32::MAX)
    };
    let room = |instance: &Carried| {
        let below = most(instance).saturating_sub(instance.tunnels.into());
        instance.room.map_or(below, |room| below.min(room.into()))
    };
    let all_beyond: Vec<u32> = instances.iter().map(beyond).collect();
    let all_room = have_a_share().map(room).sum::<u64>().saturating_sub(away.into());
    let moves = parts(&all_beyond, all_room);
    let skewed = |((instance, beyond), moves): ((&Carried, _), _)| Skewed {
        fair: instance.takes_part.then(|| {
            let share = u128::from(whole) * u128::from(instance.weight.max(1));
            let (weights, half) = (u128::from(weights), u128::from(weights / 2));
            u32::try_from((share + half) / weights).unwrap_or(u32::MAX)
        }),
        beyond,
        moves,
    };
    instances.iter().zip(all_beyond).zip(moves).map(skewed).collect()
}

/// Takes `count` out of these, from each in proportion to what it has: all when there are no more.
pub fn parts(of: &[u32], count: u64) -> Vec<u32> {
    let all: u64 = of.iter().map(|one| u64::from(*one)).sum();
    let count = count.min(all);
    let mut before = 0;
    let mut seen = 0;
    // By how many have been taken up to each: so it comes to `count` exactly, and none gives more than it has.
    let part = |one: &u32| {
        seen += u64::from(*one);
        let taken =
            u64::try_from(u128::from(seen) * u128::from(count) / u128::from(all.max(1))).unwrap_or(count);
        let part = taken - before;
        before = taken;
        u32::try_from(part).unwrap_or(*one)
    };
    of.iter().map(part).collect()
}
