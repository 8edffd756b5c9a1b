//! Instances that refuse, die or answer rubbish: what is tried again, and what is not.

use super::{get, ok, trio};
use crate::support::instance::Refusing;
use crate::support::ws::{self, Frame, TEXT};
use crate::support::{Answering, Instance, Proxy, Socket, engine_io, eventually};

fn two(first: &impl std::fmt::Display, second: &impl std::fmt::Display) -> Proxy {
    two_and(first, second, "")
}

/// `more`: sections.
fn two_and(first: &impl std::fmt::Display, second: &impl std::fmt::Display, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[upstream.app]\nbalance = \"round_robin\"\ninstances = [\"{first}\", \"{second}\"]\n\
         [upstream.app.sticky]\nby = []\n{more}"
    ))
}

/// An Engine.IO session that starts without polling.
const WEBSOCKET_FIRST: &str = "/socket.io/?EIO=4&transport=websocket";

#[test]
fn an_instance_that_refuses_is_passed_over() {
    let (dead, blue) = (Refusing::start(), Answering::start("blue"));
    let proxy = two(&dead, &blue);
    for _ in 0..6 {
        assert_eq!(proxy.get("/", "").text(), "blue");
    }
    // Not only what is idempotent: nothing of it can have been acted on.
    let mut client = proxy.connect();
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.answer().text(), "blue");
    }
    let dead = dead.to_string();
    assert!(proxy.count("stickyd_connect_errors_total", &[("instance", &dead), ("kind", "refused")]) >= 4);
    assert_eq!(proxy.count("stickyd_requests_total", &[("origin", "proxy")]), 0);
}

#[test]
fn when_all_refuse_the_client_is_told_to_come_back() {
    let (one, other) = (Refusing::start(), Refusing::start());
    let proxy = two(&one, &other);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(get("/"));
        let answer = client.answer();
        assert_eq!(answer.status(), 503);
        assert!(answer.field("retry-after").is_some(), "{}", answer.head);
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
    client.send("HEAD / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer_to_head().status(), 503);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection").as_deref()), (503, Some("close")));
    client.ends();
    proxy.counts("stickyd_connect_errors_total", &[("kind", "refused")], 8);
    proxy.counts("stickyd_requests_total", &[("origin", "proxy"), ("code", "5xx")], 4);
}

/// On a connection that has served before, the instance gets `request` and does `leave`. `retried`: the request then comes
/// on a new connection; otherwise the client gets 502.
fn check_reused(request: &str, leave: fn(Socket), retried: bool) {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/first"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("first"));
    client.answer();

    client.send(request);
    let before = far.request();
    leave(far);
    if !retried {
        let answer = client.answer();
        // The client of a poll is told in its own words that the session is over.
        let expected = if request.contains("sid=") {
            (400, engine_io::UNKNOWN)
        } else {
            (502, "the instance ended the connection\n")
        };
        assert_eq!((answer.status(), answer.text()), expected, "{request}");
        return instance.saw_nothing();
    }
    let mut far = instance.accept();
    assert_eq!(far.request().head, before.head, "the same again");
    far.send(ok("second"));
    assert_eq!(client.answer().text(), "second");
}

#[test]
fn a_connection_that_ended_meanwhile_costs_nothing_where_that_is_safe() {
    for leave in [Socket::close, Socket::reset] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            check_reused(&format!("{method} /x HTTP/1.1\r\nHost: app\r\n\r\n"), leave, true);
        }
        for method in ["POST", "PATCH", "get", "FOO"] {
            check_reused(&format!("{method} /x HTTP/1.1\r\nHost: app\r\n\r\n"), leave, false);
        }
        check_reused("PUT /x HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx", leave, false);
        // A poll is a destructive read.
        let sid = "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: app\r\n\r\n";
        check_reused(sid, leave, false);
        let start = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\n\r\n";
        check_reused(start, leave, true);
    }
}

#[test]
fn a_request_is_repeated_once() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/first"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("first"));
    client.answer();
    client.send(get("/second"));
    far.request();
    far.close();
    let mut far = instance.accept();
    far.request();
    far.close();
    assert_eq!(client.answer().status(), 502);
    instance.saw_nothing();
}

#[test]
fn a_request_is_not_repeated_when_a_byte_of_an_answer_came() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/first"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("first"));
    client.answer();
    client.send(get("/second"));
    far.request();
    far.send("H");
    far.close();
    assert_eq!(client.answer().status(), 502);
    instance.saw_nothing();
}

#[test]
fn a_new_connection_that_ends_without_an_answer_is_a_502() {
    for leave in [Socket::close, Socket::reset] {
        let (proxy, instance, mut client) = trio();
        client.send(get("/"));
        let mut far = instance.accept();
        far.request();
        leave(far);
        assert_eq!(client.answer().status(), 502);
        instance.saw_nothing();
        proxy.counts("stickyd_requests_total", &[("origin", "proxy"), ("code", "5xx")], 1);
    }
}

/// A request to the one that it comes to of two, which does `leave`; then to the other one.
fn left(instances: [&Instance; 2], request: &str, leave: fn(Socket)) -> Socket {
    let (mut far, first) = eventually("a request", || {
        (0..2).find_map(|index| instances[index].try_accept().map(|far| (far, index)))
    });
    assert_eq!(far.request().line(), request.lines().next().unwrap());
    leave(far);
    let mut far = instances[1 - first].accept();
    assert_eq!(far.request().line(), request.lines().next().unwrap());
    far
}

#[test]
fn a_session_start_whose_instance_breaks_off_finds_another_one() {
    let (one, other) = (Instance::start(), Instance::start());
    let proxy = two(&one, &other);
    for (count, leave) in (1..).zip([Socket::close, Socket::reset]) {
        let start = engine_io::start("");
        let mut client = proxy.connect();
        client.send(&start);
        left([&one, &other], &start, leave).send(ok("started"));
        assert_eq!(client.answer().text(), "started");
        let handshake = ws::handshake(WEBSOCKET_FIRST, "");
        let mut client = proxy.connect();
        client.send(&handshake);
        let mut far = left([&one, &other], &handshake, leave);
        far.send(ws::switch(""));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        far.send(Frame::new(TEXT, "down").bytes());
        assert_eq!(Frame::read(&mut client).payload, b"down");
        proxy.counts("stickyd_connect_errors_total", &[("kind", "reset")], 2 * count);
    }
    assert_eq!(proxy.count("stickyd_requests_total", &[("origin", "proxy")]), 0);
    // Once is enough: one that kills whoever reads it must not kill them all.
    let handshake = ws::handshake(WEBSOCKET_FIRST, "");
    let mut client = proxy.connect();
    client.send(&handshake);
    left([&one, &other], &handshake, Socket::close).close();
    assert_eq!(client.answer().status(), 502);
    // Nor is anything sent twice that has a body, or starts no session.
    for request in [get("/"), engine_io::start("").replace("GET", "POST")] {
        let mut client = proxy.connect();
        client.send(&request);
        let mut far = eventually("a request", || one.try_accept().or_else(|| other.try_accept()));
        far.request();
        far.close();
        assert_eq!(client.answer().status(), 502, "{request}");
    }
    one.saw_nothing();
    other.saw_nothing();
}

/// The regression: a handshake that is not Engine.IO's was sent to a second instance too, where its ticket was used up.
#[test]
fn a_ticket_is_shown_once() {
    for leave in [Socket::close, Socket::reset] {
        let (one, other) = (Instance::start(), Instance::start());
        let proxy = two(&one, &other);
        let mut client = proxy.connect();
        client.send(ws::handshake("/ws?ticket=once", ""));
        let mut far = eventually("a request", || one.try_accept().or_else(|| other.try_accept()));
        far.request();
        leave(far);
        assert_eq!(client.answer().status(), 502);
        one.saw_nothing();
        other.saw_nothing();
    }
}

/// The regression: it came on a connection that had served before, on a fresh one, and to another instance.
#[test]
fn a_session_start_is_sent_twice_at_most() {
    let (one, other) = (Instance::start(), Instance::start());
    let proxy = two(&one, &other);
    let mut client = proxy.connect();
    let instances = [&one, &other];
    // Both have a connection that has served.
    let mut served = [None, None];
    for _ in 0..2 {
        client.send(get("/"));
        let (mut far, at) = eventually("a request", || {
            (0..2).find_map(|index| instances[index].try_accept().map(|far| (far, index)))
        });
        far.request();
        far.send(ok("served"));
        client.answer();
        served[at] = Some(far);
    }
    client.send(engine_io::start(""));
    let first = served[0].as_mut().unwrap();
    first.request();
    served[0].take().unwrap().close();
    let mut fresh = eventually("the same again", || one.try_accept().or_else(|| other.try_accept()));
    fresh.request();
    fresh.close();
    assert_eq!(client.answer().status(), 502);
    one.saw_nothing();
    other.saw_nothing();
}

/// The regression: what was decided of it was counted at each instance, and no line said that it had been at another one.
#[test]
fn a_session_start_that_went_elsewhere_is_one_decision_and_one_line() {
    let (one, other) = (Instance::start(), Instance::start());
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let proxy = two_and(&one, &other, &format!("[log]\naccess = \"{}\"\n", log.display()));
    let mut client = proxy.connect();
    let start = engine_io::start("");
    client.send(&start);
    left([&one, &other], &start, Socket::close).send(ok("started"));
    assert_eq!(client.answer().text(), "started");
    proxy.counts("stickyd_sticky_decisions_total", &[], 1);
    let line =
        eventually("its line", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    let (to, from) = (one.to_string(), other.to_string());
    let says = |to: &str, from: &str| line.contains(&format!("\"instance\":\"{to}\",\"left\":\"{from}\""));
    assert!(says(&to, &from) || says(&from, &to), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

/// The regression: that the second one had no room was told as what the first one had done.
#[test]
fn the_second_failure_is_the_one_that_is_told() {
    let (one, other) = (Instance::start(), Instance::start());
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{one}\", {{ address = \"{other}\", max_tunnels = 1, backup = true }}]\n\
         [upstream.app.sticky]\nby = []\n"
    ));
    let mut fills = proxy.connect();
    fills.send(ws::handshake(WEBSOCKET_FIRST, ""));
    one.accept().close();
    let mut far = other.accept();
    far.request();
    far.send(ws::switch(""));
    assert!(fills.head().starts_with("HTTP/1.1 101 "));
    let mut client = proxy.connect();
    client.send(ws::handshake(WEBSOCKET_FIRST, ""));
    one.accept().close();
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (503, "every instance is full\n"));
}

/// Answers that are not clean HTTP.
const RUBBISH: &[(&str, &str)] = &[
    ("noise", "\x01\x02\x03"),
    ("text", "hello\r\n\r\n"),
    ("HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    ("both lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    ("a bad length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("LF lines", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("one LF line", "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n"),
    ("bare CR", "HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 0\r\n\r\n"),
    ("folded line", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
    ("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("no colon", "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"),
    ("NUL", "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
    ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"),
    ("103 with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n"),
    (
        "101 that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
];

#[test]
fn rubbish_becomes_a_502_and_the_connection_is_not_used_again() {
    let (proxy, instance, mut client) = trio();
    for (what, answer) in RUBBISH {
        client.send(get("/"));
        let mut far = instance.accept();
        far.request();
        far.send(answer);
        let got = client.answer();
        assert_eq!(got.status(), 502, "{what}");
        far.is_gone();
        // A request without a body leaves the client's connection clean.
        if got.field("connection").as_deref() == Some("close") {
            client.ends();
            client = proxy.connect();
        }
    }
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send(huge);
    assert_eq!(client.answer().status(), 502, "a head over the limit");
    proxy.counts("stickyd_requests_total", &[("code", "5xx"), ("origin", "proxy")], RUBBISH.len() as u64 + 1);
}
