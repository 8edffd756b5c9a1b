use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::{CLEARED_AT_ONCE, Rest, Who};
use crate::affinity::ClientKey;

const ANNA: Who = Who::Binding(*b"anna\0\0\0\0");
const BERT: Who = Who::Binding(*b"bert\0\0\0\0");

const NOWHERE: [u32; 0] = [];

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> Who {
    Who::Address(ClientKey::of(text.parse().unwrap(), 32, 64))
}

fn nth(n: u32) -> Who {
    Who::Address(ClientKey::of(IpAddr::V4(n.into()), 32, 64))
}

/// The instances that `who` must not return to, in the order of their numbers.
fn away(rest: &Rest, who: Who, now: u64) -> Vec<u32> {
    let mut found = Vec::new();
    rest.each_of(who, s(now), |instance| found.push(instance));
    found
}

#[test]
fn a_client_rests_from_an_instance_for_its_time() {
    let rest = Rest::new(10);
    assert!(rest.is_empty());
    assert_eq!(away(&rest, ANNA, 0), NOWHERE);
    rest.send_away(ANNA, 7, s(0), s(600));
    rest.send_away(ANNA, 3, s(100), s(700));
    rest.send_away(address("192.0.2.1"), 7, s(100), s(200));
    assert_eq!(away(&rest, ANNA, 100), [3, 7]);
    assert_eq!(away(&rest, BERT, 100), NOWHERE);
    assert_eq!(away(&rest, address("::ffff:192.0.2.1"), 100), [7]);
    assert_eq!(away(&rest, address("192.0.2.2"), 100), NOWHERE);
    assert_eq!(rest.len(), 3);

    assert_eq!(away(&rest, address("192.0.2.1"), 199), [7]);
    assert_eq!(away(&rest, address("192.0.2.1"), 200), NOWHERE);
    assert_eq!(away(&rest, ANNA, 599), [3, 7]);
    assert_eq!(away(&rest, ANNA, 600), [3]);
    assert_eq!(away(&rest, ANNA, 700), NOWHERE);
    assert!(rest.is_empty(), "who asked last cleared the last one away");
    assert_eq!(rest.evicted(), 0);
}

#[test]
fn the_later_of_two_times_counts() {
    let rest = Rest::new(10);
    for until in [300, 500, 400] {
        rest.send_away(ANNA, 1, s(0), s(until));
        assert_eq!(rest.len(), 1);
    }
    assert_eq!(away(&rest, ANNA, 499), [1]);
    assert_eq!(away(&rest, ANNA, 500), NOWHERE);
    assert!(rest.is_empty());
}

#[test]
fn the_one_that_ends_first_makes_room() {
    let rest = Rest::new(3);
    rest.send_away(nth(1), 1, s(0), s(100));
    rest.send_away(nth(2), 1, s(0), s(50));
    rest.send_away(nth(3), 1, s(0), s(200));
    rest.send_away(nth(4), 1, s(0), s(150));
    let resting =
        |rest: &Rest, now| (1..=6).filter(|n| !away(rest, nth(*n), now).is_empty()).collect::<Vec<_>>();
    assert_eq!(resting(&rest, 0), [1, 3, 4]);
    assert_eq!(rest.evicted(), 1);
    // One that ends before all others does not push them out.
    rest.send_away(nth(5), 1, s(0), s(60));
    assert_eq!(resting(&rest, 0), [1, 3, 4]);
    assert_eq!(rest.evicted(), 2);
    // Nor one that is not to rest at all.
    rest.send_away(nth(6), 1, s(10), s(10));
    assert_eq!((rest.evicted(), rest.len()), (2, 3));
    // Expired ones make room for nothing.
    rest.send_away(nth(5), 1, s(100), s(300));
    assert_eq!(resting(&rest, 100), [3, 4, 5]);
    assert_eq!((rest.evicted(), rest.len()), (2, 3));
}

#[test]
fn a_large_drain_is_cleared_away_bit_by_bit() {
    let rest = Rest::new(1000);
    for n in 0..1000 {
        rest.send_away(nth(n), 1, s(0), s(10));
    }
    assert_eq!(away(&rest, nth(999), 10), NOWHERE, "ended is ended, cleared away or not");
    assert_eq!(rest.len(), 1000 - CLEARED_AT_ONCE);
    // Full of those that have ended, it still takes everybody, and nothing was lost before its time.
    for n in 1000..2000 {
        rest.send_away(nth(n), 1, s(10), s(20));
    }
    assert_eq!((rest.len(), rest.evicted()), (1000, 0));
    assert!((1000..2000).all(|n| away(&rest, nth(n), 19) == [1]));
}

#[test]
fn nothing_fits_into_nothing() {
    let rest = Rest::new(0);
    rest.send_away(ANNA, 1, s(0), s(10));
    assert_eq!(away(&rest, ANNA, 0), NOWHERE);
    assert!(rest.is_empty());
}

#[test]
fn workers_share_it() {
    let rest = Rest::new(100);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let rest = &rest;
            scope.spawn(move || {
                for n in 0..1000 {
                    rest.send_away(nth(n * 4 + worker), worker, s(0), s(u64::from(n) + 1));
                    away(rest, nth(n), u64::from(n) / 2);
                }
            });
        }
    });
    assert!(rest.len() <= 100);
}

proptest! {
    /// The same as a plain list, as long as nobody has to make room.
    #[test]
    fn agrees_with_a_list(orders in prop::collection::vec((0..6_u32, 0..3_u32, 0..40_u64, 0..4_u64), 0..120)) {
        let rest = Rest::new(1000);
        let mut list: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        let mut now = 0;
        for (client, instance, length, pause) in orders {
            now += pause;
            rest.send_away(nth(client), instance, s(now), s(now + length));
            let until = list.entry((client, instance)).or_default();
            *until = (*until).max(now + length);
            for client in 0..6 {
                let of_client = list.iter().filter(|((known, _), until)| *known == client && **until > now);
                let expected: Vec<u32> = of_client.map(|((_, instance), _)| *instance).collect();
                prop_assert_eq!(away(&rest, nth(client), now), expected);
            }
            prop_assert!(rest.len() <= list.len());
        }
        prop_assert_eq!(rest.evicted(), 0);
    }

    /// Whatever comes, it holds no more than it may, and both halves are the same set.
    #[test]
    fn is_bounded(capacity in 0..20_usize, orders in prop::collection::vec((any::<u8>(), any::<u32>(), 0..40_u64, 0..4_u64), 0..120)) {
        let rest = Rest::new(capacity);
        let mut now = 0;
        for (client, instance, length, pause) in orders {
            now += pause;
            rest.send_away(nth(client.into()), instance, s(now), s(now + length));
            let table = rest.table();
            prop_assert!(table.until.len() <= capacity);
            let mirrored: BTreeMap<_, _> =
                table.by_end.iter().map(|(end, who, instance)| ((*who, *instance), *end)).collect();
            prop_assert_eq!((&table.until, table.by_end.len()), (&mirrored, rest.len()));
        }
    }
}
