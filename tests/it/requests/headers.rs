//! What of a head concerns one connection only, and what the proxy says of the client.

use super::{get, ok, trio, trio_with};
use crate::support::{Answering, Instance, Message, Proxy, ws};

#[test]
fn a_request_arrives_so_and_not_otherwise() {
    let (_proxy, instance, mut client) = trio();
    client.send(
        "GET /a/b?c=d&e=%20f HTTP/1.1\r\nhOST: app.example:8080\r\nUser-Agent:  test \t\r\n\
         X-Request-ID: abc-1\r\nAccept: */*\r\nX-Two: 1\r\nX-Two: 2\r\nEmpty:\r\n\r\n",
    );
    let mut far = instance.accept();
    far.expect(
        "GET /a/b?c=d&e=%20f HTTP/1.1\r\nHost: app.example:8080\r\nUser-Agent: test\r\nAccept: */*\r\n\
         X-Two: 1\r\nX-Two: 2\r\nEmpty: \r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: app.example:8080\r\nX-Request-ID: abc-1\r\n\r\n",
    );
    far.send(
        "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/plain\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Content-Length: 5\r\nX-Empty:\r\n\r\nshort",
    );
    client.expect(
        "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/plain\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\n\
         X-Empty: \r\nContent-Length: 5\r\n\r\nshort",
    );
}

/// What an instance gets of a request with these field lines, from a peer that is `trusted` or not.
fn forwarded(top: &str, fields: &str) -> Message {
    let instance = Answering::start("blue");
    let proxy = Proxy::start(&format!(
        "{top}\n[upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = [\"cookie\"]\n"
    ));
    let mut client = proxy.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n"));
    assert_eq!(client.answer().status(), 200, "{fields}");
    instance.requests().pop().unwrap()
}

#[test]
fn what_concerns_one_connection_is_not_passed_on() {
    let check = |fields: &str, gone: &[&str], kept: &[&str]| {
        let request = forwarded("", fields);
        for name in gone {
            assert_eq!(request.values(name), [""; 0], "{name} of {fields}");
        }
        for name in kept {
            assert_eq!(request.values(name).len(), 1, "{name} of {fields}: {}", request.head);
        }
    };
    check(
        "Connection: X-One, x-two\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n",
        &["connection", "x-one", "x-two"],
        &["x-three"],
    );
    check("Connection: keep-alive\r\nConnection: X-One\r\nX-One: 1\r\n", &["connection", "x-one"], &[]);
    check(
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n",
        &["keep-alive", "proxy-connection"],
        &[],
    );
    check("TE: trailers\r\n", &["te"], &[]);
    check("Connection: TE\r\nTE: trailers\r\n", &["te", "connection"], &[]);
    check(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        &["connection", "upgrade", "http2-settings"],
        &[],
    );
    check("Upgrade: websocket\r\n", &["upgrade"], &[]);
    check("HTTP2-Settings: AAAA\r\n", &["http2-settings"], &[]);
    // `Connection` cannot take away what the proxy says, nor what routes the request.
    check(
        "Connection: Host, X-Forwarded-For, X-Real-IP, X-Request-ID, Content-Length\r\n",
        &["connection"],
        &["host", "x-forwarded-for", "x-real-ip", "x-request-id"],
    );
}

#[test]
fn other_spellings_of_the_proxy_s_own_headers_are_dropped() {
    let fields = [
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded_For: 6.6.6.6",
        "x_forwarded-proto: https",
        "X_FORWARDED_HOST: evil",
        "X_Real_IP: 6.6.6.6",
        "X-Real_IP: 6.6.6.6",
        "X_Request_ID: evil",
        "Plain_Name: kept",
    ];
    let request = forwarded("", &(fields.join("\r\n") + "\r\n"));
    assert!(!request.head.contains("6.6.6.6") && !request.head.contains("evil"), "{}", request.head);
    assert_eq!(request.field("plain_name").as_deref(), Some("kept"));
}

#[test]
fn a_client_cannot_say_who_it_is() {
    let request = forwarded(
        "",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6;host=evil\r\n",
    );
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(request.field("x-forwarded-host").as_deref(), Some("app"));
    assert_eq!(request.field("forwarded"), None);
}

#[test]
fn a_trusted_peer_is_believed_in_one_header() {
    const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let request = forwarded(
        TRUSTED,
        "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.example\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
    );
    let chain = "6.6.6.6, 203.0.113.7, 10.1.2.3, 127.0.0.1";
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some(chain));
    assert_eq!(request.field("x-real-ip").as_deref(), Some("203.0.113.7"), "the right-most untrusted one");
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(request.field("x-forwarded-host").as_deref(), Some("shop.example"));
    assert_eq!(request.field("forwarded"), None, "the other header is not believed");

    let request = forwarded(TRUSTED, "");
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
}

#[test]
fn forwarded_can_be_the_believed_one() {
    const TOP: &str = "client_ip_header = \"forwarded\"\n";
    const TRUSTED: &str = "client_ip_header = \"forwarded\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let request =
        forwarded(TRUSTED, "Forwarded: for=203.0.113.7;proto=https\r\nX-Forwarded-For: 6.6.6.6\r\n");
    let own = "for=127.0.0.1;proto=https;host=\"app\"";
    assert_eq!(request.field("forwarded").unwrap(), format!("for=203.0.113.7;proto=https, {own}"));
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("203.0.113.7"));
    assert_eq!(request.field("x-real-ip").as_deref(), Some("203.0.113.7"));
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));

    let request = forwarded(TOP, "Forwarded: for=203.0.113.7;proto=https\r\n");
    assert_eq!(request.field("forwarded").as_deref(), Some("for=127.0.0.1;proto=http;host=\"app\""));
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_request_has_one_id() {
    let kept = forwarded("", "X-Request-ID: 0af7651916cd43dd8448eb211c80319c\r\n");
    assert_eq!(kept.field("x-request-id").as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    let long = "a".repeat(129);
    for bad in ["", "a b", "a\"b", "a,b", "a\u{e4}", &long] {
        let made = forwarded("", &format!("X-Request-ID: {bad}\r\n")).field("x-request-id").unwrap();
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad}: {made}");
    }
    assert_ne!(forwarded("", "").field("x-request-id"), forwarded("", "").field("x-request-id"));
}

#[test]
fn the_proxy_s_own_cookie_stays_here() {
    let check =
        |fields: &str, expected: &[&str]| assert_eq!(forwarded("", fields).values("cookie"), expected);
    check("Cookie: stickyd-app=x\r\n", &[]);
    check("Cookie: a=1; stickyd-app=x; b=2\r\n", &["a=1; b=2"]);
    check("Cookie: stickyd-app=x; a=1\r\nCookie: stickyd-app=y\r\n", &["a=1"]);
    check("Cookie: stickyd-app2=x; xstickyd-app=y\r\n", &["stickyd-app2=x; xstickyd-app=y"]);
}

#[test]
fn answers_lose_what_concerns_one_connection() {
    let (_proxy, instance, mut client) = trio();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send(
        "HTTP/1.1 200 OK\r\nConnection: X-One, keep-alive\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nX-Two: 2\r\n\
         Upgrade: h2c\r\nProxy-Connection: close\r\nContent-Length: 0\r\n\r\n",
    );
    client.expect("HTTP/1.1 200 OK\r\nX-Two: 2\r\nContent-Length: 0\r\n\r\n");
    // `keep-alive` held.
    client.send(get("/again"));
    far.request();
    far.send(ok(""));
    client.answer();
}

#[test]
fn a_handshake_carries_what_the_ends_agree_on() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    let mut client = proxy.connect();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
                 Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://app\r\n";
    client.send(ws::handshake("/ws", offer));
    let mut far = instance.accept();
    let request = far.request();
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", ws::KEY),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("origin", "http://app"),
    ] {
        assert_eq!(request.field(name).as_deref(), Some(value), "{name}");
    }
    far.send(ws::switch("Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n"));
    let answer = client.answer();
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", ws::ACCEPT),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(answer.field(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn absolute_form_becomes_origin_form() {
    let (_proxy, instance, mut client) = trio_with("");
    client.send("GET http://app.example/x?y HTTP/1.1\r\nHost: app.example\r\n\r\n");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!(request.line(), "GET /x?y HTTP/1.1");
    assert_eq!(request.field("host").as_deref(), Some("app.example"));
    far.send(ok(""));
    client.answer();
    client.send("OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(far.request().line(), "OPTIONS * HTTP/1.1");
}

#[test]
fn bytes_of_values_are_nobody_s_business() {
    let (_proxy, instance, mut client) = trio();
    client.send(b"GET / HTTP/1.1\r\nHost: app\r\nX: \xe4\xff \t \"\x80\r\nX-Request-ID: 1\r\n\r\n");
    let mut far = instance.accept();
    far.expect(b"GET / HTTP/1.1\r\nHost: app\r\nX: \xe4\xff \t \"\x80\r\n");
    far.line();
    far.send(b"HTTP/1.1 200 OK\r\nX: \xfc\r\nContent-Length: 0\r\n\r\n");
    client.expect(b"HTTP/1.1 200 OK\r\nX: \xfc\r\nContent-Length: 0\r\n\r\n");
}
