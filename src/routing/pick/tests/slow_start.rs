//! Slow start: who gets how much while an instance grows into its share. The share's growth over time is health's own test.

use super::super::{Candidate, Choice, Cookie, Need, Outcome, Policy, pick};
use super::{RENDEZVOUS, client, instances, policy};
use crate::config::model::{Balance, IpHash, StickyKey};

/// Of `count` clients, how many each instance gets; `loads`: each stays and counts.
fn placed(policy: Policy<'_>, text: &str, count: u32, loads: bool) -> Vec<u32> {
    let mut candidates = instances(text);
    let mut placed = vec![0; candidates.len()];
    for number in 0..count {
        let address = format!("192.0.{}.{}", number / 256, number % 256);
        let random = u64::from(number + 1).wrapping_mul(0xD134_2543_DE82_EF95).rotate_left(32);
        let draw = |balance| if balance == Balance::RoundRobin { number.into() } else { random };
        let outcome = pick(policy, client(Need::Start, &address, Cookie::None), &candidates, draw);
        let Outcome::To(Choice { instance, .. }) = outcome else { panic!("{outcome:?}") };
        placed[instance] += 1;
        candidates[instance].load += u64::from(loads);
    }
    placed
}

#[track_caller]
fn about(found: &[u32], expected: &[u32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.abs_diff(*expected) * 100 <= expected * 10, "{found} is not about {expected}");
    }
}

#[test]
fn each_share_of_clients_is_that_of_its_weight() {
    let hashed = policy(&[StickyKey::IpHash]);
    let random = Policy { balance: Balance::Random, ..policy(&[]) };
    // A tenth, the half, all: one of two gets 1/11, 1/3, 1/2.
    for (text, expected) in [
        ("ready %10", [10_000, 1000]),
        ("ready %50", [7333, 3667]),
        ("ready ready", [5500, 5500]),
        ("x3 x3+%10", [10_000, 1000]),
        // Both came back at once: neither is spared, as nobody else is there.
        ("%10 %10", [5500, 5500]),
    ] {
        about(&placed(hashed, text, 11_000, false), &expected);
        about(&placed(random, text, 11_000, false), &expected);
        about(&placed(policy(&[]), text, 11_000, false), &expected);
    }
    let exact = placed(policy(&[]), "ready %10", 1100, false);
    assert_eq!(exact, [1000, 100], "in turn");
}

#[test]
fn one_that_came_back_empty_is_not_filled_at_once() {
    let least = Policy { balance: Balance::LeastTunnels, ..policy(&[]) };
    // The others hold 500 each. All at once it would get every client that draws it: two of three.
    let all = placed(least, "=500 =500 =0", 600, true);
    assert!(all[2] >= 350, "{all:?}");
    let slow = placed(least, "=500 =500 =0+%10", 600, true);
    assert!((20..=100).contains(&slow[2]), "{slow:?}");
}

/// Whoever goes elsewhere when a share grows goes to the one that grew.
#[test]
fn a_growing_share_moves_clients_to_itself_only() {
    let steps = [10, 11, 25, 60, 99, 100];
    let place = |share: u8, number: u32| {
        let candidates: Vec<Candidate> = instances(&format!("ready ready %{share}"));
        let address = format!("192.0.{}.{}", number / 256, number % 256);
        let client = client(Need::Start, &address, Cookie::None);
        match pick(policy(&[StickyKey::IpHash]), client, &candidates, |_| 0) {
            Outcome::To(choice) => choice.instance,
            other => panic!("{other:?}"),
        }
    };
    let mut moved = 0;
    for number in 0..3000 {
        for pair in steps.windows(2) {
            let (before, after) = (place(pair[0], number), place(pair[1], number));
            assert!(before == after || after == 2, "{number}: {before} -> {after} at {pair:?}");
            moved += u32::from(before != after);
        }
    }
    assert!((700..1100).contains(&moved), "{moved}: from 1/21 of them to 1/3");
}

#[test]
fn nginx_s_mapping_knows_no_shares() {
    let nginx = Policy { ip_hash: IpHash::Nginx, ..policy(&[StickyKey::IpHash]) };
    let same = placed(nginx, "ready x2 ready", 3000, false);
    assert_eq!(placed(nginx, "ready x2+%10 ready", 3000, false), same);
}

#[test]
fn a_bound_is_of_the_share() {
    let bound = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: Some(125) };
    let bounded = Policy { ip_hash: bound, ..policy(&[StickyKey::IpHash]) };
    assert_ne!(bounded.ip_hash, RENDEZVOUS);
    // 1.25 * 1100 / 11 = 125
    let found = placed(bounded, "ready %10", 1100, true);
    assert!(found[1] <= 125, "{found:?}");
}
