//! How a sid is learned: from the answer that starts a session, in every form, while it passes untouched.

use std::thread;

use super::Stage;
use crate::support::engine_io::{
    EngineIo, answer, get, instance_of, open_packet, poll, post, sid_of, start, upgrade,
};
use crate::support::{Message, Proxy, ws};

const SID: &str = "lv_VI97HAXpY6yYWAAAB";

/// Other key order, an application's own fields, characters that need escaping.
const ODD: &str = r#"0{"maxPayload":1e6, "own":{"sid":"x","}":"\"}"}, "pingTimeout":20000,"pingInterval":25000.5,"sid":"lv_VI97HAXpY6yYWAAAB" }"#;

/// How an answer is sent.
#[derive(Clone, Copy)]
enum Form {
    Length,
    /// In chunks of so many bytes, each in a segment of its own.
    Chunked(usize),
    /// The end of the connection is the end of the answer.
    Close,
    /// The same from an instance that speaks HTTP/1.0.
    Old,
}

/// The pieces in which the instance sends it.
fn pieces(form: Form, fields: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let head = |line: &str| format!("{line}\r\n{fields}\r\n").into_bytes();
    match form {
        Form::Length => {
            vec![head(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len())), body.to_vec()]
        }
        Form::Chunked(size) => {
            let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
            let mut pieces = vec![head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")];
            pieces.extend(body.chunks(size).map(chunk));
            pieces.push(b"0\r\n\r\n".to_vec());
            pieces
        }
        Form::Close => vec![head("HTTP/1.1 200 OK"), body.to_vec()],
        Form::Old => vec![head("HTTP/1.0 200 OK"), body.to_vec()],
    }
}

/// The instance answers a session start in this way: the client gets just that, and the sid in it is known.
fn check(form: Form, query: &str, body: &[u8]) {
    let stage = Stage::new();
    let mut client = stage.proxy.connect();
    client.send(get(&format!("/socket.io/?{query}"), "Accept-Encoding: gzip, br\r\n"));
    let mut far = stage.instances[0].accept();
    assert_eq!(far.request().values("accept-encoding"), ["identity"]);
    for piece in pieces(form, "X-Instance: blue\r\n", body) {
        far.send(piece);
    }
    if matches!(form, Form::Close | Form::Old) {
        far.close();
    }
    let got = client.answer();
    assert_eq!((got.status(), &*got.body), (200, body), "{query}");
    assert_eq!(got.field("x-instance").as_deref(), Some("blue"));
    stage.proxy.counts("stickyd_sids", &[], 1);
    stage.proxy.counts("stickyd_sids_unreadable_total", &[], 0);
    // Whoever has no known sid would go to the other instance now.
    client.send(poll(SID, ""));
    eventually_at(&stage, 0);
}

/// The next request comes to this instance, on whichever connection.
fn eventually_at(stage: &Stage, at: usize) {
    stage.proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], 1);
    let name = stage.instances[at].to_string();
    stage.proxy.counts("stickyd_requests_open", &[("instance", &name), ("kind", "poll")], 1);
}

#[test]
fn open_packets_are_learned_in_every_form() {
    const EIO4: &str = "EIO=4&transport=polling";
    const EIO3: &str = "EIO=3&transport=polling";
    const JSONP: &str = "EIO=4&transport=polling&j=0";
    let eio4 = open_packet(SID);
    let eio3 = format!("{}:{eio4}", eio4.len());
    let xhr2 = {
        let digits: Vec<u8> = eio4.len().to_string().bytes().map(|digit| digit - b'0').collect();
        [b"\0", &*digits, b"\xff", eio4.as_bytes()].concat()
    };
    let script = |packet: &str| format!("___eio[0](\"{}\");", packet.replace('"', "\\\""));
    for form in
        [Form::Length, Form::Chunked(1), Form::Chunked(7), Form::Chunked(1000), Form::Close, Form::Old]
    {
        check(form, EIO4, eio4.as_bytes());
        check(form, EIO3, format!("{eio3}2:40").as_bytes());
        check(form, EIO3, &[&*xhr2, b"\0\x02\xff40"].concat());
        check(form, JSONP, script(&eio4).as_bytes());
        check(form, "transport=polling&EIO=3&j=0", script(&format!("{eio3}2:40")).as_bytes());
        check(form, EIO4, ODD.as_bytes());
        check(form, EIO4, format!("{eio4}\x1e2probe\x1e4hello").as_bytes());
    }
}

#[test]
fn what_cannot_be_read_is_passed_on_untouched_and_counted() {
    let stage = Stage::new();
    let gzipped: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 51, 0, 0];
    let long = format!("0{{\"own\":\"{}\",\"sid\":\"{SID}\"}}", "x".repeat(5000));
    let mut unreadable = 0;
    let mut check = |fields: &str, body: &[u8], form: Form| {
        let mut client = stage.proxy.connect();
        client.send(start(""));
        let (mut far, _) = stage.accept();
        far.request();
        for piece in pieces(form, fields, body) {
            far.send(piece);
        }
        let got = client.answer();
        let (name, value) = fields.trim_end().split_once(": ").unwrap_or(("content-encoding", ""));
        assert_eq!(got.field(&name.to_lowercase()).unwrap_or_default(), value);
        assert_eq!(got.body, body);
        unreadable += 1;
        stage.proxy.counts("stickyd_sids_unreadable_total", &[("upstream", "app")], unreadable);
        stage.proxy.counts("stickyd_sids", &[], 0);
        // An instance's connection serves one of them, so that the next is accepted.
        far.close();
    };
    for form in [Form::Length, Form::Chunked(3)] {
        check("Content-Encoding: gzip\r\n", gzipped, form);
        // Told, though it is none: not looked at.
        check("Content-Encoding: br\r\n", open_packet(SID).as_bytes(), form);
        check("", gzipped, form);
        check("", b"", form);
        check("", b"<html>hello</html>", form);
        check("", b"40", form);
        check("", b"0{}", form);
        check("", br#"0{"sid":""}"#, form);
        check("", br#"0{"sid":7}"#, form);
        check("", br#"0{"sid":"cut"#, form);
        check("", &b"0{\"sid\":\"\xff\xfe\"}"[..], form);
        check("", format!("0{{\"sid\":\"{}\"}}", "x".repeat(257)).as_bytes(), form);
        check("", "{".repeat(5000).as_bytes(), form);
        check("", format!("0{}", "{".repeat(5000)).as_bytes(), form);
    }
    check("", long.as_bytes(), Form::Chunked(1000));
}

/// Only the answer 200 to a session start is looked at.
#[test]
fn nothing_is_learned_from_other_answers() {
    let stage = Stage::new();
    let packet = open_packet(SID);
    let with_status = |status: &str| answer("", &packet).replace("200 OK", status);
    let check = |request: &str, answer: &str, got: fn(&mut crate::support::Socket) -> Message| {
        let mut client = stage.proxy.connect();
        client.send(request);
        let (mut far, _) = stage.accept();
        far.request();
        far.send(answer);
        got(&mut client);
        far.close();
        stage.proxy.counts("stickyd_sids", &[], 0);
    };
    let whole = crate::support::Socket::answer;
    check(&start(""), &with_status("201 Created"), whole);
    check(&start(""), &with_status("400 Bad Request"), whole);
    check(&start(""), &with_status("503 Service Unavailable"), whole);
    check(
        &start("").replacen("GET", "HEAD", 1),
        answer("", &packet).split(&packet).next().unwrap(),
        |client| client.answer_to_head(),
    );
    check(&get("/other/?EIO=4&transport=polling", ""), &answer("", &packet), whole);
    check(&get("/socket.io/?EIO=4&transport=websocket", ""), &answer("", &packet), whole);
    check(&poll("unknown", ""), &answer("", &packet), whole);
    check(&ws::handshake("/socket.io/?EIO=4&transport=websocket", ""), &answer("", &packet), whole);
    stage.proxy.counts("stickyd_sids_unreadable_total", &[], 0);
}

#[test]
fn only_session_starts_ask_for_an_answer_that_can_be_read() {
    let accepted = |sticky: &str, request: &str| {
        let stage = Stage::with("", sticky, "");
        let mut client = stage.proxy.connect();
        client.send(request.replacen("\r\n", "\r\nAccept-Encoding: gzip\r\naccept-encoding: br\r\n", 1));
        let (mut far, _) = stage.accept();
        far.request().values("accept-encoding")
    };
    let (theirs, ours) = (["gzip", "br"], ["identity"]);
    let by_sid = "by = [\"sid\"]";
    assert_eq!(accepted(by_sid, &start("")), ours);
    assert_eq!(accepted(by_sid, &poll(SID, "")), theirs);
    assert_eq!(accepted(by_sid, &post(SID, "4hi")), theirs);
    assert_eq!(accepted(by_sid, &upgrade(SID, "")), theirs);
    assert_eq!(accepted(by_sid, &get("/socket.io/socket.io.js", "")), theirs);
    assert_eq!(accepted(by_sid, &start("").replacen("GET", "OPTIONS", 1)), theirs);
    assert_eq!(accepted(by_sid, &get("/other/?EIO=4&transport=polling", "")), theirs);
    // Who learns nothing need not read anything.
    assert_eq!(accepted("by = [\"cookie\"]", &start("")), theirs);
}

/// The client goes on before the answer that told it its sid has ended.
#[test]
fn a_sid_is_known_before_the_client_can_have_read_it() {
    let stage = Stage::new();
    let mut client = stage.proxy.connect();
    client.send(start(""));
    let mut far = stage.instances[0].accept();
    far.request();
    let packet = open_packet(SID);
    far.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    far.send(format!("{:x}\r\n{packet}\r\n", packet.len()));
    client.expect(format!("{:x}\r\n{packet}\r\n", packet.len()));
    let mut other = stage.proxy.connect();
    other.send(poll(SID, ""));
    stage.instances[0].accept().request();
    far.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
}

/// With two workers each request of a client comes to another thread.
#[test]
fn a_sid_is_known_to_all_workers_at_once() {
    const CLIENTS: usize = 4;
    const SESSIONS: usize = 100;
    let (blue, green) = (EngineIo::start("blue"), EngineIo::start("green"));
    let proxy = Proxy::start(&format!(
        "workers = 2\n[upstream.app]\nbalance = \"round_robin\"\ninstances = [\"{blue}\", \"{green}\"]\n\
         [upstream.app.sticky]\nby = [\"sid\"]\n"
    ));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                // Some of them are with the one worker, some with the other.
                let mut connections: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
                for number in 0..SESSIONS {
                    let [beginner, next] = [number, number + 1].map(|at| at % connections.len());
                    connections[beginner].send(start(""));
                    let first = connections[beginner].answer();
                    connections[next].send(poll(&sid_of(&first), ""));
                    let second = connections[next].answer();
                    assert_eq!((second.status(), second.text()), (200, "6"));
                    assert_eq!(instance_of(&second), instance_of(&first));
                }
            });
        }
    });
    proxy.counts("stickyd_sids", &[], (CLIENTS * SESSIONS) as u64);
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], (CLIENTS * SESSIONS) as u64);
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[], 0);
}

/// A sid that comes again, from another instance or after a restart, is where it came from last.
#[test]
fn the_last_word_on_a_sid_counts() {
    let stage = Stage::new();
    let (_one, _far, first) = stage.session(SID);
    let (mut client, mut far, second) = stage.session(SID);
    assert_ne!(first, second);
    client.send(poll(SID, ""));
    far.request();
    far.send(answer("", "6"));
    assert_eq!(client.answer().text(), "6");
    stage.proxy.counts("stickyd_sids", &[], 1);
}
