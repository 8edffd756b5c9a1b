//! When too few pass: checks are not believed. And when nothing is up at all.

use std::time::{Duration, Instant};

use super::{Checked, DEGRADED, DOWN, Does, FAST, NOT_STICKY, UP, before, is, who_answers};
use crate::support::eventually;

fn panicking(proxy: &crate::support::Proxy, expected: u64) {
    proxy.counts("stickyd_upstream_panic", &[("upstream", "app")], expected);
}

#[test]
fn when_most_fail_their_checks_all_are_used() {
    let instances = ["a", "b", "c"].map(Checked::start);
    let [a, b, c] = &instances;
    let proxy = before(&[a, b, c], &FAST.replace("0%", "50%"), NOT_STICKY);
    a.checks(Does::Fails);
    is(&proxy, a, DEGRADED);
    assert_eq!(who_answers(&proxy, 9), ["b", "c"]);
    panicking(&proxy, 0);

    b.checks(Does::Fails);
    is(&proxy, b, DEGRADED);
    panicking(&proxy, 1);
    assert_eq!(who_answers(&proxy, 9), ["a", "b", "c"], "the checks are wrong, as this shows");

    // One that refuses is passed over for each request, whatever is believed.
    a.dies();
    is(&proxy, a, DOWN);
    assert_eq!(who_answers(&proxy, 9), ["b", "c"]);

    b.checks(Does::Well);
    is(&proxy, b, UP);
    panicking(&proxy, 0);
    is(&proxy, c, UP);
}

/// The regression: two of three hung, and two thirds of the new clients were sent to wait for them.
#[test]
fn one_that_says_nothing_at_all_is_passed_over_while_another_is_there() {
    let instances = ["a", "b", "c"].map(Checked::start);
    let [a, b, c] = &instances;
    let health = FAST.replace("0%", "50%").replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[a, b, c], &health, NOT_STICKY);
    a.hangs();
    b.hangs();
    is(&proxy, a, DOWN);
    is(&proxy, b, DOWN);
    panicking(&proxy, 1);
    let seen = a.requests() + b.requests();
    assert_eq!(who_answers(&proxy, 9), ["c"]);
    // It has errors, they have nothing.
    c.checks(Does::Fails);
    is(&proxy, c, DEGRADED);
    assert_eq!(who_answers(&proxy, 9), ["c"]);
    assert_eq!(a.requests() + b.requests(), seen);
}

#[test]
fn a_backup_is_no_reason_to_panic() {
    let (first, backup) = (Checked::start("first"), Checked::start("backup"));
    let proxy = crate::support::Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{first}\", {{ address = \"{backup}\", backup = true }}]\n\
         health = {{ {} }}\n{NOT_STICKY}\n",
        FAST.replace("0%", "50%")
    ));
    assert_eq!(who_answers(&proxy, 4), ["first"]);
    first.checks(Does::Fails);
    is(&proxy, &first, DEGRADED);
    assert_eq!(who_answers(&proxy, 4), ["backup"]);
    panicking(&proxy, 0);
    first.checks(Does::Well);
    is(&proxy, &first, UP);
    assert_eq!(who_answers(&proxy, 4), ["first"]);
}

#[test]
fn nothing_up_is_a_503_at_once() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, NOT_STICKY);
    blue.hangs();
    green.hangs();
    is(&proxy, &blue, DOWN);
    is(&proxy, &green, DOWN);
    let seen = blue.requests() + green.requests();
    for _ in 0..10 {
        let answer = proxy.get("/", "");
        assert_eq!(answer.status(), 503);
        assert!(answer.field("retry-after").is_some(), "{}", answer.head);
    }
    assert_eq!(blue.requests() + green.requests(), seen, "nobody is made to wait for them");
    blue.is_well();
    is(&proxy, &blue, UP);
    assert_eq!(who_answers(&proxy, 4), ["blue"]);
}

/// As shipped: nobody waits for checks when everything was down.
#[test]
fn all_down_and_up_again_answers_within_a_second() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let proxy = before(&[&blue, &green], "check = \"auto\"", NOT_STICKY);
    assert_eq!(who_answers(&proxy, 4), ["blue", "green"]);
    blue.dies();
    green.dies();
    is(&proxy, &blue, DOWN);
    is(&proxy, &green, DOWN);
    panicking(&proxy, 1);
    let answer = proxy.get("/", "");
    assert_eq!(answer.status(), 503);
    assert!(answer.field("retry-after").is_some());

    green.comes_back();
    let back = Instant::now();
    eventually("an answer", || (proxy.get("/", "").status() == 200).then_some(()));
    let took = back.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    is(&proxy, &green, UP);
}
