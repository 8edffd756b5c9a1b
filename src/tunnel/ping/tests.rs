use std::ops::Range;

use proptest::prelude::*;

use super::super::frame::Scanner;
use super::*;

/// What our pings carry here.
const OURS: [u8; 8] = *b"stickyd!";

fn pings() -> Pings {
    Pings::new(Moment::default(), u64::from_be_bytes(OURS))
}

fn at(seconds: u64) -> Moment {
    Moment::default().after(Duration::from_secs(seconds))
}

/// A frame with a short payload; `mask`: as a client sends it.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    let mut out = vec![first, len | if mask.is_some() { 0x80 } else { 0 }];
    out.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

#[test]
fn what_is_due_when() {
    let check = |every: u64, act: fn(&mut Pings), expected: (u64, Due)| {
        let mut pings = pings();
        act(&mut pings);
        let (moment, due) = pings.due(Duration::from_secs(every));
        assert_eq!((moment, due), (at(expected.0), expected.1));
    };
    let ask = |pings: &mut Pings| {
        pings.want(at(100));
        assert!(pings.wanted);
        pings.ask(at(101));
        assert!(!pings.wanted);
    };
    check(20, |_| {}, (20, Due::Ask));
    check(20, |pings| pings.heard(at(7)), (27, Due::Ask));
    check(20, |pings| pings.put_off(at(9)), (29, Due::Ask));
    // Wanted, but the direction is inside a frame: looked at again later.
    check(20, |pings| pings.want(at(20)), (40, Due::Ask));
    check(3600, |pings| pings.want(at(3600)), (3630, Due::Ask));
    check(20, ask, (121, Due::Lost));
    // An answer is not awaited for longer than half a minute.
    check(3600, ask, (131, Due::Lost));
    let mut pings = pings();
    ask(&mut pings);
    pings.still_queued(at(110));
    assert_eq!(pings.due(Duration::from_secs(20)), (at(130), Due::Lost));
    pings.heard(at(111));
    // Nothing is on its way any more.
    pings.still_queued(at(112));
    assert_eq!(pings.due(Duration::from_secs(20)), (at(131), Due::Ask));
}

#[test]
fn our_ping_is_one_frame_that_is_not_masked() {
    assert_eq!(pings().ask(at(1)).as_slice(), frame(0x89, &OURS, None));
}

#[test]
fn which_pongs_are_ours() {
    let check = |bytes: &[u8], expected| assert_eq!(pings().own_pong(bytes), expected, "{bytes:x?}");
    let ours = frame(0x8a, &OURS, KEY);
    for len in 0..PONG_LEN {
        check(&ours[..len], Own::Perhaps);
    }
    check(&ours, Own::Yes);
    check(&[&ours[..], &[1, 2, 3]].concat(), Own::Yes);
    check(&frame(0x8a, &OURS, Some([0; 4])), Own::Yes);
    // Known as soon as a byte differs.
    for at in (0..2).chain(6..PONG_LEN) {
        let mut other = ours.clone();
        other[at] ^= 1;
        check(&other, Own::No);
        check(&other[..=at], Own::No);
    }
    check(&frame(0x8a, b"", KEY), Own::No);
    check(&frame(0x8a, &OURS[..7], KEY), Own::No);
    check(&frame(0x8a, &[&OURS[..], b"!"].concat(), KEY), Own::No);
    // A client masks; what does not is the instance's to judge.
    check(&frame(0x8a, &OURS, None), Own::No);
    check(&frame(0x89, &OURS, KEY), Own::No);
    check(&frame(0x0a, &OURS, KEY), Own::No);
}

#[test]
fn a_client_that_owes_the_instance_a_pong_is_not_asked() {
    // Frames in the order in which they pass, `true`: from the client.
    let check = |frames: &[(bool, Vec<u8>)], expected: bool| {
        for piece in [1, 3, 1000] {
            let mut pings = pings();
            let (mut up, mut down) = (Scanner::default(), Scanner::default());
            for (from_client, bytes) in frames {
                // In pieces of the payload: headers are shown whole.
                let head = if *from_client { 6 } else { 2 };
                let pieces = std::iter::once(&bytes[..head]).chain(bytes[head..].chunks(piece));
                for bytes in pieces {
                    if *from_client {
                        up.scan_with(bytes, &mut pings.watch_up());
                    } else {
                        down.scan_with(bytes, &mut pings.watch_down());
                    }
                }
            }
            pings.want(at(1));
            assert_eq!(pings.wanted, expected, "{frames:x?} in pieces of {piece}");
        }
    };
    let ping = |payload: &[u8]| (false, frame(0x89, payload, None));
    let pong = |payload: &[u8]| (true, frame(0x8a, payload, KEY));
    check(&[], true);
    check(&[ping(b"one")], false);
    check(&[ping(b"")], false);
    check(&[ping(&[7; 125])], false);
    check(&[ping(b"one"), pong(b"one")], true);
    check(&[ping(b""), pong(b"")], true);
    check(&[ping(&[7; 125]), pong(&[7; 125])], true);
    check(&[ping(b"one"), pong(b"two")], false);
    check(&[ping(b"one"), pong(b"")], false);
    check(&[ping(b"one"), pong(b"on")], false);
    // Only the latest counts, and who answers that owes nothing.
    check(&[ping(b"one"), ping(b"two"), pong(b"one")], false);
    check(&[ping(b"one"), ping(b"two"), pong(b"two")], true);
    check(&[ping(b"one"), pong(b"one"), ping(b"two")], false);
    // Data and pings of the client answer nothing; a pong of the instance asks for nothing.
    check(&[ping(b"one"), (true, frame(0x82, b"one", KEY)), (true, frame(0x89, b"one", KEY))], false);
    check(&[(false, frame(0x8a, b"one", None)), (false, frame(0x82, b"one", None))], true);
    // Not all of it has passed.
    let (_, whole) = ping(b"one");
    check(&[(false, whole[..4].to_vec())], false);
    let (_, answer) = pong(b"one");
    check(&[ping(b"one"), (true, answer[..8].to_vec())], false);
}

/// A client's frame; the first byte's opcode and reserved bits are anything.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = any::<[u8; 4]>();
    let one = prop_oneof![
        key.prop_map(|key| frame(0x8a, &OURS, Some(key))),
        // Almost ours.
        (any::<[u8; 4]>(), 0..8_usize).prop_map(|(key, at)| {
            let mut payload = OURS;
            payload[at] ^= 0x20;
            frame(0x8a, &payload, Some(key))
        }),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..30), any::<Option<[u8; 4]>>())
            .prop_map(|(first, payload, key)| frame(first, &payload, key)),
        // Ours inside of a message is a message.
        any::<[u8; 4]>().prop_map(|key| frame(0x82, &frame(0x8a, &OURS, KEY), Some(key))),
        Just(frame(0x82, &frame(0x8a, &OURS, KEY), Some([0; 4]))),
    ];
    proptest::collection::vec(one, 0..12)
}

/// What passes of `stream` when it is read up to each of `reads`, by the rule by which a direction uses scan and pings.
fn passed(stream: &[u8], reads: impl Iterator<Item = usize>) -> Result<Vec<u8>, TestCaseError> {
    let mut pings = pings();
    let mut scanner = Scanner::default();
    let (mut out, mut done) = (vec![], 0);
    for shown in reads {
        loop {
            let Range { start, end } = done..shown;
            let scanned = scanner.scan_with(&stream[start..end], &mut pings.watch_up());
            prop_assert!(!scanned.bad);
            out.extend(&stream[start..start + scanned.whole]);
            done += scanned.whole;
            if pings.own_pong(&stream[done..shown]) != Own::Yes {
                break;
            }
            done += PONG_LEN;
        }
        // What is held back fits where it is held.
        prop_assert!(shown - done < HEADER_MAX);
    }
    prop_assert_eq!(done, stream.len());
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the reads bring, everything but our pongs passes as it was sent.
    #[test]
    fn all_but_our_pongs_passes(frames in frames(), cuts in proptest::collection::vec(1..40_usize, 1..40)) {
        let stream = frames.concat();
        let ours = |frame: &&Vec<u8>| pings().own_pong(frame) != Own::Yes;
        let expected: Vec<u8> = frames.iter().filter(ours).flatten().copied().collect();
        let mut end = 0;
        let reads = cuts.iter().cycle().map_while(|cut| {
            (end < stream.len()).then(|| {
                end = (end + cut).min(stream.len());
                end
            })
        });
        prop_assert_eq!(passed(&stream, reads)?, expected);
    }
}
