//! Connections of clients: kept, ended, with many heads at once.

use super::{exchange, get, ok, trio, trio_with};
use crate::support::{Answering, Proxy};

#[test]
fn a_connection_serves_one_request_after_another() {
    let (proxy, instance, mut client) = trio();
    client.send(get("/1"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("one"));
    assert_eq!(client.answer().text(), "one");
    let (request, answer) = exchange(&mut client, &mut far, "/2", &ok("two"));
    assert_eq!((request.line(), answer.text()), ("GET /2 HTTP/1.1", "two"));
    // A second client uses the same connection to the instance.
    let mut other = proxy.connect();
    let (request, answer) = exchange(&mut other, &mut far, "/3", &ok("three"));
    assert_eq!((request.line(), answer.text()), ("GET /3 HTTP/1.1", "three"));
    instance.saw_nothing();
    proxy.counts("stickyd_requests_total", &[("origin", "instance"), ("code", "2xx")], 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/1") + &get("/2"));
    let mut far = instance.accept();
    assert_eq!(far.request().line(), "GET /1 HTTP/1.1");
    far.send(ok("one"));
    assert_eq!(far.request().line(), "GET /2 HTTP/1.1");
    far.send(ok("two"));
    assert_eq!(client.answer().text(), "one");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn many_heads_in_one_write() {
    let instance = Answering::start("blue");
    let proxy = Proxy::before(&instance);
    let mut client = proxy.connect();
    // More than what one read can bring, and more than `limits.header`.
    let paths: Vec<String> = (0..700).map(|number| format!("/{number}/{}", "x".repeat(100))).collect();
    let heads: String = paths.iter().map(|path| get(path)).collect();
    assert!(heads.len() > 64 * 1024);
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(heads));
        for path in &paths {
            assert_eq!(client.answer().text(), "blue", "{path}");
        }
    });
    let got: Vec<String> = instance.requests().iter().map(|request| request.line().to_owned()).collect();
    let sent: Vec<String> = paths.iter().map(|path| format!("GET {path} HTTP/1.1")).collect();
    assert_eq!(got, sent);
}

#[test]
fn a_body_and_many_heads_in_one_write() {
    let instance = Answering::start("blue");
    let proxy = Proxy::before(&instance);
    for _ in 0..3 {
        let mut client = proxy.connect();
        let body = "b".repeat(45_000);
        let mut bytes = format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 45000\r\n\r\n{body}");
        for number in 0..600 {
            bytes += &get(&format!("/{number}"));
        }
        client.send(&bytes);
        for _ in 0..601 {
            assert_eq!(client.answer().text(), "blue");
        }
    }
}

#[test]
fn a_head_byte_by_byte() {
    let (_proxy, instance, mut client) = trio();
    client.send_singly("GET /slow HTTP/1.1\r\nHost: app\r\nX-A: b\r\n\r\n");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!((request.line(), request.field("x-a").as_deref()), ("GET /slow HTTP/1.1", Some("b")));
    far.send_singly("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_empty_line_before_a_request_does_no_harm() {
    let (_proxy, instance, mut client) = trio();
    client.send(format!("\r\n{}\r\n{}", get("/1"), get("/2")));
    let mut far = instance.accept();
    for path in ["/1", "/2"] {
        assert_eq!(far.request().line(), format!("GET {path} HTTP/1.1"));
        far.send(ok("fine"));
        assert_eq!(client.answer().text(), "fine");
    }
}

#[test]
fn who_asks_for_the_end_gets_it() {
    let (_proxy, instance, mut client) = trio();
    client.send(format!("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n{}", get("/never")));
    let mut far = instance.accept();
    far.request();
    far.send(ok("last"));
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection").as_deref()), ("last", Some("close")));
    client.ends();
    // That the client ends says nothing of the instance's connection, and what came behind is not served.
    far.is_silent(std::time::Duration::from_millis(50));
}

#[test]
fn http_1_0_ends_unless_asked_to_stay() {
    let (proxy, instance, mut client) = trio();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!(request.line(), "GET /old HTTP/1.1", "between us and the instance it is 1.1");
    far.send(ok("old"));
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection").as_deref()), ("old", Some("close")));
    client.ends();

    let mut client = proxy.connect();
    for path in ["/1", "/2"] {
        client.send(format!("GET {path} HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n"));
        far.request();
        far.send(ok("stays"));
        let answer = client.answer();
        assert_eq!((answer.text(), answer.field("connection").as_deref()), ("stays", Some("keep-alive")));
    }
}

#[test]
fn http_1_0_knows_no_chunks() {
    let (_proxy, instance, mut client) = trio();
    client.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n",
    );
    let head = client.head();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert!(head.contains("Connection: close"), "{head}");
    let (body, end) = client.rest();
    assert_eq!((body.as_slice(), end), (&b"abcdef"[..], crate::support::End::Fin));
}

#[test]
fn the_end_of_the_instance_s_connection_is_its_own_affair() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/1"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\none");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("one", None));
    far.is_gone();
    client.send(get("/2"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    assert_eq!(client.answer().text(), "two");
    far.is_gone();
    client.send(get("/3"));
    instance.accept().request();
}

#[test]
fn a_pooled_connection_is_dropped_after_upstream_idle() {
    let (_proxy, instance, mut client) = trio_with("[timeouts]\nupstream_idle = \"100ms\"\n");
    client.send(get("/1"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("one"));
    client.answer();
    far.ends();
    client.send(get("/2"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("two"));
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn an_idle_instance_that_ends_or_speaks_is_not_used_again() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/1"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("one"));
    client.answer();
    far.half_close();
    client.send("POST /2 HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n");
    // Not even for a request that cannot be repeated: it goes to a new one.
    let mut far = instance.accept();
    assert_eq!(far.request().line(), "POST /2 HTTP/1.1");
    far.send(ok("two"));
    assert_eq!(client.answer().text(), "two");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    client.send(get("/3"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("three"));
    assert_eq!(client.answer().text(), "three");
}

/// What came before the request is never its answer, however short before. (What an instance sends unasked while a request
/// is on its way to it cannot be told from an answer.)
#[test]
fn an_answer_that_nobody_asked_for_answers_nobody() {
    let (proxy, instance, client) = trio();
    let mut clients = [client, proxy.connect()];
    clients[0].send(get("/first"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("first"));
    assert_eq!(clients[0].answer().text(), "first");
    for round in 0..200 {
        let client = &mut clients[round % 2];
        far.send(ok("evil"));
        client.send(get("/next"));
        // On a new connection: the one that speaks is not used.
        far = instance.accept();
        assert_eq!(far.request().line(), "GET /next HTTP/1.1");
        far.send(ok("next"));
        assert_eq!(client.answer().text(), "next", "{round}");
    }
}

#[test]
fn bytes_behind_an_answer_end_the_instance_s_connection() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/1"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("one") + &ok("evil"));
    assert_eq!(client.answer().text(), "one");
    far.is_gone();
    client.send(get("/2"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("two"));
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn workers_share_the_clients_and_nothing_else() {
    let instance = Answering::start("blue");
    let proxy = Proxy::start(&format!("workers = 4\n[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let mut clients: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "blue");
    }
    proxy.counts("stickyd_connections_open", &[], 64);
    proxy.counts("stickyd_requests_total", &[("origin", "instance")], 64);
    drop(clients);
    proxy.counts("stickyd_connections_open", &[], 0);
}
