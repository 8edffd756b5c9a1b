use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{
    By, Candidate, Choice, Client, Cookie, Health, Need, Opening, Outcome, Policy, Sid, pick,
};
use super::{RENDEZVOUS, instances};
use crate::affinity::value_hash::ValueKey;
use crate::config::model::{Balance, InstanceState, IpHash, OnDown, StickyKey};

/// A policy, a client and instances of any kind.
#[derive(Clone, Debug)]
struct Case {
    by: Vec<StickyKey>,
    ip_hash: IpHash,
    on_down: OnDown,
    balance: Balance,
    need: Need,
    address: IpAddr,
    cookie: Cookie,
    values: Vec<Option<ValueKey>>,
    candidates: Vec<Candidate>,
    number: u64,
}

impl Case {
    fn pick_of(&self, candidates: &[Candidate]) -> Outcome {
        let Case { by, ip_hash, on_down, balance, need, address, cookie, values, .. } = self;
        let policy = Policy { by, ip_hash: *ip_hash, on_down: *on_down, balance: *balance };
        let client = Client { need: *need, address: *address, cookie: *cookie, values };
        pick(policy, client, candidates, |_| self.number)
    }

    fn pick(&self) -> Outcome {
        self.pick_of(&self.candidates)
    }
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let state = prop_oneof![
        4 => Just(InstanceState::Ready),
        1 => Just(InstanceState::Cordon),
        1 => Just(InstanceState::Drain),
        1 => Just(InstanceState::Maintain),
    ];
    let health = prop_oneof![4 => Just(Health::Up), 1 => Just(Health::Degraded), 1 => Just(Health::Silent), 1 => Just(Health::Down)];
    let one_in = |n: u32| (0..n).prop_map(|drawn| drawn == 0);
    let rest = (1..=1000_u32, prop_oneof![0..50_u64, any::<u64>()], one_in(5), one_in(4), one_in(4));
    (state, health, rest).prop_map(|(state, health, (weight, load, full, backup, away))| {
        let ready = instances("ready")[0];
        Candidate { weight, backup, state, health, full, load, away, ..ready }
    })
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 0..12).prop_map(|mut candidates| {
        let names = instances(&"ready ".repeat(candidates.len()));
        candidates.iter_mut().zip(names).for_each(|(candidate, name)| candidate.hash = name.hash);
        candidates
    })
}

fn by() -> impl Strategy<Value = Vec<StickyKey>> {
    let all = vec![
        StickyKey::Sid,
        StickyKey::Cookie,
        StickyKey::Header("a".to_owned()),
        StickyKey::Query("b".to_owned()),
        StickyKey::IpHash,
    ];
    prop::sample::subsequence(all, 0..=5).prop_shuffle()
}

fn need() -> impl Strategy<Value = Need> {
    prop_oneof![
        Just(Need::Start),
        Just(Need::Plain),
        Just(Need::Session(Sid::Unknown)),
        Just(Need::Session(Sid::Gone)),
        (0..14_usize).prop_map(|index| Need::Session(Sid::At(index))),
    ]
}

fn ip_hash() -> impl Strategy<Value = IpHash> {
    let bounded = |bound| IpHash::Rendezvous { ipv4_prefix: 24, ipv6_prefix: 48, bound: Some(bound) };
    prop_oneof![Just(RENDEZVOUS), Just(IpHash::Nginx), (101..=10_000_u32).prop_map(bounded)]
}

prop_compose! {
    fn case()(
        by in by(),
        ip_hash in ip_hash(),
        on_down in prop_oneof![Just(OnDown::Rebind), Just(OnDown::Fail)],
        balance in prop_oneof![Just(Balance::LeastTunnels), Just(Balance::RoundRobin), Just(Balance::Random)],
        need in need(),
        address in prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))],
        cookie in prop_oneof![Just(Cookie::None), Just(Cookie::Removed), (0..14_usize).prop_map(Cookie::To)],
        values in prop::collection::vec(prop::option::of(any::<[u8; 2]>()), 0..6),
        candidates in candidates(),
        number: u64,
    ) -> Case {
        let values = values.into_iter().map(|value| ValueKey::of(&value?)).collect();
        Case { by, ip_hash, on_down, balance, need, address, cookie, values, candidates, number }
    }
}

/// What an instance must let in for this client to be sent there.
fn needed(by: By, need: Need) -> Opening {
    match (by, need) {
        (By::Cookie, Need::Start) => Opening::Bound,
        (By::Sid | By::Cookie, _) | (_, Need::Session(_)) => Opening::Held,
        _ => Opening::New,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_sent_where_such_are_not_let_in(case in case()) {
        match case.pick() {
            Outcome::To(Choice { instance, by, rebind }) => {
                let chosen = &case.candidates[instance];
                prop_assert!(chosen.opening(case.need) >= needed(by, case.need));
                // Another than the one that the cookie names, when a reason is given.
                prop_assert!(rebind.is_none() || case.cookie != Cookie::To(instance));
                prop_assert!(rebind.is_none() || case.by.contains(&StickyKey::Cookie));
                // A known session goes nowhere else, once it is asked for.
                if let Need::Session(Sid::At(home)) = case.need {
                    prop_assert!(instance == home || case.by.first() != Some(&StickyKey::Sid));
                }
                let placed = !matches!(by, By::Sid | By::Cookie) && !matches!(case.need, Need::Session(_));
                let better = |other: &Candidate| {
                    let open = other.opening(case.need) == Opening::New;
                    open && (other.away, other.backup) < (chosen.away, chosen.backup)
                };
                if placed {
                    prop_assert!(!case.candidates.iter().any(better), "neither backup nor away while others are left");
                }
            }
            Outcome::SessionGone => {
                prop_assert!(matches!(case.need, Need::Session(Sid::At(_) | Sid::Gone)));
                prop_assert!(case.by.contains(&StickyKey::Sid));
            }
            Outcome::Fail => {
                prop_assert!(case.on_down == OnDown::Fail);
                prop_assert!(case.candidates.iter().any(|candidate| candidate.health == Health::Down));
            }
            Outcome::Nowhere => {
                let least = if matches!(case.need, Need::Session(_)) { Opening::Held } else { Opening::New };
                prop_assert!(case.candidates.iter().all(|candidate| candidate.opening(case.need) < least));
            }
        }
    }

    /// Two proxies that see the same instances agree, whatever they count, unless `balance` or a bound decides.
    #[test]
    fn two_proxies_agree(case in case(), loads in prop::collection::vec(any::<u64>(), 12), other_number: u64) {
        let other = Case { number: other_number, ..case.clone() };
        let mut elsewhere = case.candidates.clone();
        elsewhere.iter_mut().zip(loads).for_each(|(candidate, load)| candidate.load = load);
        let counts = |outcome| matches!(outcome, Outcome::To(Choice { by: By::Balance, .. }));
        let bounded = matches!(case.ip_hash, IpHash::Rendezvous { bound: Some(_), .. });
        let (one, two) = (case.pick(), other.pick_of(&elsewhere));
        prop_assert_eq!(case.pick(), one);
        prop_assert_eq!(counts(one), counts(two));
        if !counts(one) && !bounded {
            prop_assert_eq!(one, two);
        }
    }

    /// The order of the instances in the file matters to nobody but nginx's algorithm and a round robin.
    #[test]
    fn the_order_of_the_file_does_not_matter(case in case()) {
        let last = case.candidates.len().saturating_sub(1);
        let mirrored = |index: usize| if index <= last { last - index } else { index };
        let reversed: Vec<_> = case.candidates.iter().rev().copied().collect();
        let other = Case {
            cookie: match case.cookie { Cookie::To(index) => Cookie::To(mirrored(index)), other => other },
            need: match case.need {
                Need::Session(Sid::At(index)) => Need::Session(Sid::At(mirrored(index))),
                other => other,
            },
            ..case.clone()
        };
        match (case.pick(), other.pick_of(&reversed)) {
            _ if case.ip_hash == IpHash::Nginx => {}
            (Outcome::To(one), Outcome::To(two)) if one.by == By::Balance => prop_assert_eq!(one.by, two.by),
            (Outcome::To(one), Outcome::To(two)) => {
                prop_assert_eq!(Choice { instance: mirrored(one.instance), ..one }, two);
            }
            (one, two) => prop_assert_eq!(one, two),
        }
    }

    /// Whoever was not there stays: by cookie, by value and by address.
    #[test]
    fn an_instance_that_goes_down_moves_only_its_clients(
        count in 2..10_usize,
        gone: Index,
        clients in prop::collection::vec((any::<u32>(), prop::option::of(0..10_usize), any::<bool>()), 60),
        weights in prop::collection::vec(1..=1000_u32, 10),
        removed: bool,
    ) {
        let mut all = instances(&"ready ".repeat(count));
        all.iter_mut().zip(weights).for_each(|(candidate, weight)| candidate.weight = weight);
        let gone = gone.index(count);
        // One that is removed is missing in the list of a new generation; its tokens are no longer found either.
        let mut left = all.clone();
        left[gone].health = Health::Down;
        if removed {
            left.remove(gone);
        }
        let place = |index: usize| if removed && index > gone { index - 1 } else { index };

        let by = vec![StickyKey::Cookie, StickyKey::Header("x-user".to_owned()), StickyKey::IpHash];
        for (n, bound, value) in clients {
            let bound = bound.filter(|index| *index < count);
            let mut case = Case {
                by: by.clone(),
                ip_hash: RENDEZVOUS,
                on_down: OnDown::Rebind,
                balance: Balance::Random,
                need: Need::Start,
                address: IpAddr::V4(n.into()),
                cookie: bound.map_or(Cookie::None, Cookie::To),
                values: vec![None, ValueKey::of(&n.to_le_bytes()).filter(|_| value)],
                candidates: all.clone(),
                number: 0,
            };
            let Outcome::To(before) = case.pick() else { panic!("nowhere") };
            case.cookie = match bound {
                Some(index) if removed && index == gone => Cookie::Removed,
                Some(index) => Cookie::To(place(index)),
                None => Cookie::None,
            };
            let Outcome::To(after) = case.pick_of(&left) else { panic!("nowhere") };
            if before.instance == gone {
                prop_assert!(left[after.instance].hash != all[gone].hash);
                prop_assert_eq!(after.rebind.is_some(), bound.is_some());
            } else {
                prop_assert_eq!(after, Choice { instance: place(before.instance), ..before });
            }
        }
    }
}

/// A thousand clients of two proxies that know nothing of each other: 2 to 9 instances, one of them down, each proxy with loads of its
/// own. Half of them have a cookie.
#[test]
fn a_thousand_clients_agree_on_both() {
    let by = [StickyKey::Sid, StickyKey::Cookie, StickyKey::IpHash];
    for count in 2..=9 {
        let mut one = instances(&"ready ".repeat(count));
        one[count / 2].health = Health::Down;
        let two: Vec<_> = one.iter().map(|candidate| Candidate { load: 7, ..*candidate }).collect();
        let mut seen = BTreeSet::new();
        for n in 0..1000_u32 {
            let cookie = if n % 2 == 0 { Cookie::To(n as usize % count) } else { Cookie::None };
            let client = Client {
                need: Need::Start,
                address: IpAddr::V4((0x0a00_0000 + n).into()),
                cookie,
                values: &[],
            };
            let policy =
                Policy { by: &by, ip_hash: RENDEZVOUS, on_down: OnDown::Rebind, balance: Balance::Random };
            let outcome = pick(policy, client, &one, |_| 0);
            assert_eq!(outcome, pick(policy, client, &two, |_| u64::MAX));
            let Outcome::To(choice) = outcome else { panic!("nowhere") };
            seen.insert(choice.instance);
        }
        assert_eq!(seen.len(), count - 1);
    }
}
