use std::iter;

use proptest::prelude::*;

use super::super::{Candidate, Choice, Client, Cookie, Need, Outcome, Policy, Sid, pick};
use super::{client, instances, policy};
use crate::config::model::{IpHash, StickyKey};

const BY: &[StickyKey] = &[StickyKey::IpHash];

fn bounded(bound: u32) -> Policy<'static> {
    let ip_hash = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: Some(bound) };
    Policy { ip_hash, ..policy(BY) }
}

fn place(bound: u32, client: Client<'_>, candidates: &[Candidate]) -> Option<usize> {
    match pick(bounded(bound), client, candidates, |_| panic!("the hash decides")) {
        Outcome::To(Choice { instance, .. }) => Some(instance),
        _ => None,
    }
}

/// Where each of these clients goes when all before it have stayed.
fn fill(bound: u32, candidates: &mut [Candidate], addresses: impl Iterator<Item = String>) -> String {
    let mut places = String::new();
    for address in addresses {
        let instance = place(bound, client(Need::Start, &address, Cookie::None), candidates).unwrap();
        candidates[instance].load += 1;
        places.push_str(&instance.to_string());
    }
    places
}

/// Computed by the program that made the hash's golden vectors (Python, fractions).
#[test]
fn golden_fillings() {
    let clients = || (0..60).map(|n| format!("10.0.{n}.1"));
    let mut four = instances("ready ready ready ready");
    assert_eq!(
        fill(125, &mut four, clients()),
        "312100310021301331233223011230131231313221132102102221231320"
    );
    let mut weighted = instances("ready x2 ready x4");
    assert_eq!(
        fill(101, &mut weighted, clients()),
        "331103331021333321233313031133231303213233130132103133331323"
    );
    assert_eq!(weighted.iter().map(|candidate| candidate.load).collect::<Vec<_>>(), [6, 15, 8, 31]);
    // Of one client, as behind one address: its first choice, then the next.
    let same = || iter::repeat_n("192.0.2.1".to_owned(), 12);
    let mut four = instances("ready ready ready ready");
    assert_eq!(fill(125, &mut four, same()), "230230230230");
    let mut four = instances("ready ready ready ready");
    assert_eq!(fill(200, &mut four, same()), "232323232323");
}

/// 192.0.2.1 belongs to 2, then 3, 0, 1.
#[test]
fn only_session_starts_are_bounded() {
    let crowded = instances("ready ready =100 ready");
    for (need, expected) in [(Need::Start, 3), (Need::Plain, 2), (Need::Session(Sid::Unknown), 2)] {
        assert_eq!(place(125, client(need, "192.0.2.1", Cookie::None), &crowded), Some(expected), "{need:?}");
    }
    // A bound client stays, crowded or not.
    let with_cookie = [StickyKey::Cookie, StickyKey::IpHash];
    let policy = Policy { by: &with_cookie, ..bounded(125) };
    let choice = pick(policy, client(Need::Start, "192.0.2.1", Cookie::To(2)), &crowded, |_| 0);
    assert!(matches!(choice, Outcome::To(Choice { instance: 2, .. })));
    // What does not take part has no share either: 100 of 202 is not more than 1.25 times a half.
    let half = instances("down =1000000+drain =100 =101");
    assert_eq!(place(125, client(Need::Start, "192.0.2.1", Cookie::None), &half), Some(2));
}

proptest! {
    /// There is always one with room, and whoever is chosen had room: it then carries no more than `bound` times its share, rounded
    /// up.
    #[test]
    fn somebody_has_room(
        of in prop::collection::vec((1..=1000_u32, prop_oneof![0..100_u64, any::<u64>()]), 1..40),
        bound in 101..=10_000_u32,
        bits: u128,
    ) {
        let text: Vec<String> = of.iter().map(|(weight, load)| format!("x{weight}+={load}")).collect();
        let candidates = instances(&text.join(" "));
        let address = std::net::Ipv6Addr::from(bits).to_string();
        let instance = place(bound, client(Need::Start, &address, Cookie::None), &candidates);
        prop_assert!(instance.is_some());
        let (weight, load) = of[instance.unwrap()];
        let total: u128 = of.iter().map(|(_, load)| u128::from(*load)).sum();
        let weights: u128 = of.iter().map(|(weight, _)| u128::from(*weight)).sum();
        let capacity = (u128::from(bound) * (total + 1) * u128::from(weight)).div_ceil(100 * weights);
        prop_assert!(u128::from(load) < capacity);
        // It passes over nobody with room that comes before: without a bound on those it is the first.
        let with_room: Vec<Candidate> = candidates.iter().copied().filter(|candidate| {
            let capacity = (u128::from(bound) * (total + 1) * u128::from(candidate.weight)).div_ceil(100 * weights);
            u128::from(candidate.load) < capacity
        }).collect();
        let first = pick(policy(BY), client(Need::Start, &address, Cookie::None), &with_room, |_| 0);
        let Outcome::To(Choice { instance: first, .. }) = first else { panic!("nobody") };
        prop_assert_eq!(with_room[first].hash, candidates[instance.unwrap()].hash);
    }

    /// However clients come, nobody ever carries more than its capacity at the time when the last one came to it.
    #[test]
    fn the_bound_holds_while_instances_fill(
        weights in prop::collection::vec(1..=20_u32, 1..8),
        bound in 101..=300_u32,
        clients in prop::collection::vec(0..6_u8, 1..200),
    ) {
        let text: Vec<String> = weights.iter().map(|weight| format!("x{weight}")).collect();
        let mut candidates = instances(&text.join(" "));
        fill(bound, &mut candidates, clients.iter().map(|n| format!("192.0.2.{n}")));
        let (total, sum) = (clients.len() as u64, weights.iter().sum::<u32>());
        for candidate in &candidates {
            let capacity = (u64::from(bound) * total * u64::from(candidate.weight)).div_ceil(100 * u64::from(sum));
            prop_assert!(candidate.load <= capacity, "{candidates:?}");
        }
    }
}
