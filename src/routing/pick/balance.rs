//! Placement of a client that no key places.
//!
//! All three walk the usable candidates as if each stood `weight` times in a row: a position on that line is an instance.

use super::{Candidate, usable};
use crate::config::model::Balance;

/// The fractional part of the golden ratio, as a part of 2^64: multiples of it fill a circle as evenly as any can.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// `None`: no candidate is usable.
pub(super) fn choose(balance: Balance, candidates: &[Candidate], random: u64, turn: u64) -> Option<usize> {
    match balance {
        Balance::LeastTunnels => least_loaded_of_two(candidates, random),
        Balance::RoundRobin => in_turn(candidates, turn),
        Balance::Random => drawn(line(candidates), random),
    }
}

/// Two different ones, drawn by weight; the one that will carry less for its weight with this client on it. The first drawn
/// wins a tie.
fn least_loaded_of_two(candidates: &[Candidate], random: u64) -> Option<usize> {
    let first = drawn(line(candidates), random)?;
    let others = line(candidates).filter(|(index, _)| *index != first);
    let Some(second) = drawn(others, scrambled(random)) else {
        return Some(first);
    };
    let (one, two) = (&candidates[first], &candidates[second]);
    // load / weight without dividing
    let one_carries = (u128::from(one.load) + 1) * u128::from(weight(two));
    let two_carries = (u128::from(two.load) + 1) * u128::from(weight(one));
    Some(if two_carries < one_carries { second } else { first })
}

/// Every `sum of weights` turns in a row give each instance exactly its weight (weights reduced by their common divisor). They do
/// not come in blocks: the position moves by a golden section of the line each turn, or the next step that still visits
/// every position. No state but `turn`, so a changed set needs no reset.
fn in_turn(candidates: &[Candidate], turn: u64) -> Option<usize> {
    let divisor = line(candidates).fold(0, |divisor, (_, weight)| common_divisor(divisor, weight));
    let line = line(candidates).map(|(index, weight)| (index, weight / divisor));
    let length: u64 = line.clone().map(|(_, weight)| weight).sum();
    if length == 0 {
        return None;
    }
    let mut step = part(GOLDEN, length);
    while common_divisor(step, length) != 1 {
        step += 1;
    }
    let position = u128::from(turn) * u128::from(step) % u128::from(length);
    at(line, u64::try_from(position).expect("below length"))
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

fn line(candidates: &[Candidate]) -> impl Iterator<Item = (usize, u64)> + Clone {
    usable(candidates).map(|(index, candidate)| (index, weight(candidate)))
}

fn weight(candidate: &Candidate) -> u64 {
    u64::from(candidate.weight.max(1))
}

/// `fraction / 2^64` of `length`: evenly spread over 0 to `length - 1` when `fraction` is random.
fn part(fraction: u64, length: u64) -> u64 {
    fraction.carrying_mul(length, 0).1
}

/// A second random number out of the first (the finisher of splitmix64).
fn scrambled(random: u64) -> u64 {
    let mut mixed = random.wrapping_add(GOLDEN);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
