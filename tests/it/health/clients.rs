//! What clients of an instance that is down get, and what they can do to one that is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Checked, DEGRADED, DOWN, Does, FAST, NOT_STICKY, UP, before, checks, is, more_checks};
use crate::support::engine_io::{UNKNOWN, get, poll, start};
use crate::support::ws::{self, Frame, TEXT};
use crate::support::{Proxy, eventually};

/// Where a client was bound, the other one, and the cookie's line.
fn bound<'c>(proxy: &Proxy, one: &'c Checked, other: &'c Checked) -> (&'c Checked, &'c Checked, String) {
    let before = one.requests();
    let answer = proxy.get("/", "");
    let (cookie, _) = answer.cookie("stickyd-app").unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    if one.requests() > before { (one, other, cookie) } else { (other, one, cookie) }
}

#[test]
fn clients_of_an_instance_that_is_down_are_bound_anew() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, "sticky.by = [\"cookie\"]");
    let (bound, other, cookie) = bound(&proxy, &blue, &green);
    bound.hangs();
    is(&proxy, bound, DOWN);
    let served = other.requests();
    let answer = proxy.get("/", &cookie);
    assert_eq!((answer.status(), other.requests()), (200, served + 1));
    assert!(answer.cookie("stickyd-app").is_some());
    proxy.counts("stickyd_sticky_rebinds_total", &[("reason", "down")], 1);
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", &cookie));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn or_they_are_refused_where_that_is_wanted() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, "sticky = { by = [\"cookie\"], on_down = \"fail\" }");
    let (bound, _, cookie) = bound(&proxy, &blue, &green);
    bound.hangs();
    is(&proxy, bound, DOWN);
    assert_eq!(proxy.get("/", &cookie).status(), 503);
    assert_eq!(proxy.get("/", "").status(), 200, "who is new has a choice");
    bound.is_well();
    is(&proxy, bound, UP);
    assert_eq!(proxy.get("/", &cookie).status(), 200);
}

/// The regression: only what waited at the moment of a change went elsewhere, and an instance that was degraded before it fell silent
/// did not change.
#[test]
fn session_starts_do_not_wait_for_an_instance_that_fell_silent_while_it_was_degraded() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, "sticky.by = [\"cookie\"]\ndown.close = \"never\"");
    let (bound, other, cookie) = bound(&proxy, &blue, &green);
    let handshake = ws::handshake("/ws", &cookie);
    let mut tunnel = proxy.connect();
    tunnel.send(&handshake);
    assert!(tunnel.head().starts_with("HTTP/1.1 101 "));
    bound.checks(Does::Fails);
    is(&proxy, bound, DEGRADED);
    bound.clients(Does::Hangs);
    let (asked, elsewhere) = (bound.requests(), other.requests());
    let mut waits = proxy.connect();
    waits.send(&handshake);
    eventually("its clients stay", || (bound.requests() > asked).then_some(()));
    bound.checks(Does::Hangs);
    let speaking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while speaking.load(Ordering::Relaxed) {
                tunnel.send(Frame::masked(TEXT, "on").bytes());
                assert_eq!(Frame::read(&mut tunnel).payload, b"on");
            }
        });
        assert!(waits.head().starts_with("HTTP/1.1 101 "));
        let mut comes_now = proxy.connect();
        comes_now.send(&handshake);
        assert!(comes_now.head().starts_with("HTTP/1.1 101 "));
        is(&proxy, bound, DEGRADED);
        speaking.store(false, Ordering::Relaxed);
    });
    assert_eq!((bound.requests(), other.requests()), (asked + 1, elsewhere + 2));
}

#[test]
fn sessions_of_an_instance_that_hangs_are_told_so_at_once() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, "sticky.by = [\"sid\"]");
    let mut client = proxy.connect();
    client.send(start(""));
    let open = client.answer();
    let at = if open.text().contains("blue-sid") { &blue } else { &green };
    let sid = if open.text().contains("blue-sid") { "blue-sid" } else { "green-sid" };
    at.hangs();
    is(&proxy, at, DOWN);
    let asked = at.requests();
    client.send(poll(sid, ""));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (400, UNKNOWN));
    assert_eq!(at.requests(), asked);
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "proxy")], 1);
}

/// Requests that look as if the instance were dead: it closes, resets, does not answer handshakes, is asked for what it takes
/// long for.
#[test]
fn no_client_can_take_an_instance_out() {
    let blue = Checked::start("blue");
    // No check comes by itself.
    let health =
        "interval = \"1h\", fast_interval = \"100ms\", timeout = \"5s\", fall = 1, panic_below = \"0%\"";
    let timeouts = "[upstream.app.timeouts]\nupgrade = \"50ms\"\nresponse_head = \"50ms\"\n";
    let proxy = before(&[&blue], health, &format!("{NOT_STICKY}\n{timeouts}"));
    more_checks(&proxy, &blue, "passed", 0);
    eventually("the first check", || (blue.checked() > 0).then_some(()));
    for does in [Does::Closes, Does::Resets, Does::Hangs] {
        blue.clients(does);
        let (before, began) = (blue.checked(), Instant::now());
        for round in 0..40 {
            let request = if round % 2 == 0 { get("/", "") } else { ws::handshake("/ws", "") };
            let mut client = proxy.connect();
            client.send(request);
            let status = client.answer().status();
            assert!([502, 504].contains(&status), "{does:?}: {status}");
        }
        eventually("a check at once", || (blue.checked() > before).then_some(()));
        let most = began.elapsed().as_millis() / 100 + 2;
        let made = blue.checked() - before;
        assert!(made as u128 <= most, "{does:?}: {made} checks in {:?}", began.elapsed());
    }
    blue.clients(Does::Well);
    is(&proxy, &blue, UP);
    assert_eq!(proxy.get("/", "").text(), "blue");
    assert_eq!(checks(&proxy, &blue, "lost") + checks(&proxy, &blue, "timeout"), 0);
}

/// What one client sees is looked into at once, and decided by checks.
#[test]
fn a_refused_connect_makes_for_a_check_at_once() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = "interval = \"1h\", fast_interval = \"100ms\", panic_below = \"0%\"";
    let proxy = before(&[&blue, &green], health, NOT_STICKY);
    eventually("the first checks", || (blue.checked() > 0 && green.checked() > 0).then_some(()));
    blue.dies();
    std::thread::sleep(Duration::from_millis(150));
    is(&proxy, &blue, UP);
    // Each of them is served by the other.
    for _ in 0..2 {
        assert_eq!(proxy.get("/", "").text(), "green");
    }
    is(&proxy, &blue, DOWN);
    assert_eq!(checks(&proxy, &blue, "lost"), 3);
}

/// A process that dies takes its tunnels along: they say so before any check.
#[test]
fn tunnels_that_break_make_for_a_check_at_once() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = "interval = \"1h\", fast_interval = \"100ms\", panic_below = \"0%\"";
    let proxy = before(&[&blue, &green], health, "sticky.by = [\"cookie\"]");
    let (bound, other, cookie) = bound(&proxy, &blue, &green);
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", &cookie));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    bound.dies();
    is(&proxy, bound, DOWN);
    is(&proxy, other, UP);
}
