//! Sessions whose instance is gone, and sids that nobody knows: the client must learn of it at once, and start anew.

use super::{CORS, Stage};
use crate::support::engine_io::{EngineIo, UNKNOWN, get, instance_of, poll, post, sid_of, start, upgrade};
use crate::support::instance::Refusing;
use crate::support::{Message, Proxy, Socket};

/// A session whose instance refuses connections since: the stage, the client and the sid.
fn orphan() -> (Stage, Socket) {
    let stage = Stage::new();
    let (client, far, at) = stage.session("abc");
    far.close();
    stage.instances[at].refuse();
    (stage, client)
}

#[track_caller]
fn is_told(got: &Message, cors: bool) {
    assert_eq!((got.status(), got.text()), (400, UNKNOWN), "{}", got.head);
    assert_eq!(got.field("content-type").as_deref(), Some("application/json"));
    assert_eq!(got.field("cache-control").as_deref(), Some("no-store"));
    assert_eq!(got.head.contains(CORS), cors, "{}", got.head);
    assert_eq!(got.values("set-cookie"), [""; 0]);
}

#[test]
fn a_client_whose_instance_is_gone_is_told_at_once_and_starts_anew() {
    let sid = "abc";
    let requests = [
        poll(sid, ""),
        poll(sid, "").replace("EIO=4", "EIO=3"),
        poll(sid, "").replace("EIO=4", "EIO=4&j=0"),
        post(sid, "40"),
        poll(sid, "").replacen("GET", "OPTIONS", 1),
        upgrade(sid, ""),
    ];
    for request in requests {
        let (stage, mut client) = orphan();
        client.send(&request);
        let got = client.answer();
        is_told(&got, true);
        let reads_on = got.field("connection").as_deref() != Some("close");
        assert_eq!(reads_on, !request.starts_with("POST"), "{request}");
        stage.proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "proxy")], 1);
        stage.proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "instance")], 0);
        stage.proxy.counts("stickyd_requests_total", &[("origin", "proxy"), ("code", "4xx")], 1);
        // Nothing is kept of what the client must not use again.
        stage.proxy.counts("stickyd_sids", &[], 0);
        if !reads_on {
            client.ends();
            client = stage.proxy.connect();
        }
        client.send(start(""));
        let (mut far, at) = stage.accept();
        assert_eq!(at, 1);
        far.request();
        far.send(crate::support::engine_io::answer("", "0{\"sid\":\"new\"}"));
        assert_eq!(client.answer().text(), "0{\"sid\":\"new\"}");
    }
}

/// A client may ask more than one thing at a time; none of them is to hang, and none goes to where the session never was.
#[test]
fn everything_that_a_lost_client_asks_is_answered() {
    let (stage, mut client) = orphan();
    let mut others: Vec<_> = (0..4).map(|_| stage.proxy.connect()).collect();
    client.send(poll("abc", ""));
    is_told(&client.answer(), true);
    for other in &mut others {
        other.send(poll("abc", ""));
    }
    // The sid is unknown by now, so whoever is there may say so.
    for _ in 0..others.len() {
        let (mut far, at) = stage.accept();
        assert_eq!(at, 1);
        far.request();
        let length = UNKNOWN.len();
        far.send(format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{UNKNOWN}"
        ));
    }
    for mut other in others {
        assert_eq!((other.answer().status(), stage.proxy.count("stickyd_sids", &[])), (400, 0));
    }
}

#[test]
fn without_cors_in_the_beginning_there_is_none_at_the_end() {
    let mut blue = EngineIo::start("blue");
    let proxy = Proxy::start(&format!("[upstream.app]\ninstances = [\"{blue}\"]\n"));
    let mut client = proxy.connect();
    client.send(start("Origin: https://evil.example\r\n"));
    let sid = sid_of(&client.answer());
    blue.instance.stop();
    client.send(poll(&sid, "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n"));
    let got = client.answer();
    is_told(&got, false);
    assert!(!got.head.to_lowercase().contains("access-control"), "{}", got.head);
}

/// Another proxy may have placed it: by cookie, by the address.
#[test]
fn an_unknown_sid_goes_by_cookie_and_then_by_the_address() {
    let instances = ["a", "b", "c"].map(EngineIo::start);
    let [a, b, c] = &instances;
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [\"{a}\", \"{b}\", \"{c}\"]\n\
         [upstream.app.sticky]\nip_hash = {{ bound = 1.01 }}\n"
    ));
    let ask = |request: &str| {
        let mut client = proxy.connect();
        client.send(request);
        client.answer()
    };
    let mut cookies = 0;
    for number in 0..20 {
        let address = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let placed = ask(&get("/", &address));
        let (cookie, _) = placed.cookie("stickyd-app").unwrap();
        let with_cookie = format!("X-Forwarded-For: 198.51.100.7\r\nCookie: {cookie}\r\n");
        for fields in [&address, &with_cookie] {
            for request in [poll("nobody", fields), upgrade("nobody", fields)] {
                let got = ask(&request);
                assert_eq!((got.status(), got.text()), (400, UNKNOWN));
                assert_eq!(instance_of(&got), instance_of(&placed), "{request}");
            }
        }
        cookies += 2;
        // Starts go where there is room: then the same address would not tell.
        ask(&start(&address));
    }
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "cookie")], cookies);
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], 0);
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "instance")], 2 * cookies);
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "proxy")], 0);
}

/// Nobody is there at all: 503, as for everybody else.
#[test]
fn an_unknown_sid_that_nobody_can_be_asked_about_is_a_503() {
    let dead = Refusing::start();
    let proxy = Proxy::start(&format!("[upstream.app]\ninstances = [\"{dead}\"]\n"));
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(poll("abc", ""));
        let got = client.answer();
        assert_eq!((got.status(), got.field("retry-after").as_deref()), (503, Some("1")));
    }
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[], 0);
}

/// In maintenance nothing goes to an instance, though its cookie says so.
#[test]
fn an_unknown_sid_does_not_go_to_an_instance_in_maintenance() {
    let (blue, green) = (EngineIo::start("blue"), EngineIo::start("green"));
    let secret = crate::support::process::Home::new();
    let file = secret.write("secret", &format!("{}\n", "0123456789abcdef".repeat(3)));
    let proxy = |state: &str| {
        Proxy::start(&format!(
            "[upstream.app]\ninstances = [{{ address = \"{blue}\", state = \"{state}\" }}, \"{green}\"]\n\
             [upstream.app.sticky]\nby = [\"sid\", \"cookie\"]\nsecret_file = \"{file}\"\n"
        ))
    };
    let ready = proxy("ready");
    let (cookie, _) = (0..100)
        .map(|_| ready.get("/", ""))
        .find(|got| instance_of(got) == "blue")
        .and_then(|got| got.cookie("stickyd-app"))
        .unwrap();
    for (state, expected) in [("cordon", "blue"), ("drain", "blue"), ("maintain", "green")] {
        let proxy = proxy(state);
        let mut client = proxy.connect();
        client.send(poll("nobody", &format!("Cookie: {cookie}\r\n")));
        assert_eq!(instance_of(&client.answer()), expected, "{state}");
    }
}
