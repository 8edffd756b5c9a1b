//! Up, degraded, down, and up again.

use super::{Checked, DEGRADED, DOWN, Does, FAST, NOT_STICKY, UP, before, is, more_checks, who_answers};
use crate::support::ws::{self, Frame, TEXT};

#[test]
fn one_that_refuses_gets_nothing_until_it_is_back() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let proxy = before(&[&blue, &green], FAST, NOT_STICKY);
    more_checks(&proxy, &blue, "passed", 1);
    assert_eq!(who_answers(&proxy, 6), ["blue", "green"]);

    blue.dies();
    is(&proxy, &blue, DOWN);
    is(&proxy, &green, UP);
    let refused = || proxy.count("stickyd_connect_errors_total", &[]);
    let before = refused();
    assert_eq!(who_answers(&proxy, 10), ["green"]);
    assert_eq!(refused(), before, "nobody is sent there to find out");
    more_checks(&proxy, &blue, "lost", 1);

    blue.comes_back();
    is(&proxy, &blue, UP);
    assert_eq!(who_answers(&proxy, 6), ["blue", "green"]);
    assert_eq!(proxy.count("stickyd_upstream_panic", &[]), 0);
}

#[test]
fn one_that_hangs_gets_nothing_until_it_goes_on() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, NOT_STICKY);
    is(&proxy, &blue, UP);
    blue.hangs();
    is(&proxy, &blue, DOWN);
    let requests = blue.requests();
    assert_eq!(who_answers(&proxy, 10), ["green"]);
    assert_eq!(blue.requests(), requests);
    more_checks(&proxy, &blue, "timeout", 1);
    blue.is_well();
    is(&proxy, &blue, UP);
    assert_eq!(who_answers(&proxy, 6), ["blue", "green"]);
}

/// Its health path says 500, as when a database is away: it keeps what it has.
#[test]
fn one_that_answers_with_errors_gets_no_new_clients_and_loses_none() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let proxy = before(&[&blue, &green], FAST, "sticky.by = [\"cookie\"]");
    let first = proxy.get("/", "");
    let (bound, other) = if first.text() == "blue" { (&blue, &green) } else { (&green, &blue) };
    let (cookie, _) = first.cookie("stickyd-app").unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", &cookie));
    assert!(client.head().starts_with("HTTP/1.1 101 "));

    bound.checks(Does::Fails);
    is(&proxy, bound, DEGRADED);
    more_checks(&proxy, bound, "unfit", 3);
    let other_name = proxy.get("/", "").text().to_owned();
    assert_ne!(other_name, first.text());
    assert_eq!(who_answers(&proxy, 6), [other_name]);
    assert_eq!(proxy.get("/", &cookie).text(), first.text(), "who is bound to it stays");
    let frame = Frame::masked(TEXT, "still here").bytes();
    client.send(&frame);
    client.expect(&frame);
    is(&proxy, other, UP);

    bound.checks(Does::Well);
    is(&proxy, bound, UP);
    assert_eq!(who_answers(&proxy, 6), ["blue", "green"]);
    assert_eq!(proxy.count("stickyd_sticky_rebinds_total", &[]), 0);
    client.send(&frame);
    client.expect(&frame);
}

/// Whatever answers lives, however late.
#[test]
fn one_that_answers_late_is_degraded_and_not_down() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    // Between two that are late comes an answer, with half a second to spare.
    let health = FAST.replace("\"2s\"", "\"500ms\"").replace("\"100ms\"", "\"200ms\"");
    let proxy = before(&[&blue, &green], &health, NOT_STICKY);
    more_checks(&proxy, &blue, "passed", 1);
    blue.checks(Does::Slowly(600));
    is(&proxy, &blue, DEGRADED);
    assert_eq!(who_answers(&proxy, 6), ["green"]);
    let name = blue.to_string();
    let late = super::checks(&proxy, &blue, "timeout");
    // Ten more are late, and each of them is answered.
    while super::checks(&proxy, &blue, "timeout") < late + 10 {
        let scrape = proxy.scrape();
        let labels = [("instance", name.as_str())];
        let degraded = scrape.sum("stickyd_instance_degraded", &labels);
        assert!(degraded > 0.5, "it was found dead");
    }
    blue.checks(Does::Well);
    is(&proxy, &blue, UP);
}

#[test]
fn the_first_check_decides_alone() {
    let (blue, green, red) = (Checked::start("blue"), Checked::start("green"), Checked::start("red"));
    blue.dies();
    green.checks(Does::Fails);
    // Nothing but the first check comes before the test is over.
    let health = "interval = \"1h\", panic_below = \"0%\"";
    let proxy = before(&[&blue, &green, &red], health, NOT_STICKY);
    is(&proxy, &blue, DOWN);
    is(&proxy, &green, DEGRADED);
    more_checks(&proxy, &red, "passed", 0);
    assert_eq!(who_answers(&proxy, 6), ["red"]);
    assert_eq!(super::checks(&proxy, &blue, "lost"), 1);
    assert_eq!((green.checked(), red.checked()), (1, 1));
}

#[test]
fn what_is_not_to_be_checked_is_not() {
    let (blue, green, red) = (Checked::start("blue"), Checked::start("green"), Checked::start("red"));
    let proxy = crate::support::Proxy::start(&format!(
        "[upstream.app]\ninstances = [{{ address = \"{blue}\", state = \"maintain\" }}, \
         {{ address = \"{green}\", state = \"drain\" }}, \"{red}\"]\nhealth = {{ {FAST} }}\n"
    ));
    more_checks(&proxy, &green, "passed", 2);
    more_checks(&proxy, &red, "passed", 2);
    assert_eq!(blue.connections(), 0);

    let proxy = before(&[&blue], "check = \"off\"", "");
    assert_eq!(who_answers(&proxy, 1), ["blue"]);
    assert_eq!((blue.checked(), proxy.count("stickyd_instance_up", &[])), (0, 1));
}

/// Too busy for a check, not for its tunnels: no new clients, and nobody loses what they have.
#[test]
fn one_that_speaks_to_its_tunnels_is_not_dead() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let health = FAST.replace("\"2s\"", "\"150ms\"");
    let proxy = before(&[&blue, &green], &health, "sticky.by = []\ndown.close = \"always\"");
    let mut clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.connect();
            client.send(ws::handshake("/ws", ""));
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            client
        })
        .collect();
    blue.checks(Does::Hangs);
    let late = |least| {
        let labels = [("instance", &*blue.to_string()), ("result", "timeout")]
            .map(|(key, value)| (key, value.to_owned()));
        let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
        proxy.count("stickyd_health_checks_total", &labels) >= least
    };
    while !late(12) {
        for client in &mut clients {
            client.send(Frame::masked(TEXT, "on").bytes());
            assert_eq!(Frame::read(client).payload, b"on");
        }
    }
    is(&proxy, &blue, DEGRADED);
    assert_eq!(proxy.count("stickyd_tunnels_open", &[]), 4);
    // And now it is silent.
    is(&proxy, &blue, DOWN);
}
