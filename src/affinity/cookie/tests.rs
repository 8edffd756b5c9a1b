use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::{Binding, InstanceToken, Keys, Rejected, SECRETS_MAX, VALUE_LEN, sealed_by};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";
const NOW: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

fn keys(secrets: &[&str]) -> Keys {
    Keys::parse(&secrets.join("\n")).unwrap()
}

/// A fresh binding of `instance` at `upstream`.
fn sealed(keys: &Keys, upstream: &str, instance: &str, issued: u64) -> Vec<u8> {
    let binding = Binding {
        instance: keys.instance_tokens(upstream, instance)[0],
        issued,
        id: *b"\0\x01\x02\x03\x04\x05\x06\x07",
    };
    let mut value = Vec::new();
    keys.seal(upstream, &binding, &mut value);
    value
}

struct Golden {
    secret: &'static str,
    upstream: &'static str,
    instance: &'static str,
    issued: u64,
    id: u64,
    fingerprint: &'static str,
    token: u64,
    value: &'static str,
}

/// Computed from the description in the module's header by another program (Python's `hmac`, `hashlib`, `base64`). A change
/// that needs other values here unbinds every client at an upgrade.
#[test]
fn golden_vectors() {
    let vectors = [
        Golden {
            secret: OLD,
            upstream: "socketio",
            instance: "instance-1:3000",
            issued: NOW,
            id: 0x0001_0203_0405_0607,
            fingerprint: "63ede4f3",
            token: 0x4151_70b5_3da7_4840,
            value: "AWPt5PNBUXC1PadIQABlU_EAAAECAwQFBgc0Kh9TAF8uPsHTZnA2Wx12",
        },
        Golden {
            secret: OLD,
            upstream: "socketio",
            instance: "instance-2:3000",
            issued: NOW,
            id: 0x0001_0203_0405_0607,
            fingerprint: "63ede4f3",
            token: 0xcdc7_78f9_007a_526d,
            value: "AWPt5PPNx3j5AHpSbQBlU_EAAAECAwQFBgf7kCHs2ozxSujQL6rEi7Qs",
        },
        Golden {
            secret: OLD,
            upstream: "api",
            instance: "instance-1:3000",
            issued: NOW,
            id: 0x0001_0203_0405_0607,
            fingerprint: "63ede4f3",
            token: 0x2697_39b9_22f3_d43b,
            value: "AWPt5PMmlzm5IvPUOwBlU_EAAAECAwQFBgcDUV97riXxed2z3SoIJVao",
        },
        Golden {
            secret: "Sixty-four and more characters: HMAC hashes such a key first. äöü ✓ ok",
            upstream: "socketio",
            instance: "blue-2",
            issued: (1 << 40) - 1,
            id: u64::MAX,
            fingerprint: "63001ad0",
            token: 0xbce0_89fd_29b9_a2d8,
            value: "AWMAGtC84In9Kbmi2P________________8P1bCAJTuqEMRhC9bme08M",
        },
        Golden {
            secret: NEW,
            upstream: "",
            instance: "",
            issued: 0,
            id: 0,
            fingerprint: "c0e52dc9",
            token: 0x2852_01c6_b0b9_3a73,
            value: "AcDlLckoUgHGsLk6cwAAAAAAAAAAAAAAAAAmsa9oH51bOVpxq3NtwwN7",
        },
    ];
    for golden in vectors {
        let keys = keys(&[golden.secret]);
        let token = InstanceToken(golden.token.to_be_bytes());
        let binding = Binding { instance: token, issued: golden.issued, id: golden.id.to_be_bytes() };
        assert_eq!(keys.fingerprint(), golden.fingerprint);
        assert_eq!(keys.instance_tokens(golden.upstream, golden.instance), [token]);
        let mut value = b"x=".to_vec();
        keys.seal(golden.upstream, &binding, &mut value);
        assert_eq!(str::from_utf8(&value[2..]).unwrap(), golden.value);
        assert_eq!(keys.open(golden.upstream, golden.value.as_bytes(), golden.issued, DAY), Ok(binding));
    }
}

#[test]
fn any_changed_byte_is_refused() {
    let keys = keys(&[OLD, NEW]);
    let value = sealed(&keys, "socketio", "instance-1:3000", NOW);
    assert_eq!(value.len(), VALUE_LEN);
    for position in 0..value.len() {
        for byte in 0..=u8::MAX {
            let mut changed = value.clone();
            changed[position] = byte;
            assert_eq!(keys.open("socketio", &changed, NOW, DAY).is_ok(), byte == value[position]);
        }
    }
}

#[test]
fn any_changed_bit_of_the_bytes_is_refused_for_its_reason() {
    let keys = keys(&[OLD, NEW]);
    let raw = URL_SAFE_NO_PAD.decode(sealed(&keys, "socketio", "instance-1:3000", NOW)).unwrap();
    for bit in 0..raw.len() * 8 {
        let mut changed = raw.clone();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        let expected = match bit {
            // 1 becomes 3, 5, 9: successors; or 129, 65, 33, 17, 0: noise
            4..=6 => Rejected::Version,
            8..40 => Rejected::Foreign,
            _ => Rejected::Forged,
        };
        let value = URL_SAFE_NO_PAD.encode(changed);
        assert_eq!(keys.open("socketio", value.as_bytes(), NOW, DAY), Err(expected), "bit {bit}");
    }
}

#[test]
fn rejected_for() {
    let keys = keys(&[OLD]);
    let good = sealed(&keys, "socketio", "a", NOW);
    let check = |value: &[u8], expected| {
        let shown = String::from_utf8_lossy(value);
        assert_eq!(
            keys.open("socketio", value, NOW, DAY).map(|binding| binding.issued),
            expected,
            "{shown:?}"
        );
    };
    check(&good, Ok(NOW));

    check(b"", Err(Rejected::Forged));
    check(b"A", Err(Rejected::Forged));
    check(b"AQE", Err(Rejected::Forged));
    check(b"s%3Aexpress-session.signature", Err(Rejected::Forged));
    check(&good[..VALUE_LEN - 1], Err(Rejected::Forged));
    check(&good[..VALUE_LEN - 4], Err(Rejected::Forged));
    check(&[&good[..], b"A"].concat(), Err(Rejected::Forged));
    check(&[&good[..], b"AAAA"].concat(), Err(Rejected::Forged));
    check(&[&good[..VALUE_LEN - 1], b"="].concat(), Err(Rejected::Forged));
    check(&[b" ", &good[..]].concat(), Err(Rejected::Forged));
    check(&good.repeat(10_000), Err(Rejected::Forged));
    check(&[0xff; VALUE_LEN], Err(Rejected::Forged));
    check(&[0; VALUE_LEN], Err(Rejected::Forged));

    // Versions: the first 8 of the 12 bits in the first two characters.
    check(b"AAAA", Err(Rejected::Forged));
    check(b"AQAA", Err(Rejected::Forged));
    check(b"AgAA", Err(Rejected::Version));
    check(b"Ag-_and anything else, of any length", Err(Rejected::Version));
    check(b"Dw__", Err(Rejected::Version));
    check(b"EAAA", Err(Rejected::Forged));

    let stranger = Keys::parse(NEW).unwrap();
    check(&sealed(&stranger, "socketio", "a", NOW), Err(Rejected::Foreign));
    // One secret may serve several upstreams; their cookies are still no use to each other.
    check(&sealed(&keys, "socketi", "oa", NOW), Err(Rejected::Forged));
    check(&sealed(&keys, "", "a", NOW), Err(Rejected::Forged));
}

#[test]
fn who_claims_to_have_sealed_it() {
    let check = |value: &[u8], expected: Option<&str>| assert_eq!(sealed_by(value).as_deref(), expected);
    let mut value = sealed(&keys(&[OLD]), "socketio", "a", NOW);
    check(&value, Some("63ede4f3"));
    value[VALUE_LEN - 1] ^= 1;
    check(&value, Some("63ede4f3"));
    check(&sealed(&keys(&[NEW, OLD]), "socketio", "a", NOW), Some(&keys(&[NEW]).fingerprint()));
    check(&value[1..], None);
    check(b"Ag-_and anything else, of any length", None);
    check(b"", None);
}

#[test]
fn honoured_from_a_minute_before_to_the_end_of_its_ttl() {
    let keys = keys(&[OLD]);
    let check = |issued: u64, now: u64, ttl: u64, ok: bool| {
        let value = sealed(&keys, "socketio", "a", issued);
        let opened = keys.open("socketio", &value, now, ttl).map(|binding| binding.issued);
        assert_eq!(opened, if ok { Ok(issued) } else { Err(Rejected::Expired) }, "{issued} {now} {ttl}");
    };
    check(NOW, NOW, DAY, true);
    check(NOW, NOW + DAY, DAY, true);
    check(NOW, NOW + DAY + 1, DAY, false);
    check(NOW, NOW, 0, true);
    check(NOW, NOW + 1, 0, false);
    check(NOW + 60, NOW, DAY, true);
    check(NOW + 61, NOW, DAY, false);
    check(0, 0, 0, true);
    check(0, u64::MAX, DAY, false);
    check(0, u64::MAX, u64::MAX, true);
    check((1 << 40) - 1, NOW, u64::MAX, false);
}

#[test]
fn expired_is_said_of_our_own_only() {
    let stranger = sealed(&keys(&[NEW]), "socketio", "a", 0);
    assert_eq!(keys(&[OLD]).open("socketio", &stranger, NOW, DAY), Err(Rejected::Foreign));
    let mut forged = sealed(&keys(&[OLD]), "socketio", "a", 0);
    forged[VALUE_LEN - 1] ^= 1;
    assert_eq!(keys(&[OLD]).open("socketio", &forged, NOW, DAY), Err(Rejected::Forged));
}

#[test]
fn is_renewed_past_half_of_its_ttl() {
    let binding = Binding { instance: InstanceToken([0; 8]), issued: NOW, id: [0; 8] };
    for (now, expected) in
        [(NOW - 60, false), (NOW, false), (NOW + 50, false), (NOW + 51, true), (u64::MAX, true)]
    {
        assert_eq!(binding.is_past_half(now, 100), expected, "{now}");
    }
}

/// The life of a rotation: the new secret is added in front of the old, then the old one is removed.
#[test]
fn bindings_survive_a_rotation() {
    let instances = ["instance-1:3000", "instance-2:3000", "instance-3:3000"];
    let find = |keys: &Keys, value: &[u8]| {
        let tokens = instances.map(|name| keys.instance_tokens("socketio", name));
        keys.open("socketio", value, NOW, DAY)
            .map(|binding| binding.instance_of(tokens.iter().map(Vec::as_slice)))
    };
    let (before, during, after) = (keys(&[OLD]), keys(&[NEW, OLD]), keys(&[NEW]));
    for (index, name) in instances.into_iter().enumerate() {
        let by_old = sealed(&before, "socketio", name, NOW);
        let by_new = sealed(&during, "socketio", name, NOW);
        assert_eq!(find(&before, &by_old), Ok(Some(index)));
        assert_eq!(find(&before, &by_new), Err(Rejected::Foreign));
        assert_eq!(find(&during, &by_old), Ok(Some(index)));
        assert_eq!(find(&during, &by_new), Ok(Some(index)));
        assert_eq!(find(&after, &by_old), Err(Rejected::Foreign));
        assert_eq!(find(&after, &by_new), Ok(Some(index)));
    }
    let removed = sealed(&during, "socketio", "instance-4:3000", NOW);
    assert_eq!(find(&during, &removed), Ok(None));
}

#[test]
fn tokens_tell_identities_apart() {
    let keys = keys(&[OLD, NEW]);
    let mut seen = Vec::new();
    for (upstream, instance) in [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("bc", "a")] {
        let tokens = keys.instance_tokens(upstream, instance);
        assert_eq!(tokens.len(), 2);
        seen.extend(tokens.iter().map(|token| token.0));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 10);
}

#[test]
fn secret_files() {
    let check = |content: &str, expected: Result<(&str, usize), &str>| {
        let parsed = Keys::parse(content);
        let shown = parsed.map(|keys| (keys.fingerprint(), keys.instance_tokens("u", "i").len()));
        assert_eq!(
            shown,
            expected.map(|(print, count)| (print.to_owned(), count)).map_err(str::to_owned),
            "{content:?}"
        );
    };
    check(OLD, Ok(("63ede4f3", 1)));
    check(&format!("{OLD}\n"), Ok(("63ede4f3", 1)));
    check(&format!("# first\r\n\r\n  {NEW}\t\r\n#{OLD}\n{OLD}"), Ok(("c0e52dc9", 2)));
    check(&"ü".repeat(32), Ok(("7e794148", 1)));

    check("", Err("there is no secret in it"));
    check("# nothing\n\n", Err("there is no secret in it"));
    check(&format!("{OLD}\nshort"), Err("line 2: the secret has 5 characters, at least 32 are needed"));
    check(&"ü".repeat(31), Err("line 1: the secret has 31 characters, at least 32 are needed"));
    check(&format!("{OLD}\n{NEW}\n {OLD}"), Err("line 3: the same secret as in line 1"));

    let many = |count: usize| (0..count).map(|n| format!("{OLD}{n}")).collect::<Vec<_>>().join("\n");
    assert!(Keys::parse(&many(SECRETS_MAX)).is_ok());
    check(&many(SECRETS_MAX + 1), Err("line 17: more than 16 secrets"));
}

#[test]
fn a_generated_file_is_a_file_with_one_fresh_secret() {
    let (one, two) = (Keys::generate(), Keys::generate());
    assert_ne!(one, two);
    let (one, two) = (Keys::parse(&one).unwrap(), Keys::parse(&two).unwrap());
    assert_eq!(one.instance_tokens("u", "i").len(), 1);
    assert_ne!(one.fingerprint(), two.fingerprint());
}

#[test]
fn debug_shows_the_fingerprint_only() {
    assert_eq!(format!("{:?}", keys(&[OLD, NEW])), "Keys(63ede4f3)");
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        upstream in ".{0,80}",
        token: [u8; 8],
        id: [u8; 8],
        issued in 0_u64..1 << 40,
        age in 0_u64..=DAY,
    ) {
        let keys = keys(&[NEW, OLD]);
        let binding = Binding { instance: InstanceToken(token), issued, id };
        let mut value = Vec::new();
        keys.seal(&upstream, &binding, &mut value);
        let octets = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        prop_assert!(octets && value.len() == VALUE_LEN);
        prop_assert_eq!(keys.open(&upstream, &value, issued + age, DAY), Ok(binding));
        let other = format!("{upstream}x");
        prop_assert_eq!(keys.open(&other, &value, issued + age, DAY), Err(Rejected::Forged));
    }

    #[test]
    fn nothing_else_opens(value: Vec<u8>, text in "A[QR][A-Za-z0-9_-]{54}") {
        let keys = keys(&[OLD]);
        prop_assert!(keys.open("socketio", &value, NOW, u64::MAX).is_err());
        prop_assert!(keys.open("socketio", text.as_bytes(), NOW, u64::MAX).is_err());
    }
}
