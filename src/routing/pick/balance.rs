//! Placement of a client that no key places.
//!
//! The eligible candidates stand in a line, each as many times in a row as it weighs: a position on that line is an instance.

use super::candidate::Eligible;
use crate::config::model::Balance;

/// `number`: the turn of `round_robin`, otherwise random.
pub(super) fn choose(balance: Balance, eligible: Eligible<'_>, number: u64) -> Option<usize> {
    match balance {
        Balance::LeastTunnels => least_loaded_of_two(eligible, number),
        Balance::RoundRobin => in_turn(eligible, number),
        Balance::Random => drawn(line(eligible), number),
    }
}

/// Two different ones, drawn by weight; the one that will carry less for its weight with this client on it. The first drawn
/// wins a tie.
fn least_loaded_of_two(eligible: Eligible<'_>, random: u64) -> Option<usize> {
    let first = drawn(line(eligible), random)?;
    let others = line(eligible).filter(|(index, _)| *index != first);
    let Some(second) = drawn(others, scrambled(random)) else {
        return Some(first);
    };
    let (one, two) = (eligible.candidate(first), eligible.candidate(second));
    // load / weight without dividing
    let one_carries = (u128::from(one.load) + 1) * u128::from(eligible.weight(two));
    let two_carries = (u128::from(two.load) + 1) * u128::from(eligible.weight(one));
    Some(if two_carries < one_carries { second } else { first })
}

/// Every `sum of weights` turns give each instance exactly its weight. They are dealt in as many rounds as the heaviest
/// weighs: the heaviest comes once in each round, one of half its weight in every second, the others evenly in between, in the
/// file's order. No state but `turn`, so a changed set needs no reset.
fn in_turn(eligible: Eligible<'_>, turn: u64) -> Option<usize> {
    let line = line(eligible);
    let rounds = line.clone().map(|(_, weight)| weight).max()?;
    // How often an instance came before a round; half of its share of a round is rounded up.
    let came = |round: u64, weight: u64| (round * weight + rounds / 2) / rounds;
    let dealt = |round: u64| line.clone().map(|(_, weight)| came(round, weight)).sum::<u64>();

    let position = turn % dealt(rounds);
    let (mut round, mut later) = (0, rounds);
    while later - round > 1 {
        let middle = u64::midpoint(round, later);
        if dealt(middle) <= position {
            round = middle;
        } else {
            later = middle;
        }
    }
    let of_round = line.clone().map(|(index, weight)| (index, came(round + 1, weight) - came(round, weight)));
    at(of_round, position - dealt(round))
}

fn drawn(line: impl Iterator<Item = (usize, u64)> + Clone, random: u64) -> Option<usize> {
    let length = line.clone().map(|(_, weight)| weight).sum();
    at(line, part(random, length))
}

/// Who stands at this position of the line.
fn at(line: impl Iterator<Item = (usize, u64)>, mut position: u64) -> Option<usize> {
    for (index, weight) in line {
        if position < weight {
            return Some(index);
        }
        position -= weight;
    }
    None
}

fn line(eligible: Eligible<'_>) -> impl Iterator<Item = (usize, u64)> + Clone {
    eligible.iter().map(move |(index, candidate)| (index, u64::from(eligible.weight(candidate))))
}

/// `fraction / 2^64` of `length`: evenly spread over 0 to `length - 1` when `fraction` is random.
fn part(fraction: u64, length: u64) -> u64 {
    fraction.carrying_mul(length, 0).1
}

/// A second random number out of the first (the finisher of splitmix64).
fn scrambled(random: u64) -> u64 {
    let mut mixed = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
