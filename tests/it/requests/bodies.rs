//! Bodies, both ways: framed anew, streamed, limited.

use std::thread;
use std::time::Duration;

use super::{exchange, get, ok, trio, trio_with};
use crate::support::{Instance, Proxy, Socket, eventually, noise};

/// `content` in chunks of odd sizes.
fn chunked(content: &[u8], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, chunk) in content.chunks(9_973).enumerate() {
        let extension = if number.is_multiple_of(2) { "" } else { ";ext=\"1\"" };
        out.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(format!("0\r\n{trailers}\r\n").bytes());
    out
}

/// A message with this body, in chunks or with its length.
fn message(first: &str, content: &[u8], in_chunks: bool) -> Vec<u8> {
    let (field, body) = if in_chunks {
        ("Transfer-Encoding: chunked".to_owned(), chunked(content, ""))
    } else {
        (format!("Content-Length: {}", content.len()), content.to_vec())
    };
    [format!("{first}\r\n{field}\r\n\r\n").into_bytes(), body].concat()
}

#[test]
fn megabytes_arrive_as_they_were_sent() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    let content = noise(5 << 20);
    for (up_in_chunks, down_in_chunks) in [(false, true), (true, false)] {
        let mut client = proxy.connect();
        let mut writer = client.writer();
        let request = message("POST /up HTTP/1.1\r\nHost: app", &content, up_in_chunks);
        let answer = message("HTTP/1.1 200 OK", &content, down_in_chunks);
        thread::scope(|scope| {
            scope.spawn(move || writer.send(request));
            let mut far = instance.accept();
            let got = far.request();
            assert!(got.body == content, "up, in chunks: {up_in_chunks}");
            assert_eq!(got.field("transfer-encoding").is_some(), up_in_chunks);
            scope.spawn(move || far.send(answer));
            let got = client.answer();
            assert!(got.body == content, "down, in chunks: {down_in_chunks}");
            assert_eq!(got.field("transfer-encoding").is_some(), down_in_chunks);
        });
    }
}

#[test]
fn chunks_are_made_anew_and_trailers_pass() {
    let (_proxy, instance, mut client) = trio();
    let trailers = "X-Sum: 1\r\nx-two:  2 \r\nAuthorization: no\r\nX-Forwarded-For: 6.6.6.6\r\n";
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    client.send(format!("5;name=value\r\nhello\r\n00000A\r\n0123456789\r\n000\r\n{trailers}\r\n"));
    let mut far = instance.accept();
    let head = far.head();
    assert!(head.contains("Transfer-Encoding: chunked\r\n") && !head.contains("Content-Length"), "{head}");
    far.expect("5\r\nhello\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\nx-two: 2\r\n\r\n");
    far.send("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n");
    far.send(format!("3;x\r\nabc\r\n0\r\n{trailers}\r\n"));
    client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect("3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-two: 2\r\n\r\n");
    exchange(&mut client, &mut far, "/next", &ok("next"));
}

#[test]
fn bodies_byte_by_byte() {
    let (_proxy, instance, mut client) = trio();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_singly("5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!((request.text(), request.trailers.join("|")), ("helloabc", "X: y".to_owned()));
    far.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    far.send_singly("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "hello");
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\n");
    client.send_singly("some body");
    assert_eq!(far.request().text(), "some body");
}

#[test]
fn a_body_is_passed_on_while_it_comes() {
    let (_proxy, instance, mut client) = trio();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\n");
    let mut far = instance.accept();
    far.head();
    client.send("abc");
    far.expect("abc");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123");
    // It is answered before it is whole: in time nobody can say where a next request would begin.
    assert!(client.head().contains("Connection: close\r\n"));
    client.expect("123");
    client.send("def");
    far.expect("def");
    far.send("456");
    client.expect("456");
    client.ends();
}

#[test]
fn a_body_that_is_known_to_be_too_large_goes_nowhere() {
    let (proxy, instance, mut client) = trio_with("[limits]\nbody = \"1k\"\n");
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1025\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection").as_deref()), (413, Some("close")));
    client.ends();
    instance.saw_nothing();
    proxy.counts("stickyd_limit_hits_total", &[("limit", "body")], 1);

    let mut client = proxy.connect();
    client.send(message("POST / HTTP/1.1\r\nHost: app", &noise(1024), false));
    assert_eq!(instance.accept().request().body.len(), 1024);
}

#[test]
fn a_body_that_turns_out_too_large_is_cut() {
    let (proxy, instance, mut client) = trio_with("[limits]\nbody = \"1k\"\n");
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("400\r\n{}\r\n", "x".repeat(1024)));
    let mut far = instance.accept();
    far.head();
    client.send("1\r\nx\r\n");
    assert_eq!(client.answer().status(), 413);
    client.ends();
    let (body, _) = far.rest();
    assert!(!body.ends_with(b"0\r\n\r\n"), "the instance must not take it for whole");
    proxy.counts("stickyd_limit_hits_total", &[("limit", "body")], 1);

    let mut client = proxy.connect();
    client.send(message("POST / HTTP/1.1\r\nHost: app", &noise(1024), true));
    assert_eq!(instance.accept().request().body.len(), 1024);
}

#[test]
fn a_route_has_its_own_limit_of_bodies() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{instance}\"]\n[limits]\nbody = \"1k\"\n\
         [[route]]\npath = \"/big/*\"\nupstream = \"app\"\nbody = \"off\"\n[[route]]\nupstream = \"app\"\n"
    ));
    let mut client = proxy.connect();
    client.send(message("POST /big/x HTTP/1.1\r\nHost: app", &noise(100_000), false));
    assert_eq!(instance.accept().request().body.len(), 100_000);
    let mut client = proxy.connect();
    client.send("POST /small HTTP/1.1\r\nHost: app\r\nContent-Length: 2000\r\n\r\n");
    assert_eq!(client.answer().status(), 413);
}

#[test]
fn who_is_refused_while_sending_much_still_hears_why() {
    let (_proxy, instance, mut client) = trio_with("[limits]\nbody = \"1k\"\n");
    let body = noise(4 << 20);
    client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n", body.len()));
    // All of it first, as simple clients do.
    client.send(body);
    assert_eq!(client.answer().status(), 413);
    client.half_close();
    client.ends();
    instance.saw_nothing();
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    let (_proxy, instance, mut client) = trio();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\nfirst");
    let mut far = instance.accept();
    far.head();
    far.expect("first");
    far.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (401, "no"));
    // Neither side can be used again: what comes next would be taken for the body.
    client.ends();
    far.is_gone();
}

#[test]
fn an_answer_of_an_instance_that_ends_without_reading_the_body_arrives() {
    let (_proxy, instance, mut client) = trio();
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 8000000\r\n\r\n");
            let _ = writer.try_send(noise(8_000_000));
        });
        let mut far = instance.accept();
        far.head();
        far.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        // With unread bytes: the kernel tears the connection down.
        far.close();
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text()), (403, "no"));
        client.is_gone();
    });
}

/// The head of a POST of this length, and an instance that has read no more than that.
fn post(proxy: &Proxy, instance: &Instance, length: usize) -> (Socket, Socket) {
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n"));
    let mut far = instance.accept();
    far.head_alone();
    (client, far)
}

#[test]
fn an_instance_s_connection_is_used_again_only_when_it_took_the_whole_body() {
    const STEP: usize = 16 * 1024;
    /// Time for the proxy to read what there is. With too little of it the test sees less, but nothing wrong.
    const MOMENT: Duration = Duration::from_millis(20);
    let instance = Instance::small();
    let proxy = Proxy::configured(&instance, "[limits]\nbody = \"off\"\n");
    // How much goes in before the proxy reads no more, because what it read last waits for the instance.
    let (mut client, far) = post(&proxy, &instance, 1 << 30);
    let mut capacity = 0;
    while client.is_all_read() {
        client.send(vec![b'x'; 8 * STEP]);
        capacity += 8 * STEP;
        thread::sleep(MOMENT);
    }
    client.reset();
    drop(far);
    // With somewhat less the last bytes of a body wait in the proxy when the answer is over.
    for length in (capacity.saturating_sub(13 * STEP)..capacity).step_by(STEP) {
        let (mut client, mut far) = post(&proxy, &instance, length);
        client.send(vec![b'x'; length]);
        thread::sleep(MOMENT);
        far.send(ok("early"));
        assert_eq!(client.answer().text(), "early");
        let mut next = proxy.connect();
        next.send("GET /next HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        // On another connection, or on this one behind all of the body.
        let mut fresh = None;
        eventually("the next request", || {
            fresh = instance.try_accept();
            (fresh.is_some() || far.has_at_once(length + 1)).then_some(())
        });
        let mut by = fresh.unwrap_or_else(|| {
            far.exactly(length);
            far
        });
        assert_eq!(by.request().line(), "GET /next HTTP/1.1", "after {length} bytes of {capacity}");
        by.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext");
        assert_eq!(next.answer().text(), "next");
    }
}

#[test]
fn a_get_may_have_a_body_and_a_post_none() {
    let (_proxy, instance, mut client) = trio();
    client.send(message("GET /search HTTP/1.1\r\nHost: app", b"query", false));
    let mut far = instance.accept();
    assert_eq!(far.request().text(), "query");
    far.send(ok("found"));
    client.answer();
    client.send("POST /empty HTTP/1.1\r\nHost: app\r\n\r\n");
    let request = far.request();
    assert_eq!((request.line(), request.body.len()), ("POST /empty HTTP/1.1", 0));
    far.send(ok(""));
    client.answer();
    client.send(get("/next"));
    assert_eq!(far.request().line(), "GET /next HTTP/1.1");
}
