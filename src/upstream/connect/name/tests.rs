use super::*;

const RULES: Resolve = Resolve { every: s(30), forget: s(600) };

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `"1 2"`: 192.0.2.1 and 192.0.2.2.
fn addresses(text: &str) -> Vec<SocketAddr> {
    text.split_whitespace().map(|last| format!("192.0.2.{last}:80").parse().unwrap()).collect()
}

fn show(addresses: &[SocketAddr]) -> String {
    let last = |address: &SocketAddr| address.ip().to_string().rsplit('.').next().unwrap().to_owned();
    addresses.iter().map(last).collect::<Vec<_>>().join(" ")
}

fn address(last: &str) -> SocketAddr {
    addresses(last)[0]
}

/// What happens to a name.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody wants to connect, finds these addresses, and is to ask if it says so: `"1 2"`, `"1 2 ask"`, `"ask wait"`.
    Find(&'static str),
    /// The lookup ends with this answer.
    Answer(&'static str, Option<Change>),
    /// It has not ended for long.
    Late(Option<Change>),
    /// It ends without a word: its thread is gone.
    Ends,
    /// A connection was made, to the address in front.
    Works(&'static str),
    /// A connection was made, to another.
    Moves(&'static str, Option<Change>),
}

use Step::{Answer, Ends, Find, Late, Moves, Works};

#[track_caller]
fn check(steps: &[(u64, Step)]) {
    let mut name = Name::default();
    for (second, step) in steps {
        let (now, at) = (s(*second), format!("at {second} s: {step:?}"));
        match step {
            Find(expected) => {
                let Found { addresses, ask, wait } = name.find(RULES, now);
                let words =
                    [&*show(&addresses), if ask { "ask" } else { "" }, if wait { "wait" } else { "" }];
                let found = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
                assert_eq!(found, *expected, "{at}");
            }
            Answer(answer, change) => {
                assert_eq!(name.hear(&addresses(answer), RULES, now), *change, "{at}");
                name.end();
            }
            Late(change) => assert_eq!(name.is_late(RULES, now), *change, "{at}"),
            Ends => name.end(),
            Works(last) => assert_eq!(name.works(address(last)), None, "{at}"),
            Moves(last, change) => assert_eq!(name.works(address(last)), *change, "{at}"),
        }
    }
}

fn moved(from: &str, to: &str) -> Change {
    Change::Moved { from: address(from), to: address(to) }
}

const FAILS: Option<Change> = Some(Change::Fails { kept: None });
/// Lookups fail, and the address is kept.
fn keeps(last: &str) -> Change {
    Change::Fails { kept: Some(address(last)) }
}

const ANSWERS: Option<Change> = Some(Change::Answers);

#[test]
fn a_name_is_asked_for_when_its_answer_is_old() {
    check(&[
        (0, Find("ask wait")),
        (0, Answer("1 2", None)),
        (0, Find("1 2")),
        (0, Works("1")),
        (29, Find("1 2")),
        (29, Works("1")),
        (30, Find("1 2 ask")),
        (30, Works("1")),
        // One asks, the others use what is known.
        (30, Find("1 2")),
        (30, Works("1")),
        (31, Answer("2 1", None)),
        (60, Find("1 2")),
        (60, Works("1")),
        (61, Find("1 2 ask")),
    ]);
}

#[test]
fn it_keeps_its_address_while_the_answer_holds_it() {
    check(&[
        (0, Answer("1 2 3", None)),
        (30, Answer("3 2 1", None)),
        (30, Find("1 2 3")),
        (60, Answer("3 1", None)),
        (60, Find("1 3")),
        (90, Answer("3 4", Some(moved("1", "3")))),
        (90, Find("3 4")),
        (120, Answer("5", Some(moved("3", "5")))),
        (120, Find("5")),
    ]);
}

#[test]
fn what_works_is_tried_first() {
    check(&[
        (0, Answer("1 2 3", None)),
        (0, Moves("3", Some(moved("1", "3")))),
        (0, Find("3 1 2")),
        // It is not of this name any more.
        (0, Moves("9", None)),
        (0, Find("3 1 2")),
        (30, Answer("1 2 3", None)),
        (30, Find("3 1 2")),
    ]);
}

#[test]
fn an_answer_is_cut_and_never_the_address_in_use() {
    check(&[
        (0, Answer("1 2 3 4 5 6 7 8 9 10", None)),
        (0, Find("1 2 3 4 5 6 7 8")),
        (30, Answer("11 12 13 14 15 16 17 18 1", None)),
        (30, Find("1 11 12 13 14 15 16 17")),
    ]);
}

#[test]
fn a_name_that_is_not_known_is_asked_for_every_second() {
    check(&[
        (0, Find("ask wait")),
        (0, Find("wait")),
        (0, Answer("", FAILS)),
        (0, Find("")),
        (1, Find("ask wait")),
        (1, Answer("", None)),
        (2, Find("ask wait")),
        (2, Answer("1", ANSWERS)),
        (3, Find("1")),
        (3, Works("1")),
        (31, Find("1")),
        (31, Works("1")),
        (32, Find("1 ask")),
    ]);
}

#[test]
fn a_failure_takes_nothing_away_and_is_asked_again_soon() {
    check(&[
        (0, Answer("1 2", None)),
        (30, Find("1 2 ask")),
        (30, Works("1")),
        (30, Answer("", Some(keeps("1")))),
        (34, Find("1 2")),
        (34, Works("1")),
        (35, Find("1 2 ask")),
        (35, Answer("", None)),
        (10_000, Find("1 2 ask")),
        (10_000, Works("1")),
        (10_000, Answer("", None)),
        (10_001, Find("1 2")),
        (10_001, Works("1")),
        (10_005, Find("1 2 ask")),
        (10_005, Answer("2 1", ANSWERS)),
        (10_005, Find("1 2")),
    ]);
}

#[test]
fn one_that_cannot_be_reached_may_have_moved() {
    check(&[
        (0, Answer("1", None)),
        (10, Find("1")),
        (10, Works("1")),
        (20, Find("1")),
        (20, Find("1")),
        (21, Find("1 ask")),
        (21, Answer("1", None)),
        (25, Find("1")),
        (26, Find("1 ask")),
        (26, Answer("2", Some(moved("1", "2")))),
        // The new one has not been tried.
        (40, Find("2")),
        (40, Works("2")),
        (55, Find("2")),
        (55, Works("2")),
        (56, Find("2 ask")),
    ]);
}

#[test]
fn an_address_is_forgotten_when_neither_lookups_nor_connections_confirm_it() {
    let forgot = Some(Change::Forgot(address("1")));
    check(&[
        (0, Answer("1 2", None)),
        (100, Find("1 2 ask")),
        (100, Answer("", Some(keeps("1")))),
        (699, Find("1 2 ask")),
        (699, Answer("", None)),
        (704, Find("1 2 ask")),
        (704, Answer("", forgot)),
        (704, Find("")),
        (705, Find("ask wait")),
        (705, Answer("", None)),
        (706, Find("ask wait")),
        (706, Answer("2", ANSWERS)),
        (706, Find("2")),
    ]);
    // Lookups fail for long, connections not yet.
    check(&[
        (0, Answer("1", None)),
        (100, Answer("", Some(keeps("1")))),
        (650, Find("1 ask")),
        (650, Works("1")),
        (650, Answer("", None)),
        (700, Find("1 ask")),
        (700, Answer("", None)),
        (1299, Find("1 ask")),
        (1299, Answer("", None)),
        (1304, Find("1 ask")),
        (1304, Answer("", forgot)),
    ]);
    // Connections fail for long, lookups not yet.
    check(&[
        (0, Answer("1", None)),
        (100, Find("1 ask")),
        (100, Answer("1", None)),
        (650, Find("1 ask")),
        (650, Answer("1", None)),
        (701, Find("1 ask")),
        (701, Answer("", Some(keeps("1")))),
        (1300, Find("1 ask")),
        (1300, Answer("", None)),
        (1305, Find("1 ask")),
        (1305, Answer("", forgot)),
    ]);
}

#[test]
fn who_comes_after_a_long_pause_finds_the_last_address() {
    check(&[
        (0, Answer("1", None)),
        (0, Find("1")),
        (0, Works("1")),
        (30, Find("1 ask")),
        (30, Works("1")),
        (30, Answer("", Some(keeps("1")))),
        // Nobody has tried to connect meanwhile: it may well be there.
        (10_000, Find("1 ask")),
        (10_000, Answer("", None)),
        (10_000, Find("1")),
    ]);
}

#[test]
fn there_is_one_lookup_at_a_time_however_long_it_takes() {
    check(&[
        (0, Find("ask wait")),
        (10, Find("wait")),
        (10, Late(FAILS)),
        // Nobody waits for it any more, and nobody asks beside it.
        (10, Find("")),
        (600, Find("")),
        (600, Answer("1", ANSWERS)),
        (600, Find("1")),
        (600, Works("1")),
        (630, Find("1 ask")),
        (630, Works("1")),
        (640, Late(Some(keeps("1")))),
        (6000, Find("1")),
        (6000, Answer("", None)),
        (6004, Find("1")),
        (6005, Find("1 ask")),
    ]);
}

#[test]
fn a_lookup_whose_thread_ends_is_made_by_another() {
    check(&[(0, Find("ask wait")), (0, Ends), (0, Find("ask wait")), (0, Ends)]);
    check(&[(0, Answer("1", None)), (30, Find("1 ask")), (30, Ends), (30, Find("1 ask"))]);
}
