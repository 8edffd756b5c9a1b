//! The answer that starts a session: nothing panics, wherever it is cut the same is found, after the same byte and once, and what
//! is found keeps the bounds. The first byte says how many cuts there are, the next ones where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::affinity::sid::open_packet::{BYTES_MAX, Found, Learner, SID_MAX, TIME_MAX};
use stickyd::affinity::sid::{LIFETIME_MAX, lifetime};

fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else { return };
    let (cuts, body) = data.split_at(usize::from(count % 8).min(data.len()));
    let mut cuts: Vec<_> = cuts.iter().map(|cut| usize::from(*cut).min(body.len())).collect();
    cuts.sort_unstable();

    let each: Vec<_> = (0..body.len()).collect();
    let (found, after) = learn(body, &each);
    assert!(after <= body.len().min(BYTES_MAX));
    assert_eq!(learn(body, &[]).0, found);
    assert_eq!(learn(body, &cuts).0, found);
    // What comes behind changes nothing.
    if after < body.len() {
        assert_eq!(learn(&body[..after], &[]).0, found);
    }

    let Found::Opened(opened) = found else {
        assert_eq!(found, Found::Unreadable);
        return;
    };
    assert!(!opened.sid.is_empty() && opened.sid.len() <= SID_MAX);
    assert!(opened.ping_interval <= TIME_MAX && opened.ping_timeout <= TIME_MAX);
    assert!(lifetime(&opened) <= LIFETIME_MAX);
});

/// What is found, and after how many bytes.
fn learn(body: &[u8], cuts: &[usize]) -> (Found, usize) {
    let mut learner = Learner::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([body.len()]) {
        match learner.feed(&body[start..end]) {
            Found::NotYet => {}
            found => {
                assert_eq!(learner.feed(&body[end..]), Found::NotYet);
                assert_eq!(learner.end(), Found::NotYet);
                return (found, end);
            }
        }
        start = end;
    }
    (learner.end(), body.len())
}
