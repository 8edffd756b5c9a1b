use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{InstanceHash, nginx, rendezvous};
use crate::affinity::ClientKey;

type Set = Vec<(usize, InstanceHash, u32)>;

fn set(instances: &[(&str, u32)]) -> Set {
    let hashed = instances.iter().map(|(name, weight)| (InstanceHash::of("socketio", name), *weight));
    hashed.enumerate().map(|(index, (hash, weight))| (index, hash, weight)).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(text: &str) -> ClientKey {
    ClientKey::of(address(text), 32, 64)
}

fn nth_client(n: u32) -> ClientKey {
    ClientKey(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
}

fn choice(set: &Set, client: ClientKey) -> Option<usize> {
    rendezvous(client, set.iter().copied())
}

fn ten() -> Set {
    let names: Vec<String> = (0..10).map(|n| format!("i{n}:3000")).collect();
    set(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
}

// The vectors of this file were computed from the description in the module's header, and for nginx from the text of its
// module, by another program (Python, its `xxhash`, logarithms with 60 digits; nginx's also compared with a real one). A change
// that needs other values here moves clients at an upgrade.

#[test]
fn golden_identities() {
    for (upstream, instance, expected) in [
        ("socketio", "instance-1:3000", 0x92e3_d672_6808_d26a),
        ("socketio", "instance-2:3000", 0xe313_f527_2136_f2a1),
        ("socketio", "blue-2", 0xcefc_027f_dfad_986b),
        ("api", "instance-1:3000", 0x6d5f_30e9_d4ad_c7f9),
        ("", "", 0x0389_d142_05ca_a9d8),
        ("a", "bc", 0xda2e_b4f1_c9a0_c684),
        ("ab", "c", 0x19a0_db46_00aa_a694),
        ("socketio", &"x".repeat(300), 0x9f91_57b5_9d22_d14a),
    ] {
        assert_eq!(InstanceHash::of(upstream, instance).0, expected, "{upstream} {instance}");
    }
}

#[test]
fn golden_choices() {
    let two = set(&[("instance-1:3000", 1), ("instance-2:3000", 1)]);
    let weighted = set(&[("a:1", 1), ("b:1", 2), ("c:1", 5)]);
    let ten = ten();
    for (client, expected) in [
        ("192.0.2.1", [1, 2, 6]),
        ("192.0.2.2", [0, 1, 8]),
        ("198.51.100.77", [0, 1, 0]),
        ("203.0.113.9", [0, 1, 8]),
        ("10.1.2.3", [0, 0, 2]),
        ("0.0.0.0", [1, 2, 5]),
        ("255.255.255.255", [1, 2, 9]),
        ("127.0.0.1", [1, 1, 6]),
        ("8.8.8.8", [1, 2, 7]),
        ("172.16.254.3", [0, 2, 7]),
        ("2001:db8::1", [1, 2, 0]),
        ("2001:db8:0:0:ffff::1", [1, 2, 0]),
        ("2001:db8:0:1::1", [0, 0, 6]),
        ("fe80::1", [1, 2, 6]),
        ("2a00:1450:4001:81b::200e", [0, 1, 8]),
        ("::ffff:192.0.2.1", [1, 2, 6]),
        ("::", [0, 1, 4]),
        ("::1", [0, 1, 4]),
    ] {
        let chosen = [&two, &weighted, &ten].map(|set| choice(set, key(client)).unwrap());
        assert_eq!(chosen, expected, "{client}");
    }

    let chosen = |clients: &mut dyn Iterator<Item = ClientKey>| -> String {
        clients.map(|client| choice(&ten, client).unwrap().to_string()).collect()
    };
    assert_eq!(
        chosen(&mut (0..80).map(|n| key(&format!("10.0.{n}.0")))),
        "99356014487119494602301068696692459168062558904172348629172098380618116749894464"
    );
    assert_eq!(
        chosen(&mut (0..40).map(|n| ClientKey::of(address(&format!("10.{n}.0.1")), 16, 48))),
        "9083320752862325496141685131238019036242"
    );
    assert_eq!(
        chosen(&mut (0..40).map(|n| ClientKey::of(address(&format!("2001:db8:{n}:1::1")), 16, 48))),
        "0781907576192681463132721809222896479870"
    );

    let skew = set(&[("big:1", 1000), ("small:1", 1)]);
    let small: Vec<u32> = (0..3000).filter(|n| choice(&skew, nth_client(*n)) == Some(1)).collect();
    let at = |low: [u32; 2]| low[0] * 256 + low[1];
    assert_eq!(small, [at([1, 46]), at([4, 36]), at([5, 88]), at([6, 7]), at([8, 157])]);
}

#[test]
fn client_keys() {
    for (client, ipv4_prefix, ipv6_prefix, expected) in [
        ("192.0.2.129", 32, 64, "192.0.2.129"),
        ("192.0.2.129", 25, 64, "192.0.2.128"),
        ("192.0.2.129", 24, 64, "192.0.2.0"),
        ("192.0.2.129", 0, 64, "0.0.0.0"),
        ("192.0.2.129", 255, 64, "192.0.2.129"),
        ("::ffff:192.0.2.129", 32, 64, "192.0.2.129"),
        ("::ffff:192.0.2.129", 24, 64, "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::"),
        ("2001:db8:1:2:3:4:5:6", 32, 63, "2001:db8:1:2::"),
        ("2001:db8:1:3:3:4:5:6", 32, 63, "2001:db8:1:2::"),
        ("2001:db8:1:2:3:4:5:6", 32, 0, "::"),
        ("2001:db8:1:2:3:4:5:6", 32, 255, "2001:db8:1:2:3:4:5:6"),
    ] {
        let expected = ClientKey(address(expected));
        assert_eq!(ClientKey::of(address(client), ipv4_prefix, ipv6_prefix), expected, "{client}");
    }
}

#[test]
fn nobody_to_choose() {
    assert_eq!(choice(&set(&[]), key("192.0.2.1")), None);
    assert_eq!(choice(&set(&[("a", 0)]), key("192.0.2.1")), None);
    assert_eq!(choice(&set(&[("a", 0), ("b", 1)]), key("192.0.2.1")), Some(1));
}

/// Pearson's test on many clients: `limit` is the 99.9 % quantile of chi-square for one degree less than there are weights. The
/// clients are always the same, so this passes always or never.
#[test]
fn shares_follow_the_weights() {
    for (weights, clients, limit) in [
        (&[1, 1][..], 40_000, 10.83),
        (&[1, 2, 5], 40_000, 13.82),
        (&[1000, 1], 400_000, 10.83),
        (&[1; 10], 40_000, 27.88),
        (&[1, 10, 100, 1000], 100_000, 16.27),
    ] {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("instance-{n}:3000")).collect();
        let set = set(&names.iter().map(String::as_str).zip(weights.iter().copied()).collect::<Vec<_>>());
        let mut counts = vec![0_u32; weights.len()];
        for n in 0..clients {
            counts[choice(&set, nth_client(n)).unwrap()] += 1;
        }
        let sum: u32 = weights.iter().sum();
        let chi_square: f64 = counts
            .iter()
            .zip(weights)
            .map(|(count, weight)| {
                let expected = f64::from(clients) * f64::from(*weight) / f64::from(sum);
                (f64::from(*count) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_square < limit, "{weights:?}: {counts:?}, chi-square {chi_square}");
    }
}

/// Whose first choice is gone is spread over the others by their weights, not given to one of them.
#[test]
fn a_lost_share_is_spread_by_weight() {
    let all = set(&[("a", 4), ("b", 1), ("c", 3)]);
    let left = all[1..].to_vec();
    let mut counts = [0_u32; 3];
    for client in (0..40_000).map(nth_client).filter(|client| choice(&all, *client) == Some(0)) {
        counts[choice(&left, client).unwrap()] += 1;
    }
    let share = f64::from(counts[1]) / f64::from(counts[1] + counts[2]);
    assert!(counts[0] == 0 && (share - 0.25).abs() < 0.02, "{counts:?}");
}

prop_compose! {
    /// One to twelve instances of any weights and a hundred clients.
    fn situation()(
        weights in prop::collection::vec(prop_oneof![Just(1), 1..=1000_u32], 1..12),
        salt: u32,
        clients: [u128; 16],
    ) -> (Set, Vec<ClientKey>) {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("{salt}-{n}")).collect();
        let set = set(&names.iter().map(String::as_str).zip(weights).collect::<Vec<_>>());
        let wide = clients.iter().map(|bits| ClientKey::of(IpAddr::V6((*bits).into()), 32, 64));
        (set, wide.chain((0..84).map(|n| nth_client(salt.wrapping_add(n) & 0xff_ffff))).collect())
    }
}

proptest! {
    #[test]
    fn removing_an_instance_moves_only_its_clients((set, clients) in situation(), gone: prop::sample::Index) {
        let gone = gone.index(set.len());
        let left: Set = set.iter().copied().filter(|(index, ..)| *index != gone).collect();
        for client in clients {
            let (before, after) = (choice(&set, client).unwrap(), choice(&left, client));
            let stayed = after == Some(before);
            prop_assert!(stayed || before == gone);
            prop_assert!(after != Some(gone));
        }
    }

    #[test]
    fn adding_an_instance_takes_clients_for_it_only((set, clients) in situation(), weight in 1..=1000_u32) {
        let mut more = set.clone();
        more.insert(set.len() / 2, (set.len(), InstanceHash::of("socketio", "new"), weight));
        for client in clients {
            let (before, after) = (choice(&set, client).unwrap(), choice(&more, client).unwrap());
            prop_assert!(after == before || after == set.len());
        }
    }

    #[test]
    fn a_weight_moves_clients_to_or_from_its_instance_only(
        (set, clients) in situation(),
        changed: prop::sample::Index,
        weight in 1..=1000_u32,
    ) {
        let changed = changed.index(set.len());
        let mut other = set.clone();
        let grows = weight >= other[changed].2;
        other[changed].2 = weight;
        for client in clients {
            let (before, after) = (choice(&set, client).unwrap(), choice(&other, client).unwrap());
            let moved = if grows { after == changed } else { before == changed };
            prop_assert!(moved || after == before);
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter((mut set, clients) in situation(), turn: prop::sample::Index) {
        let before: Vec<_> = clients.iter().map(|client| choice(&set, *client)).collect();
        let turn = turn.index(set.len());
        set.rotate_left(turn);
        prop_assert_eq!(&before, &clients.iter().map(|client| choice(&set, *client)).collect::<Vec<_>>());
        set.reverse();
        prop_assert_eq!(&before, &clients.iter().map(|client| choice(&set, *client)).collect::<Vec<_>>());
    }

    #[test]
    fn nginx_chooses_only_who_is_usable(bits: u128, v4: u32, weights in prop::collection::vec((0..=1000_u32, any::<bool>()), 0..10)) {
        for client in [IpAddr::V6(bits.into()), IpAddr::V4(Ipv4Addr::from_bits(v4))] {
            let chosen = nginx(client, &weights.iter().map(|(weight, _)| *weight), |index| weights[index].1);
            if let Some(index) = chosen {
                prop_assert!(weights[index].1 && weights[index].0 > 0);
            }
        }
    }
}

fn like_nginx(client: &str, weights: &[u32], usable: &[u8]) -> Option<usize> {
    nginx(address(client), &weights.iter().copied(), |index| usable[index] == 1)
}

#[test]
fn nginx_vectors() {
    for (client, expected) in [
        ("192.0.2.1", [1, 0, 2, 1]),
        ("192.0.2.2", [1, 0, 2, 1]),
        ("198.51.100.77", [0, 0, 0, 1]),
        ("203.0.113.9", [0, 0, 0, 1]),
        ("10.1.2.3", [0, 1, 0, 1]),
        ("0.0.0.0", [1, 1, 2, 2]),
        ("255.255.255.255", [1, 0, 2, 1]),
        ("127.0.0.1", [0, 2, 0, 2]),
        ("8.8.8.8", [1, 2, 2, 2]),
        ("172.16.254.3", [1, 1, 2, 2]),
        ("2001:db8::1", [0, 2, 0, 1]),
        ("2001:db8:0:0:ffff::1", [0, 1, 0, 2]),
        ("2001:db8:0:1::1", [0, 2, 0, 2]),
        ("fe80::1", [1, 0, 0, 2]),
        ("::1", [1, 2, 0, 1]),
        ("2a00:1450:4001:81b::200e", [1, 0, 1, 1]),
        ("::ffff:192.0.2.1", [1, 0, 2, 1]),
        ("::", [0, 1, 0, 2]),
    ] {
        let chosen = [
            like_nginx(client, &[1, 1], &[1, 1]),
            like_nginx(client, &[1, 1, 1], &[1, 1, 1]),
            like_nginx(client, &[5, 1, 2], &[1, 1, 1]),
            like_nginx(client, &[1, 1, 1, 1], &[0, 1, 1, 0]),
        ];
        assert_eq!(chosen, expected.map(Some), "{client}");
    }

    let many = |weights: &[u32], usable: &[u8]| -> String {
        (0..80).map(|n| like_nginx(&format!("10.0.{n}.0"), weights, usable).unwrap().to_string()).collect()
    };
    assert_eq!(
        many(&[5, 1, 2], &[1, 1, 1]),
        "12200000122000001220000012200000122000001220000012200000122000001220000012200000"
    );
    assert_eq!(
        many(&[3, 7, 1, 1, 9], &[1, 0, 1, 1, 0]),
        "23002032300002300000033332232300000020300000000032302020000300003000002322200002"
    );
}

/// The first try and twenty more; then round robin decides.
#[test]
fn nginx_gives_up_after_twenty_retries() {
    let calls = std::cell::Cell::new(0);
    let never = |_| {
        calls.set(calls.get() + 1);
        false
    };
    assert_eq!(nginx(address("192.0.2.1"), &[1, 1].into_iter(), never), None);
    assert_eq!(calls.get(), 21);
    assert_eq!(like_nginx("192.0.2.1", &[1000, 1], &[0, 1]), None);
    assert_eq!(like_nginx("2001:db8:0:0:ffff::1", &[1000, 1], &[0, 1]), Some(1));
    assert_eq!(like_nginx("192.0.2.1", &[], &[]), None);
    assert_eq!(like_nginx("192.0.2.1", &[1], &[1]), Some(0));
}
