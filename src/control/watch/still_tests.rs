use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A stamp that is told from others by its size.
fn stamp(size: u64) -> Stamp {
    Stamp { device: 1, inode: 2, size, modified: (3, 0), changed: (3, 0) }
}

/// Runs looks at milliseconds that see a content, or nothing for ""; what followed, and when: `+content`, `lost`, `back`.
fn run(looks: &[(u64, &str)]) -> Vec<String> {
    let mut watch = Watch::new(Digest::of(b"a"));
    let mut events = Vec::new();
    for (at, content) in looks {
        let event = match *content {
            "" => watch.could_not_read("gone", ms(*at)),
            content => {
                let stamp = stamp(u64::from(content.as_bytes()[0]) << 8 | content.len() as u64);
                watch.must_read(stamp, ms(*at)).then(|| watch.read(stamp, content.into(), ms(*at))).flatten()
            }
        };
        events.extend(event.map(|event| match event {
            Event::Changed(content) => format!("{at}: +{}", String::from_utf8(content).unwrap()),
            Event::Lost(why) => format!("{at}: {why}"),
            Event::Back => format!("{at}: back"),
        }));
    }
    events
}

#[test]
fn what_follows_from_looks() {
    let check = |looks: &[(u64, &str)], expected: &[&str]| assert_eq!(run(looks), expected, "{looks:?}");
    check(&[(0, "a"), (1000, "a"), (2000, "a")], &[]);
    // New, and still for a second; said once.
    check(&[(0, "a"), (250, "b"), (1000, "b"), (1249, "b")], &[]);
    check(&[(0, "a"), (250, "b"), (1250, "b"), (2500, "b"), (9000, "b")], &["1250: +b"]);
    // New before the first look.
    check(&[(0, "b"), (1000, "b")], &["1000: +b"]);
    // Written in pieces.
    check(&[(0, "b"), (500, "bb"), (1000, "bbb"), (1500, "bbb"), (2000, "bbb")], &["2000: +bbb"]);
    // There and back again, too quickly, and slowly.
    check(&[(0, "b"), (900, "a"), (2000, "a"), (3000, "a")], &[]);
    check(&[(0, "b"), (900, "a"), (1000, "b"), (1900, "b"), (2000, "b")], &["2000: +b"]);
    check(&[(0, "b"), (1000, "b"), (1250, "a"), (2250, "a")], &["1000: +b", "2250: +a"]);
    // Gone for a moment; for good; and what comes after.
    check(&[(0, "a"), (250, ""), (500, "a"), (5000, "a")], &[]);
    check(&[(0, "a"), (250, ""), (1250, ""), (2500, ""), (9000, "")], &["1250: gone"]);
    check(&[(0, ""), (1000, ""), (1250, "a"), (3000, "a")], &["1000: gone", "1250: back"]);
    check(&[(0, ""), (1000, ""), (1250, "b"), (2250, "b")], &["1000: gone", "1250: back", "2250: +b"]);
    check(
        &[(0, ""), (1000, ""), (1250, "b"), (1500, ""), (2500, "")],
        &["1000: gone", "1250: back", "2500: gone"],
    );
    // What was seen before it was gone must be still anew.
    check(&[(0, "b"), (900, ""), (1000, "b"), (1900, "b"), (2000, "b")], &["2000: +b"]);
}

#[test]
fn when_it_is_read() {
    let mut watch = Watch::new(Digest::of(b"a"));
    let check = |watch: &Watch, size: u64, at: u64, expected: bool| {
        assert_eq!(watch.must_read(stamp(size), ms(at)), expected, "{size} at {at}");
    };
    check(&watch, 1, 0, true);
    watch.read(stamp(1), b"a".into(), ms(0));
    // A stamp is believed when it is old enough, and for a while.
    check(&watch, 1, 250, true);
    watch.read(stamp(1), b"a".into(), ms(750));
    check(&watch, 1, 1000, false);
    check(&watch, 1, 10_749, false);
    check(&watch, 1, 10_750, true);
    check(&watch, 2, 1000, true);
    // What waits is read.
    watch.read(stamp(2), b"bb".into(), ms(11_000));
    check(&watch, 2, 11_999, true);
    assert_eq!(watch.read(stamp(2), b"bb".into(), ms(12_000)), Some(Event::Changed(b"bb".into())));
    check(&watch, 2, 12_250, false);
    watch.could_not_read("gone", ms(12_500));
    check(&watch, 2, 12_750, true);
}

/// Looks, with what they see: a number, or nothing.
fn looks() -> impl Strategy<Value = Vec<(u64, Option<u8>)>> {
    // Long runs of the same are what matters.
    let run = (prop::option::weighted(0.8, 0..3_u8), prop::collection::vec(1..600_u64, 1..6));
    prop::collection::vec(run, 0..12).prop_map(|runs| {
        let mut at = 0;
        let looks =
            runs.into_iter().flat_map(|(content, steps)| steps.into_iter().map(move |step| (step, content)));
        looks
            .map(|(step, content)| {
                at += step;
                (at, content)
            })
            .collect()
    })
}

/// Since when it has been as the last of `looks` saw it.
fn since(looks: &[(u64, Option<u8>)]) -> u64 {
    let (last, content) = *looks.last().unwrap();
    looks.iter().rev().take_while(|(_, other)| *other == content).last().map_or(last, |(first, _)| *first)
}

proptest! {
    #[test]
    fn handed_on_is_what_is_new_and_still(looks in looks()) {
        let mut watch = Watch::new(Digest::of(&[0]));
        let (mut known, mut lost) = (0, false);
        for (index, (at, content)) in looks.iter().enumerate() {
            let first = since(&looks[..=index]);
            let is_still = at - first >= 1000;
            let event = match content {
                None => watch.could_not_read("gone", ms(*at)),
                // A stamp that never changes: a file system that says nothing.
                Some(content) if watch.must_read(stamp(1), ms(*at)) => watch.read(stamp(1), vec![*content], ms(*at)),
                Some(_) => None,
            };
            match (content, event) {
                (None, event) => {
                    prop_assert_eq!(event.is_some(), is_still && !lost);
                    lost |= is_still;
                }
                (Some(_), Some(Event::Back)) => prop_assert!(std::mem::take(&mut lost)),
                (Some(content), Some(Event::Changed(new))) => {
                    prop_assert!(!lost && is_still && *content != known);
                    prop_assert_eq!(&new, &[*content]);
                    known = *content;
                }
                // Late by as long as a stamp is believed, at most.
                (Some(content), None) => prop_assert!(*content == known || at - first < 12_200),
                (Some(_), Some(Event::Lost(_))) => prop_assert!(false, "lost and read"),
            }
        }
    }

    #[test]
    fn with_true_stamps_nothing_is_late(looks in looks()) {
        let mut watch = Watch::new(Digest::of(&[0]));
        let mut known = 0;
        for (index, (at, content)) in looks.iter().enumerate() {
            let first = since(&looks[..=index]);
            let is_still = at - first >= 1000;
            let Some(content) = content else {
                watch.could_not_read("gone", ms(*at));
                continue;
            };
            let stamp = stamp(u64::from(*content));
            let event = if watch.must_read(stamp, ms(*at)) { watch.read(stamp, vec![*content], ms(*at)) } else { None };
            let is_change = matches!(event, Some(Event::Changed(_)));
            prop_assert_eq!(is_change, is_still && *content != known);
            if is_change {
                known = *content;
            }
        }
    }
}
