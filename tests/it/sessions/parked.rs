//! Polls that wait: how they end when their instance, their client or the proxy does.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use stickyd::tunnel::Reason;

use super::{CORS, Stage};
use crate::support::engine_io::{UNKNOWN, answer, get, open_packet, poll, post, start};
use crate::support::{End, Instance, Message, Proxy, Socket, eventually};

/// A session with a poll parked: the stage, the client and the instance's connection.
fn parked() -> (Stage, Socket, Socket) {
    let stage = Stage::new();
    let (mut client, mut far, _) = stage.session("abc");
    client.send(poll("abc", ""));
    far.request();
    (stage, client, far)
}

/// The client is told to begin anew.
#[track_caller]
fn is_closed(got: &Message, cors: bool) {
    assert_eq!((got.status(), got.text()), (400, UNKNOWN), "{}", got.head);
    assert_eq!(got.field("content-type").as_deref(), Some("application/json"));
    assert_eq!(got.field("cache-control").as_deref(), Some("no-store"));
    assert_eq!(got.head.contains(CORS), cors, "{}", got.head);
    assert_eq!(got.values("set-cookie"), [""; 0]);
}

/// The query of a poll in every dialect.
const DIALECTS: [&str; 4] = [
    "EIO=4&transport=polling",
    "transport=polling&EIO=3",
    "EIO=4&transport=polling&j=3",
    "EIO=3&transport=polling&j=0",
];

#[test]
fn a_poll_whose_instance_breaks_is_told_to_begin_anew() {
    for query in DIALECTS {
        for leave in [Socket::close, Socket::reset] {
            let stage = Stage::new();
            let (mut client, mut far, at) = stage.session("abc");
            client.send(get(&format!("/socket.io/?{query}&sid=abc"), ""));
            far.request();
            leave(far);
            is_closed(&client.answer(), true);
            stage.proxy.counts("stickyd_sids", &[], 0);
            // Never sent again, and the client begins anew on the same connection.
            client.send(start(""));
            let (mut far, next) = stage.accept();
            assert_ne!(next, at, "in turn");
            assert!(!far.request().line().contains("sid="));
            far.send(answer("", &open_packet("def")));
            assert_eq!(client.answer().text(), open_packet("def"));
            stage.instances[at].saw_nothing();
        }
    }
}

/// On a connection that had served before the instance may have been ending it: to ask again would lose what it sent.
#[test]
fn a_poll_is_never_sent_twice() {
    let stage = Stage::new();
    for sid in ["known", "unknown"] {
        let (mut client, mut far, _) = stage.session("known");
        for _ in 0..2 {
            client.send(poll("known", ""));
            far.request();
            far.send(answer("", "6"));
            client.answer();
        }
        client.send(poll(sid, ""));
        let (mut far, reused) = if sid == "known" { (far, true) } else { (stage.accept().0, false) };
        far.request();
        far.close();
        is_closed(&client.answer(), reused);
        stage.instances.iter().for_each(Instance::saw_nothing);
    }
}

#[test]
fn what_is_no_poll_is_told_that_its_instance_failed() {
    let requests = [
        post("abc", "4hello"),
        poll("abc", "").replacen("GET", "OPTIONS", 1),
        poll("abc", "").replacen("polling", "websocket", 1),
    ];
    for request in requests {
        let stage = Stage::new();
        let (mut client, mut far, _) = stage.session("abc");
        client.send(&request);
        far.request();
        far.close();
        assert_eq!(client.answer().status(), 502, "{request}");
        client.ends();
        stage.instances.iter().for_each(Instance::saw_nothing);
        stage.proxy.counts("stickyd_sids", &[], 1);
    }
}

#[test]
fn a_poll_whose_answer_has_begun_is_cut() {
    let whole = answer("", "4hello");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n4hello\r\n";
    for (begun, body) in [(&whole[..whole.len() - 3], "4he"), (chunked, "6\r\n4hello\r\n")] {
        for order in [false, true] {
            let (stage, mut client, mut far) = parked();
            far.send(begun);
            assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
            client.expect(body);
            if order {
                // Nobody but this client has what is in it: it may come to its end.
                stage.proxy.close_tunnels(Reason::Command);
                stage.proxy.counts("stickyd_requests_open", &[], 1);
            }
            far.close();
            assert_eq!(client.rest(), (Vec::new(), End::Reset));
            stage.proxy.counts("stickyd_requests_open", &[], 0);
        }
    }
}

/// Of a head that is not whole the client has seen nothing.
#[test]
fn a_poll_whose_answer_breaks_off_in_its_head_is_told_to_begin_anew() {
    let (_stage, mut client, mut far) = parked();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n");
    far.close();
    is_closed(&client.answer(), true);
}

#[test]
fn rubbish_in_answer_to_a_poll_is_a_502() {
    let (stage, mut client, mut far) = parked();
    far.send("hello\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    far.is_gone();
    stage.proxy.counts("stickyd_requests_total", &[("origin", "proxy"), ("code", "5xx")], 1);
}

#[test]
fn an_order_to_close_ends_parked_polls_at_both_ends() {
    for query in DIALECTS {
        let stage = Stage::new();
        let (mut client, mut far, _) = stage.session("abc");
        client.send(get(&format!("/socket.io/?{query}&sid=abc"), ""));
        far.request();
        stage.proxy.counts("stickyd_requests_open", &[("kind", "poll")], 1);
        stage.proxy.close_tunnels(Reason::Command);
        is_closed(&client.answer(), true);
        far.is_gone();
        stage.proxy.counts("stickyd_sids", &[], 0);
        stage.proxy.counts("stickyd_requests_open", &[], 0);
        client.send(start(""));
        let (mut far, _) = stage.accept();
        far.request();
        far.send(answer("", &open_packet("def")));
        assert_eq!(client.answer().text(), open_packet("def"));
    }
}

#[test]
fn an_order_to_close_ends_polls_and_nothing_else() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!("workers = 2\n[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let open = |request: String| {
        let mut client = proxy.connect();
        client.send(request);
        let mut far = instance.accept();
        far.request();
        (client, far)
    };
    let mut polls: Vec<_> = (0..20).map(|number| open(poll(&format!("unknown-{number}"), ""))).collect();
    let mut others = [open(post("unknown", "4hello")), open(start("")), open(get("/slow", ""))];
    proxy.close_tunnels(Reason::Rebalanced);
    for (client, far) in &mut polls {
        is_closed(&client.answer(), false);
        far.is_gone();
    }
    for (client, far) in &mut others {
        far.send(answer("", "fine"));
        assert_eq!(client.answer().text(), "fine");
    }
}

/// The regression: what an instance said meanwhile, and no client can take for an answer, kept the poll.
#[test]
fn a_poll_that_has_heard_an_interim_answer_can_be_closed_still() {
    let stage = Stage::new();
    let (mut client, mut far, _) = stage.session("abc");
    client.send(poll("abc", "Expect: 100-continue\r\n"));
    far.request();
    far.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    stage.proxy.close_tunnels(Reason::Command);
    is_closed(&client.answer(), true);
    far.is_gone();
}

#[test]
fn a_stop_ends_parked_polls_over_its_spread() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "workers = 2\n[upstream.app]\ninstances = [\"{instance}\"]\n[shutdown]\nspread = \"400ms\"\ndeadline = \"15s\"\n"
    ));
    let mut polls: Vec<_> = (0..20)
        .map(|number| {
            let mut client = proxy.connect();
            client.send(poll(&number.to_string(), ""));
            let mut far = instance.accept();
            far.request();
            (client, far)
        })
        .collect();
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| proxy.stop());
        for (client, far) in &mut polls {
            let got = client.answer();
            is_closed(&got, false);
            assert_eq!(got.field("connection").as_deref(), Some("close"));
            client.ends();
            far.is_gone();
        }
    });
    let took = begin.elapsed();
    assert!((200..5000).contains(&took.as_millis()), "{took:?}");
}

/// The regression: it was parked, and kept the stop to its deadline.
#[test]
fn a_poll_that_finds_its_instance_while_the_proxy_stops_is_not_parked() {
    let (instance, _waiting) = Instance::busy();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{instance}\"]\n[shutdown]\nspread = \"0s\"\ndeadline = \"15s\"\n"
    ));
    let (address, mut client) = (proxy.address(), proxy.connect());
    client.send(poll("abc", ""));
    eventually("the request is read", || client.is_all_read().then_some(()));
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| proxy.stop());
        eventually("it stops", || TcpStream::connect(address).err());
        while instance.try_accept().is_some() {}
        is_closed(&client.answer(), false);
    });
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_drops_its_poll_drops_it_at_the_instance() {
    // Of more than the kernel holds the end could not be seen by anybody.
    let pipelined = [String::new(), start(""), start("").repeat(1000)];
    for behind in &pipelined {
        for leave in [Socket::close, Socket::reset] {
            let (stage, mut client, mut far) = parked();
            client.send(behind);
            leave(client);
            far.is_gone();
            stage.proxy.counts("stickyd_requests_open", &[], 0);
            // The session is the instance's to end.
            stage.proxy.counts("stickyd_sids", &[], 1);
            stage.instances.iter().for_each(Instance::saw_nothing);
        }
    }
}
