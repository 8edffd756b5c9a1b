//! What a rebalance does with what instances carry.

use proptest::prelude::*;

use super::*;

/// So many tunnels; of weight 1, without a limit.
fn of(tunnels: u32) -> Carried {
    Carried { tunnels, weight: 1, room: None, takes_part: true }
}

fn heavy(tunnels: u32, weight: u32) -> Carried {
    Carried { weight, ..of(tunnels) }
}

/// It may take so many more.
fn with_room(tunnels: u32, room: u32) -> Carried {
    Carried { room: Some(room), ..of(tunnels) }
}

/// It has no share.
fn apart(tunnels: u32) -> Carried {
    Carried { takes_part: false, ..of(tunnels) }
}

#[test]
fn what_moves() {
    // Beyond, and what moves of it.
    let check = |instances: &[Carried], expected: &[(u32, u32)]| {
        let found: Vec<_> = skewed(instances, 125, 0).iter().map(|one| (one.beyond, one.moves)).collect();
        assert_eq!(found, expected, "{instances:?}");
    };
    check(&[], &[]);
    check(&[of(0), of(0)], &[(0, 0), (0, 0)]);
    // Nobody else is there.
    check(&[of(1000)], &[(0, 0)]);
    check(&[of(1000), apart(0)], &[(0, 0), (0, 0)]);
    check(&[apart(1000), apart(0)], &[(0, 0), (0, 0)]);
    // Two full ones, and a third has come: 200 / 3 * 1.25 = 83.3.
    check(&[of(100), of(100), of(0)], &[(16, 16), (16, 16), (0, 0)]);
    check(&[of(84), of(84), of(32)], &[(0, 0), (0, 0), (0, 0)]);
    // 1.5 * 1.25 = 1.9: what one has more than another is no skew.
    check(&[of(2), of(1)], &[(0, 0), (0, 0)]);
    check(&[of(1), of(0)], &[(0, 0), (0, 0)]);
    check(&[of(3), of(0)], &[(1, 1), (0, 0)]);
    // By weight: 120 * 3 / 4 * 1.25 = 112.5, and 37.5.
    check(&[heavy(120, 3), heavy(0, 1)], &[(7, 7), (0, 0)]);
    check(&[heavy(80, 3), heavy(40, 1)], &[(0, 0), (2, 2)]);
    check(&[heavy(90, 3), heavy(30, 1)], &[(0, 0), (0, 0)]);
    // What others carry that have no share is no tunnel to share.
    check(&[of(100), of(100), of(0), apart(5000)], &[(16, 16), (16, 16), (0, 0), (0, 0)]);
    // The one that takes is nearly full by its max_tunnels.
    check(&[of(100), of(100), with_room(0, 9)], &[(16, 4), (16, 5), (0, 0)]);
    check(&[of(100), of(100), with_room(0, 0)], &[(16, 0), (16, 0), (0, 0)]);
    check(&[with_room(100, 0), of(100), of(0)], &[(16, 16), (16, 16), (0, 0)]);
    // The other one has just room for the half of it.
    check(&[of(100), of(80), with_room(0, 5)], &[(25, 4), (5, 1), (0, 0)]);
}

#[test]
fn fair_shares() {
    let check = |instances: &[Carried], expected: &[Option<u32>]| {
        let found: Vec<_> = skewed(instances, 125, 0).iter().map(|one| one.fair).collect();
        assert_eq!(found, expected, "{instances:?}");
    };
    check(&[of(100), of(100), of(0)], &[Some(67), Some(67), Some(67)]);
    check(&[heavy(7, 1000), of(0)], &[Some(7), Some(0)]);
    check(&[apart(9), of(4)], &[None, Some(4)]);
    check(&[apart(9), apart(4)], &[None, None]);
}

/// Were they forgotten, everybody's share would shrink while they are away, and too many would be sent after them.
#[test]
fn clients_that_are_on_their_way_count() {
    let check = |away, instances: &[Carried], expected: &[u32]| {
        let found: Vec<_> = skewed(instances, 125, away).iter().map(|one| one.moves).collect();
        assert_eq!(found, expected, "{away} away, {instances:?}");
    };
    check(0, &[of(100), of(100), of(0)], &[16, 16, 0]);
    check(20, &[of(90), of(90), of(0)], &[6, 6, 0]);
    check(32, &[of(84), of(84), of(0)], &[0, 0, 0]);
    check(0, &[of(84), of(84), of(0)], &[14, 14, 0]);
    // Their places are taken.
    check(8, &[of(96), of(96), with_room(0, 10)], &[1, 1, 0]);
    check(10, &[of(95), of(95), with_room(0, 10)], &[0, 0, 0]);
}

#[test]
fn nothing_overflows() {
    let huge = Carried { tunnels: u32::MAX, weight: 1000, room: None, takes_part: true };
    let mut all = vec![huge; 1000];
    all.push(Carried { tunnels: 0, ..huge });
    let found = skewed(&all, 10_000, u32::MAX);
    assert!(found.iter().all(|one| one.beyond == 0 && one.fair.is_some()));
    assert_eq!(skewed(&all, 100, 0).last().map(|one| one.moves), Some(0));
}

fn carried() -> impl Strategy<Value = Carried> {
    let room = prop::option::weighted(0.7, 0..60_u32);
    (0..400_u32, 1..6_u32, room, prop::bool::weighted(0.8))
        .prop_map(|(tunnels, weight, room, takes_part)| Carried { tunnels, weight, room, takes_part })
}

fn upstream() -> impl Strategy<Value = Vec<Carried>> {
    prop::collection::vec(carried(), 0..9)
}

/// The most that it may carry before it is beyond.
fn most(instances: &[Carried], index: usize, max_skew: u32) -> u64 {
    let shared = instances.iter().filter(|one| one.takes_part);
    let (tunnels, weights) = shared.fold((0_u64, 0_u64), |(tunnels, weights), one| {
        (tunnels + u64::from(one.tunnels), weights + u64::from(one.weight))
    });
    (tunnels * u64::from(instances[index].weight) * u64::from(max_skew)).div_ceil(weights * 100)
}

proptest! {
    #[test]
    fn nobody_is_brought_below_what_it_may_carry(instances in upstream(), max_skew in 101..400_u32, away in 0..50_u32) {
        for (index, one) in skewed(&instances, max_skew, away).into_iter().enumerate() {
            prop_assert!(one.moves <= one.beyond && one.beyond <= instances[index].tunnels);
            if one.moves > 0 {
                prop_assert!(u64::from(instances[index].tunnels - one.moves) >= most(&instances, index, max_skew));
            }
            prop_assert!(instances[index].takes_part || one == Skewed::default());
        }
    }

    /// However those that move are placed among those that have room, nobody is beyond afterwards, and nothing moves again.
    #[test]
    fn it_comes_to_rest(instances in upstream(), max_skew in 101..400_u32, seed in any::<u64>()) {
        let before = skewed(&instances, max_skew, 0);
        let mut after = instances.clone();
        let mut moved = 0_u32;
        for (one, skewed) in after.iter_mut().zip(&before) {
            one.tunnels -= skewed.moves;
            moved += skewed.moves;
        }
        let mut random = seed;
        for _ in 0..moved {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let takes: Vec<usize> = (0..after.len())
                .filter(|index| {
                    let one = &after[*index];
                    let below = u64::from(one.tunnels) < most(&instances, *index, max_skew);
                    one.takes_part && below && one.room != Some(0) && before[*index].moves == 0
                })
                .collect();
            prop_assert!(!takes.is_empty(), "nobody has room: {instances:?} {before:?}");
            let to = takes[usize::try_from(random >> 33).unwrap() % takes.len()];
            after[to].tunnels += 1;
            after[to].room = after[to].room.map(|room| room - 1);
        }
        for (one, was) in skewed(&after, max_skew, 0).iter().zip(&before) {
            prop_assert_eq!(one.beyond, was.beyond - was.moves);
            prop_assert_eq!(one.moves, 0);
        }
    }

    #[test]
    fn parts_come_to_the_whole(of in prop::collection::vec(0..1000_u32, 0..9), count in 0..5000_u64) {
        let parts = parts(&of, count);
        let all: u64 = of.iter().map(|one| u64::from(*one)).sum();
        prop_assert_eq!(parts.iter().map(|part| u64::from(*part)).sum::<u64>(), count.min(all));
        prop_assert!(parts.iter().zip(&of).all(|(part, of)| part <= of));
    }
}
