//! Messages, there and back; and what is none.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn known(cors: Option<&[u8]>) -> Known<()> {
    Known {
        key: SidKey::of(u64::MAX - 3),
        client: ClientKey::of(Ipv4Addr::new(192, 0, 2, 9).into(), 24, 56),
        home: (),
        cors: cors.map(Into::into),
        lifetime: Duration::from_secs(55),
        used: true,
    }
}

#[test]
fn sessions_there_and_back() {
    for cors in [None, Some(b"Vary: Origin\r\n".as_slice()), Some(&[0, 9, 127, 128, 200, 255])] {
        let sid = Sid::of(&known(cors), ("app", "blue"), Life::Tunnel, 7);
        let bytes = encode(&Offered::Sids(vec![sid.clone()]));
        let Ok(Offered::Sids(mut back)) = decode(&bytes) else { panic!("{bytes:?}") };
        let back = back.remove(0);
        assert_eq!(
            (back.upstream.as_str(), back.instance.as_str(), back.by, back.hash),
            ("app", "blue", Life::Tunnel, 7)
        );
        assert_eq!(back.known(()), known(cors));
    }
}

#[test]
fn those_who_rest_there_and_back() {
    let until = Duration::from_millis(1234);
    for who in [Who::Binding([7; 8]), Who::Address(ClientKey(Ipv4Addr::LOCALHOST.into()))] {
        let bytes = encode(&Resting::of(who, "app", "blue", until));
        assert_eq!(decode::<Resting>(&bytes).unwrap().who(), Some((who, until)));
    }
    let nobody = r#"{"upstream":"a","instance":"b","binding":null,"address":null,"until":5}"#;
    assert_eq!(decode::<Resting>(nobody.as_bytes()).unwrap().who(), None);
}

#[test]
fn other_versions() {
    let check = |text: &str, understood: bool| {
        assert_eq!(decode::<Offered>(text.as_bytes()).is_ok(), understood, "{text}");
    };
    check(r#""All""#, true);
    check(r#"{"Sockets":{"of":":80","first":true,"kept":false}}"#, true);
    // A field that came later is ignored, one that is missing is not made up.
    check(r#"{"Sockets":{"of":":80","first":true,"kept":false,"later":[1]}}"#, true);
    check(r#"{"Sockets":{"of":":80"}}"#, false);
    check(r#"{"Quantum":{}}"#, false);
    check(r#"{"Sids":[{"k":1,"c":"nowhere","u":"a","i":"b","b":"p","l":5,"s":true}]}"#, false);
    check(r#"{"Sids":[{"k":-1,"c":"::1","u":"a","i":"b","b":"p","l":5,"s":true}]}"#, false);
    check("", false);
    check("\u{0}", false);
}

#[test]
fn lists_come_in_pieces_that_fit() {
    let long = "x".repeat(512);
    let sid = Sid::of(&known(Some(long.as_bytes())), (&"u".repeat(60), &"i".repeat(60)), Life::Polling, 7);
    let (mut messages, mut sids) = (0, 0);
    in_pieces(std::iter::repeat_n(sid, 1000), Offered::Sids, |piece| {
        assert!(encode(piece).len() <= LARGEST);
        let Offered::Sids(some) = piece else { panic!() };
        (messages, sids) = (messages + 1, sids + some.len());
        Ok::<_, ()>(())
    })
    .unwrap();
    assert!(sids == 1000 && messages > 10, "{messages}");
    in_pieces([], Offered::Sids, |_| Err("nothing is sent")).unwrap();
}

proptest! {
    /// Whatever comes, it is a message or an error.
    #[test]
    fn bytes_of_anybody(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Offered>(&bytes);
        let _ = decode::<Answered>(&bytes);
    }

    /// Also when it is nearly one.
    #[test]
    fn a_broken_message(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&Offered::Sids(vec![Sid::of(&known(Some(b"a")), ("app", "blue"), Life::Left, 7)]));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Offered::Sids(some)) = decode(&bytes) {
            for sid in some {
                let _ = sid.known(());
            }
        }
    }
}
