use proptest::prelude::*;

use super::super::{By, Candidate, Choice, Cookie, Need, Outcome, Policy, pick};
use super::{client, instances, policy};
use crate::config::model::Balance;

/// Weight, load, eligible.
fn candidates(of: &[(u32, u64, bool)]) -> Vec<Candidate> {
    let word = |(weight, load, eligible): &(u32, u64, bool)| {
        format!("x{weight}+={load}{}", if *eligible { "" } else { "+down" })
    };
    instances(&of.iter().map(word).collect::<Vec<_>>().join(" "))
}

fn weighted(weights: &[u32]) -> Vec<Candidate> {
    candidates(&weights.iter().map(|weight| (*weight, 0, true)).collect::<Vec<_>>())
}

/// Who is chosen by `balance` alone, for this number.
fn balanced(balance: Balance, candidates: &[Candidate], number: u64) -> Option<usize> {
    let policy = Policy { balance, ..policy(&[]) };
    match pick(policy, client(Need::Start, "192.0.2.1", Cookie::To(0)), candidates, |_| number) {
        Outcome::To(Choice { instance, by, rebind }) => {
            assert_eq!((by, rebind), (By::Balance, None));
            Some(instance)
        }
        _ => None,
    }
}

fn turns(candidates: &[Candidate], count: u64) -> String {
    (0..count).map(|turn| balanced(Balance::RoundRobin, candidates, turn).unwrap().to_string()).collect()
}

/// Evenly spread random numbers that are the same in each run.
fn randoms(count: u64) -> impl Iterator<Item = u64> {
    (1..=count)
        .map(|n| n.wrapping_mul(0xD134_2543_DE82_EF95).rotate_left(32).wrapping_mul(0x2545_F491_4F6C_DD1D))
}

fn shares(count: u64, candidates: &[Candidate], balance: Balance) -> Vec<f64> {
    let mut counts = vec![0_u32; candidates.len()];
    for random in randoms(count) {
        counts[balanced(balance, candidates, random).unwrap()] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    counts.iter().map(|count_of_one| f64::from(*count_of_one) / count as f64).collect()
}

#[test]
fn round_robin_sequences() {
    assert_eq!(turns(&weighted(&[1]), 3), "000");
    assert_eq!(turns(&weighted(&[7, 7]), 6), "010101");
    assert_eq!(turns(&weighted(&[1, 1, 1]), 6), "012012");
    assert_eq!(turns(&weighted(&[2, 1]), 6), "010010");
    assert_eq!(turns(&weighted(&[5, 1, 1]), 14), "00012000001200");
    assert_eq!(turns(&weighted(&[1, 2, 4]), 14), "12021221202122");
    assert_eq!(turns(&candidates(&[(1, 0, true), (9, 0, false), (1, 0, true)]), 4), "0202");
    assert_eq!(balanced(Balance::RoundRobin, &weighted(&[1, 1, 1]), u64::MAX), Some(0));
}

#[test]
fn random_follows_the_weights() {
    for weights in [&[1, 1][..], &[1, 2, 5], &[1000, 1], &[1; 10]] {
        let sum: u32 = weights.iter().sum();
        for (share, weight) in shares(20_000, &weighted(weights), Balance::Random).iter().zip(weights) {
            let expected = f64::from(*weight) / f64::from(sum);
            assert!((share - expected).abs() < 0.012, "{weights:?}: {share} {expected}");
        }
    }
    assert_eq!(balanced(Balance::Random, &weighted(&[1, 1]), u64::MAX), Some(1));
}

#[test]
fn least_tunnels_takes_the_less_loaded_for_its_weight() {
    let check = |of: &[(u32, u64, bool)], expected: usize| {
        let candidates = candidates(of);
        for random in randoms(200).chain([0, u64::MAX]) {
            assert_eq!(balanced(Balance::LeastTunnels, &candidates, random), Some(expected), "{of:?}");
        }
    };
    check(&[(1, 5, true)], 0);
    check(&[(1, 5, true), (1, 4, true)], 1);
    check(&[(1, 5, false), (1, 400, true)], 1);
    check(&[(2, 9, true), (1, 5, true)], 0);
    check(&[(2, 13, true), (1, 5, true)], 1);
    check(&[(1, 0, true), (1000, 500, true)], 1);
    check(&[(1, u64::MAX, true), (1000, u64::MAX, true)], 1);
    // One that is not eligible is neither of the two.
    check(&[(1, 9, true), (1000, 0, false), (1, 8, true), (1000, 0, false)], 2);
}

/// Of many, the most loaded is never taken (it always loses against the other), the least loaded whenever it is drawn: two of
/// ten draws of pairs.
#[test]
fn least_tunnels_draws_two_different_ones() {
    let of: Vec<_> = (0..10).map(|load| (1, load, true)).collect();
    let shares = shares(20_000, &candidates(&of), Balance::LeastTunnels);
    assert!(shares[9] == 0.0, "{shares:?}");
    for (rank, share) in (0_u32..).zip(shares) {
        // Pairs of which this is the less loaded, of 45.
        let expected = f64::from(9 - rank) / 45.0;
        assert!((share - expected).abs() < 0.012, "{rank}: {share} {expected}");
    }
}

/// Filling up: loads end in proportion to the weights.
#[test]
fn least_tunnels_fills_by_weight() {
    let mut candidates = weighted(&[1, 2, 5, 2]);
    for random in randoms(5_000) {
        let chosen = balanced(Balance::LeastTunnels, &candidates, random).unwrap();
        candidates[chosen].load += 1;
    }
    for (candidate, expected) in candidates.iter().zip([500_u64, 1000, 2500, 1000]) {
        assert!(candidate.load.abs_diff(expected) <= expected / 20, "{candidates:?}");
    }
}

proptest! {
    /// Over any `sum` turns each gets its weight, and nobody waits for much longer than its share says.
    #[test]
    fn turns_follow_the_weights(
        weights in prop::collection::vec(1..=30_u32, 1..8),
        start in 0..u64::MAX / 2,
    ) {
        let candidates = weighted(&weights);
        let sum: u32 = weights.iter().sum();
        let mut counts = vec![0_u32; weights.len()];
        let mut last_seen: Vec<Option<u32>> = vec![None; weights.len()];
        for n in 0..sum {
            let chosen = balanced(Balance::RoundRobin, &candidates, start + u64::from(n)).unwrap();
            counts[chosen] += 1;
            if let Some(last) = last_seen[chosen].replace(n) {
                prop_assert!((n - last) * weights[chosen] <= 2 * sum + 8 * weights[chosen], "{weights:?}");
            }
        }
        prop_assert_eq!(counts, weights);
    }
}
