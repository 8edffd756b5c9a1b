//! Nothing becomes a tunnel that is not asked for and answered exactly so.

use std::time::Duration;

use crate::support::ws::{self, Frame};
use crate::support::{Instance, Proxy, Socket};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";

fn start() -> (Proxy, Instance) {
    let instance = Instance::start();
    (Proxy::before(&instance), instance)
}

/// A handshake in which `line` is `instead`.
fn changed(line: &str, instead: &str) -> String {
    let handshake = ws::handshake("/ws", "");
    assert!(handshake.contains(line), "{line}");
    handshake.replace(line, instead)
}

#[test]
fn what_is_no_handshake_stays_http() {
    let (proxy, instance) = start();
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = format!("Sec-WebSocket-Key: {}\r\n", ws::KEY);
    let upgrade = "Upgrade: websocket\r\n";
    let connection = "Connection: Upgrade\r\n";
    let get = "GET /ws HTTP/1.1";
    let cases = [
        changed(get, "POST /ws HTTP/1.1"),
        changed(get, "HEAD /ws HTTP/1.1"),
        changed(version, ""),
        changed(version, "Sec-WebSocket-Version: 12\r\n"),
        changed(version, "Sec-WebSocket-Version: 013\r\n"),
        changed(version, "Sec-WebSocket-Version: 13, 8\r\n"),
        changed(version, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n"),
        changed(&key, ""),
        changed(&key, "Sec-WebSocket-Key: short\r\n"),
        changed(&key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n"),
        changed(&key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\r\n"),
        changed(&key, "Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\r\n"),
        changed(&key, &format!("{key}{key}")),
        changed(upgrade, ""),
        changed(upgrade, "Upgrade: h2c\r\n"),
        changed(upgrade, "Upgrade: websocket, h2c\r\n"),
        changed(upgrade, "Upgrade: websocket/13\r\n"),
        changed(upgrade, "Upgrade: web\r\nUpgrade: socket\r\n"),
        changed(upgrade, "Upgrade: websocket\r\nUpgrade: websocket\r\n"),
        changed(connection, ""),
        changed(connection, "Connection: keep-alive\r\n"),
        changed(connection, "Connection: xupgrade\r\n"),
        changed(connection, "Connection: Upgrade Upgrade\r\n"),
        changed(get, "GET /ws HTTP/1.0").replace(connection, "Connection: Upgrade, keep-alive\r\n"),
    ];
    for case in &cases {
        let mut client = proxy.connect();
        client.send(format!("{case}{SMUGGLED}"));
        let mut far = instance.accept();
        let request = far.request();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.values(name), [""; 0], "{name} of {case}");
        }
        // Even an instance that takes it for a handshake cannot make a tunnel of it.
        if case.starts_with("HEAD") {
            far.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            assert_eq!(client.answer_to_head().status(), 200, "{case}");
        } else {
            far.send(OK);
            assert_eq!(client.answer().text(), "ok", "{case}");
        }
        // What came behind is a request of its own.
        assert_eq!(far.request().line(), "GET /smuggled HTTP/1.1", "{case}");
        far.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().status(), 200, "{case}");
    }
    proxy.counts("stickyd_tunnels_opened_total", &[], 0);
}

#[test]
fn a_handshake_with_a_body_stays_http() {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    let body = SMUGGLED.len();
    client.send(ws::handshake("/ws", &format!("Content-Length: {body}\r\n")) + SMUGGLED + SMUGGLED);
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!((request.text(), request.field("upgrade")), (SMUGGLED, None));
    far.send(OK);
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(far.request().line(), "GET /smuggled HTTP/1.1");
}

#[test]
fn a_refused_handshake_leaves_http_on_both_sides() {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    // The bytes behind look like a frame and like requests: they are requests.
    client.send(ws::handshake("/ws", "") + SMUGGLED);
    let mut far = instance.accept();
    assert_eq!(far.request().field("upgrade").as_deref(), Some("websocket"));
    far.is_silent(Duration::from_millis(50));
    far.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (403, "no"));
    let smuggled = far.request();
    assert_eq!(smuggled.line(), "GET /smuggled HTTP/1.1");
    assert!(smuggled.field("x-forwarded-for").is_some(), "it went through everything a request goes through");
    far.send(OK);
    assert_eq!(client.answer().text(), "ok");
    proxy.counts("stickyd_tunnels_opened_total", &[], 0);
}

#[test]
fn frames_behind_a_refused_handshake_are_no_requests() {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    client.send([ws::handshake("/ws", "").into_bytes(), Frame::masked(ws::TEXT, "hello").bytes()].concat());
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.answer().status(), 400);
    client.ends();
    assert!(!far.has_at_once(1), "the frame reached the instance");
}

#[test]
fn an_upgrade_that_the_instance_wants_differently_is_passed_on() {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("sec-websocket-version").as_deref()), (426, Some("8")));
}

/// The instance answers a handshake with `answer`: the client hears 502, and neither side can go on.
fn check_bad_switch(handshake: &str, answer: &str) {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    client.send(handshake);
    let mut far = instance.accept();
    far.request();
    far.send(format!("{answer}{OK}"));
    let got = client.answer();
    assert_eq!(got.status(), 502, "{answer}");
    far.is_gone();
    if got.field("connection").as_deref() == Some("close") {
        client.ends();
    }
    proxy.counts("stickyd_tunnels_opened_total", &[], 0);
}

#[test]
fn a_101_that_does_not_fit_is_a_502() {
    let switch = ws::switch("");
    let accept = format!("Sec-WebSocket-Accept: {}\r\n", ws::ACCEPT);
    let check = |line: &str, instead: &str| {
        assert!(switch.contains(line), "{line}");
        check_bad_switch(&ws::handshake("/ws", ""), &switch.replace(line, instead));
    };
    check(&accept, "");
    check(&accept, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n");
    check(&accept, "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\r\n");
    check(&accept, &format!("{accept}{accept}"));
    check("Upgrade: websocket\r\n", "");
    check("Upgrade: websocket\r\n", "Upgrade: h2c\r\n");
    check("Upgrade: websocket\r\n", "Upgrade: websocket, h2c\r\n");
    check("Connection: Upgrade\r\n", "");
    check("Connection: Upgrade\r\n", "Connection: keep-alive\r\n");
    check(&accept, &format!("{accept}Content-Length: 5\r\n"));
    check(&accept, &format!("{accept}Transfer-Encoding: chunked\r\n"));
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502() {
    check_bad_switch("GET / HTTP/1.1\r\nHost: app\r\n\r\n", &ws::switch(""));
    check_bad_switch(&changed("Connection: Upgrade\r\n", ""), &ws::switch(""));
    check_bad_switch(&changed("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"), &ws::switch(""));
    let h2c = "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    check_bad_switch(h2c, switch);
}

#[test]
fn interim_answers_before_the_101_do_no_harm() {
    let (proxy, instance) = start();
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    far.send(ws::switch(""));
    let mut answer = client.answer();
    while answer.status() != 101 {
        answer = client.answer();
    }
    far.send(Frame::new(ws::TEXT, "hello").bytes());
    assert_eq!(Frame::read(&mut client).payload, b"hello");
}

#[test]
fn bytes_right_behind_the_heads_arrive_in_both_directions() {
    let (proxy, instance) = start();
    let up =
        [Frame::masked(ws::TEXT, "up").bytes(), Frame::masked(ws::BINARY, vec![7; 30_000]).bytes()].concat();
    let down =
        [Frame::new(ws::TEXT, "down").bytes(), Frame::new(ws::BINARY, vec![9; 60_000]).bytes()].concat();
    let mut client = proxy.connect();
    client.send([ws::handshake("/ws", "").as_bytes(), &up].concat());
    let mut far = instance.accept();
    far.request();
    // They wait for the 101.
    far.is_silent(Duration::from_millis(50));
    far.send([ws::switch("").as_bytes(), &down].concat());
    client.head();
    client.expect(&down);
    far.expect(&up);
    // And the tunnel goes on where they ended.
    client.send(Frame::masked(ws::TEXT, "later").bytes());
    far.expect(Frame::masked(ws::TEXT, "later").bytes());
}

#[test]
fn part_of_a_frame_right_behind_the_heads() {
    let (proxy, instance) = start();
    let frame = Frame::masked(ws::TEXT, "hello").bytes();
    for cut in 1..frame.len() {
        let mut client = proxy.connect();
        client.send([ws::handshake("/ws", "").as_bytes(), &frame[..cut]].concat());
        let mut far: Socket = instance.accept();
        far.request();
        far.send([ws::switch("").as_bytes(), &frame[..cut]].concat());
        client.head();
        client.send(&frame[cut..]);
        far.expect(&frame);
        far.send(&frame[cut..]);
        client.expect(&frame);
    }
}

#[test]
fn a_client_may_send_much_before_the_101() {
    let (proxy, instance) = start();
    let frame = Frame::masked(ws::BINARY, crate::support::noise(3 << 20)).bytes();
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&frame));
        let mut far = instance.accept();
        far.request();
        far.is_silent(Duration::from_millis(50));
        far.send(ws::switch(""));
        client.head();
        far.expect(&frame);
    });
}

#[test]
fn other_protocols_are_tunnelled_when_they_are_named() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "upgrade_protocols = [\"pipe\"]\n[upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = []\n"
    ));
    let request = |protocol: &str| {
        format!("POST /x HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n")
    };
    let mut client = proxy.connect();
    client.send(request("PIPE") + "early");
    let mut far = instance.accept();
    assert_eq!(far.request().field("upgrade").as_deref(), Some("pipe"));
    far.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: Pipe\r\n\r\nearly too");
    assert_eq!(client.answer().field("upgrade").as_deref(), Some("pipe"));
    client.expect("early too");
    far.expect("early");
    // What no frame can be: an impossible length, in pieces.
    for bytes in [&b"\x81\xff\xff\xff"[..], &[0xff; 20], b"\x88"] {
        client.send(bytes);
        far.expect(bytes);
        far.send(bytes);
        client.expect(bytes);
    }
    // Closed plainly: no frame goes into bytes that know none.
    proxy.close_tunnels(stickyd::tunnel::Reason::Command);
    client.is_gone();
    far.is_gone();
    proxy.closed_one("command", "none");

    // One that is not named stays HTTP.
    let mut client = proxy.connect();
    client.send(request("tube"));
    assert_eq!(instance.accept().request().field("upgrade"), None);
}

#[test]
fn websocket_goes_on_as_before_when_others_are_named() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "upgrade_protocols = [\"pipe\"]\n[upstream.app]\ninstances = [\"{instance}\"]\n"
    ));
    let (mut client, mut far) = ws::open(&proxy, &instance);
    proxy.close_tunnels(stickyd::tunnel::Reason::Command);
    ws::expect_close(&mut client, 1012, false);
    ws::expect_close(&mut far, 1012, true);
}
