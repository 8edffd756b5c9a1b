use std::net::IpAddr;

use proptest::prelude::*;

use super::{By, Candidate, Choice, Client, Policy, pick};
use crate::affinity::ip_hash::InstanceHash;
use crate::config::model::{Balance, IpHash, StickyKey};

const RENDEZVOUS: IpHash = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: None };

/// Weight, load, usable.
fn candidates(of: &[(u32, u64, bool)]) -> Vec<Candidate> {
    let hashed = of
        .iter()
        .enumerate()
        .map(|(index, of)| (InstanceHash::of("socketio", &format!("i{index}:3000")), of));
    hashed
        .map(|(hash, (weight, load, usable))| Candidate {
            hash,
            weight: *weight,
            usable: *usable,
            load: *load,
        })
        .collect()
}

fn weighted(weights: &[u32]) -> Vec<Candidate> {
    candidates(&weights.iter().map(|weight| (*weight, 0, true)).collect::<Vec<_>>())
}

fn policy(by: &[StickyKey], balance: Balance) -> Policy<'_> {
    Policy { by, ip_hash: RENDEZVOUS, balance }
}

fn client(address: &str, bound: Option<usize>) -> Client {
    Client { address: address.parse().unwrap(), bound }
}

/// Who is chosen by `balance` alone.
fn balanced(balance: Balance, candidates: &[Candidate], random: u64, turn: u64) -> Option<usize> {
    let choice = pick(policy(&[], balance), client("192.0.2.1", Some(0)), candidates, random, turn)?;
    assert_eq!(choice.by, By::Balance);
    Some(choice.instance)
}

fn turns(candidates: &[Candidate], count: u64) -> String {
    (0..count).map(|turn| balanced(Balance::RoundRobin, candidates, 0, turn).unwrap().to_string()).collect()
}

/// Evenly spread random numbers that are the same in each run.
fn randoms(count: u64) -> impl Iterator<Item = u64> {
    (1..=count)
        .map(|n| n.wrapping_mul(0xD134_2543_DE82_EF95).rotate_left(32).wrapping_mul(0x2545_F491_4F6C_DD1D))
}

fn shares(count: u64, candidates: &[Candidate], balance: Balance) -> Vec<f64> {
    let mut counts = vec![0_u32; candidates.len()];
    for random in randoms(count) {
        counts[balanced(balance, candidates, random, 0).unwrap()] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    counts.iter().map(|count_of_one| f64::from(*count_of_one) / count as f64).collect()
}

/// By rendezvous 192.0.2.1 goes to the instance 6 of ten, then 2; golden vectors are in the hash's own tests.
#[test]
fn keys_in_their_order() {
    use StickyKey::{Cookie, IpHash};
    let all = weighted(&[1; 10]);
    let without = |gone: &[usize]| {
        let mut left = all.clone();
        for index in gone {
            left[*index].usable = false;
        }
        left
    };
    let next = {
        let left = without(&[6]);
        pick(policy(&[IpHash], Balance::Random), client("192.0.2.1", None), &left, 0, 0).unwrap().instance
    };
    let check = |by: &[StickyKey], bound, candidates: &[Candidate], expected: (usize, By)| {
        // A round robin's turn 0 is the first usable.
        let choice = pick(policy(by, Balance::RoundRobin), client("192.0.2.1", bound), candidates, 0, 0);
        assert_eq!(choice, Some(Choice { instance: expected.0, by: expected.1 }), "{by:?} {bound:?}");
    };
    check(&[Cookie, IpHash], Some(3), &all, (3, By::Cookie));
    check(&[Cookie, IpHash], None, &all, (6, By::IpHash));
    check(&[IpHash, Cookie], Some(3), &all, (6, By::IpHash));
    check(&[IpHash], Some(3), &all, (6, By::IpHash));
    check(&[Cookie], Some(3), &all, (3, By::Cookie));
    check(&[Cookie], None, &all, (0, By::Balance));
    check(&[], Some(3), &all, (0, By::Balance));
    // Bound to one that cannot be used, or that is not there.
    check(&[Cookie, IpHash], Some(3), &without(&[3]), (6, By::IpHash));
    check(&[Cookie], Some(0), &without(&[0]), (1, By::Balance));
    check(&[Cookie], Some(10), &all, (0, By::Balance));
    check(&[Cookie], Some(usize::MAX), &all, (0, By::Balance));
    // The hash passes over who cannot be used, and others stay where they were.
    assert_ne!(next, 6);
    check(&[IpHash], None, &without(&[6]), (next, By::IpHash));
    check(&[IpHash], None, &without(&[next]), (6, By::IpHash));
    check(&[Cookie, IpHash], Some(6), &without(&[6]), (next, By::IpHash));
}

#[test]
fn prefixes_and_nginx() {
    let by = [StickyKey::IpHash];
    let choose = |ip_hash, address: &str, candidates: &[Candidate]| {
        pick(
            Policy { by: &by, ip_hash, balance: Balance::RoundRobin },
            client(address, None),
            candidates,
            0,
            0,
        )
    };
    let ten = weighted(&[1; 10]);
    let wide = IpHash::Rendezvous { ipv4_prefix: 24, ipv6_prefix: 64, bound: None };
    assert_eq!(choose(wide, "192.0.2.1", &ten), choose(wide, "::ffff:192.0.2.254", &ten));
    assert_ne!(choose(RENDEZVOUS, "192.0.2.1", &ten), choose(RENDEZVOUS, "192.0.2.2", &ten));

    let four = candidates(&[(1, 0, false), (1, 0, true), (1, 0, true), (1, 0, false)]);
    assert_eq!(choose(IpHash::Nginx, "8.8.8.8", &four), Some(Choice { instance: 2, by: By::IpHash }));
    assert_eq!(choose(IpHash::Nginx, "10.1.2.3", &four), Some(Choice { instance: 1, by: By::IpHash }));
    let lost = candidates(&[(1000, 0, false), (1, 0, true)]);
    assert_eq!(choose(IpHash::Nginx, "8.8.8.8", &lost), Some(Choice { instance: 1, by: By::Balance }));
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
    assert_eq!(balanced(Balance::RoundRobin, &weighted(&[1, 1, 1]), 0, u64::MAX), Some(0));
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
    assert_eq!(balanced(Balance::Random, &weighted(&[1, 1]), u64::MAX, 0), Some(1));
}

#[test]
fn least_tunnels_takes_the_less_loaded_for_its_weight() {
    let check = |of: &[(u32, u64, bool)], expected: usize| {
        let candidates = candidates(of);
        for random in randoms(200).chain([0, u64::MAX]) {
            assert_eq!(balanced(Balance::LeastTunnels, &candidates, random, 0), Some(expected), "{of:?}");
        }
    };
    check(&[(1, 5, true)], 0);
    check(&[(1, 5, true), (1, 4, true)], 1);
    check(&[(1, 5, false), (1, 400, true)], 1);
    check(&[(2, 9, true), (1, 5, true)], 0);
    check(&[(2, 13, true), (1, 5, true)], 1);
    check(&[(1, 0, true), (1000, 500, true)], 1);
    check(&[(1, u64::MAX, true), (1000, u64::MAX, true)], 1);
    // An unusable one is neither of the two.
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
        let chosen = balanced(Balance::LeastTunnels, &candidates, random, 0).unwrap();
        candidates[chosen].load += 1;
    }
    for (candidate, expected) in candidates.iter().zip([500_u64, 1000, 2500, 1000]) {
        assert!(candidate.load.abs_diff(expected) <= expected / 20, "{candidates:?}");
    }
}

prop_compose! {
    fn any_candidates()(of in prop::collection::vec((0..=1000_u32, any::<u64>(), any::<bool>()), 0..70)) -> Vec<Candidate> {
        candidates(&of)
    }
}

proptest! {
    #[test]
    fn chosen_is_usable_and_nobody_only_if_nobody_is(
        candidates in any_candidates(),
        bits: u128,
        bound in prop::option::of(0..80_usize),
        random: u64,
        turn: u64,
        with_cookie: bool,
        with_hash: bool,
    ) {
        let mut by = Vec::new();
        by.extend(with_cookie.then_some(StickyKey::Cookie));
        by.extend(with_hash.then_some(StickyKey::IpHash));
        let client = Client { address: IpAddr::V6(bits.into()), bound };
        for balance in [Balance::LeastTunnels, Balance::RoundRobin, Balance::Random] {
            for ip_hash in [RENDEZVOUS, IpHash::Nginx] {
                let choice = pick(Policy { by: &by, ip_hash, balance }, client, &candidates, random, turn);
                prop_assert_eq!(choice.is_some(), candidates.iter().any(|candidate| candidate.usable));
                if let Some(Choice { instance, .. }) = choice {
                    prop_assert!(candidates[instance].usable);
                }
            }
        }
    }

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
            let chosen = balanced(Balance::RoundRobin, &candidates, 0, start + u64::from(n)).unwrap();
            counts[chosen] += 1;
            if let Some(last) = last_seen[chosen].replace(n) {
                prop_assert!((n - last) * weights[chosen] <= 2 * sum + 8 * weights[chosen], "{weights:?}");
            }
        }
        prop_assert_eq!(counts, weights);
    }
}
