use super::ValueKey;
use crate::affinity::ip_hash::{InstanceHash, rendezvous};
use crate::config::model::StickyKey;

type Set = Vec<(usize, InstanceHash, u32)>;

fn set(instances: &[(&str, u32)]) -> Set {
    let hashed = instances.iter().map(|(name, weight)| (InstanceHash::of("socketio", name), *weight));
    hashed.enumerate().map(|(index, (hash, weight))| (index, hash, weight)).collect()
}

fn ten() -> Set {
    let names: Vec<String> = (0..10).map(|n| format!("i{n}:3000")).collect();
    set(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
}

fn choice(set: &Set, value: &[u8]) -> usize {
    rendezvous(ValueKey::of(value).unwrap(), set.iter().copied()).unwrap()
}

// Computed from the description in the module's header by another program (Python, its `xxhash`, logarithms with 60 digits). A
// change that needs other values here moves clients at an upgrade.

#[test]
fn golden_keys_and_choices() {
    let two = set(&[("instance-1:3000", 1), ("instance-2:3000", 1)]);
    let weighted = set(&[("a:1", 1), ("b:1", 2), ("c:1", 5)]);
    let ten = ten();
    for (value, key, expected) in [
        (&b"anna"[..], 0x3836_65dc_7ed9_bea3, [1, 0, 6]),
        (b"1", 0xc7a0_520c_8408_3eb8, [1, 2, 6]),
        (b"42", 0xaae5_6840_dc38_0bb5, [1, 2, 3]),
        (b"00000000-0000-4000-8000-000000000000", 0x78e6_2967_d90e_be25, [0, 1, 8]),
        (b"tenant/7?x=y", 0xcbdf_802c_2cb0_5c3b, [0, 2, 9]),
        ("\u{e4}".as_bytes(), 0x2e07_2fbc_c80f_e88f, [1, 2, 6]),
        ("Zoë Müller".as_bytes(), 0xfa7e_4df5_b837_5dd4, [1, 2, 9]),
        (b"a b", 0x890b_7455_f77a_39ce, [1, 1, 3]),
        (&[b'x'; 300], 0x6f7a_a58f_1157_43d7, [0, 1, 6]),
        (b"\xff\x00\xfe", 0x6b41_c40d_e3fe_4b2b, [0, 1, 4]),
        // No address: another instance than by ip_hash is as good.
        (b"192.0.2.1", 0x8042_432a_d1c2_2d4b, [0, 1, 0]),
    ] {
        let shown = String::from_utf8_lossy(value);
        assert_eq!(ValueKey::of(value), Some(ValueKey(key)), "{shown}");
        assert_eq!([&two, &weighted, &ten].map(|set| choice(set, value)), expected, "{shown}");
    }
    let many: String = (0..80).map(|n| choice(&ten, format!("user-{n}").as_bytes()).to_string()).collect();
    assert_eq!(many, "10136259547943791186714761380146404616523407822862961146306509264696941308672480");
}

#[test]
fn what_a_request_gives() {
    use StickyKey::{Cookie, Header, IpHash, Query};
    let check = |by: &[StickyKey], target: &str, header: Option<&[u8]>, expected: &[Option<&str>]| {
        let header = |name: &str| header.filter(|_| name == "x-user");
        let expected: Vec<_> =
            expected.iter().map(|value| value.map(|value| ValueKey::of(value.as_bytes()).unwrap())).collect();
        assert_eq!(ValueKey::of_request(by, target, header), expected, "{target}");
    };
    let header = || Header("x-user".to_owned());
    let query = || Query("user".to_owned());
    check(&[Cookie, IpHash], "/?user=anna", Some(b"anna"), &[]);
    check(&[], "/?user=anna", Some(b"anna"), &[]);
    check(&[Cookie, header(), query()], "/?user=anna", Some(b"bert"), &[None, Some("bert"), Some("anna")]);
    check(&[query(), header()], "/?user=a%20b", Some(b" \tanna "), &[Some("a b"), Some("anna")]);
    check(&[query()], "/?user=a+b", None, &[Some("a b")]);
    check(&[query()], "/?xuser=1&user=2&user=3", None, &[Some("2")]);
    check(&[header(), query()], "/?user=", Some(b"  "), &[None, None]);
    check(&[header(), query()], "/?users=1", None, &[None, None]);
    check(&[header(), query()], "/", None, &[None, None]);
}

/// Pearson's test, as for addresses: the limit is the 99.9 % quantile of chi-square.
#[test]
fn shares_follow_the_weights() {
    for (weights, limit) in [(&[1, 1][..], 10.83), (&[1, 2, 5], 13.82), (&[1; 10], 27.88)] {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("instance-{n}:3000")).collect();
        let set = set(&names.iter().map(String::as_str).zip(weights.iter().copied()).collect::<Vec<_>>());
        let mut counts = vec![0_u32; weights.len()];
        for n in 0..40_000 {
            counts[choice(&set, format!("tenant-{n}").as_bytes())] += 1;
        }
        let sum: u32 = weights.iter().sum();
        let chi_square = counts.iter().zip(weights).map(|(count, weight)| {
            let expected = 40_000.0 * f64::from(*weight) / f64::from(sum);
            (f64::from(*count) - expected).powi(2) / expected
        });
        let chi_square: f64 = chi_square.sum();
        assert!(chi_square < limit, "{weights:?}: {counts:?}, chi-square {chi_square}");
    }
}

#[test]
fn an_instance_that_goes_takes_only_its_clients_along() {
    let all = ten();
    for gone in 0..all.len() {
        let left: Set = all.iter().copied().filter(|(index, ..)| *index != gone).collect();
        for n in 0..300 {
            let value = format!("user-{n}");
            let (before, after) = (choice(&all, value.as_bytes()), choice(&left, value.as_bytes()));
            assert!(after == before || before == gone, "{value}");
        }
    }
}
