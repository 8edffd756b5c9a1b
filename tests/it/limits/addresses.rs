//! Limits by address, `deny`, `exempt`, `origins`: who is turned away, how, and what is given back.

use std::net::{SocketAddr, TcpStream};

use crate::support::ws::{self, handshake, switch};
use crate::support::{Answering, Instance, Proxy, Socket, eventually};

/// An answer after which the connection is not kept, so that the next request comes on a new one.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n")
}

/// A connection from another address of this machine.
fn connect_from(source: &str, to: SocketAddr) -> Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Socket::of(TcpStream::from(socket))
}

fn hits(proxy: &Proxy, limit: &str) -> u64 {
    proxy.count("stickyd_limit_hits_total", &[("limit", limit)])
}

#[track_caller]
fn refused(client: &mut Socket, status: u16) {
    assert_eq!(client.answer().status(), status);
}

#[test]
fn connections_of_one_address() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\nconnections_per_ip = 2\n");
    let (mut first, mut second) = (proxy.connect(), proxy.connect());
    for client in [&mut first, &mut second] {
        client.send(get(""));
        assert_eq!(client.answer().text(), "blue");
    }
    let mut third = proxy.connect();
    let answer = third.answer();
    assert_eq!((answer.status(), answer.field("retry-after").as_deref()), (429, Some("5")));
    third.is_gone();
    assert_eq!(hits(&proxy, "connections_per_ip"), 1);
    proxy.counts("stickyd_refused_total", &[("reason", "per_ip")], 1);
    // Another address has its own.
    let mut other = connect_from("127.0.0.9", proxy.address());
    other.send(get(""));
    assert_eq!(other.answer().text(), "blue");
    // Whoever leaves makes room.
    drop(first);
    proxy.counts("stickyd_connections_open", &[], 2);
    let mut next = proxy.connect();
    next.send(get(""));
    assert_eq!(next.answer().text(), "blue");
}

#[test]
fn a_place_is_given_back_in_every_way_a_connection_can_end() {
    let instance = Answering::start("blue");
    let limits =
        "[limits]\nconnections_per_ip = 1\n[timeouts]\nfirst_byte = \"50ms\"\nrequest_head = \"50ms\"\n";
    let proxy = Proxy::configured(&instance, limits);
    // A client that is let in, as soon as there is room.
    let client = |what: &str| {
        eventually(what, || {
            let mut client = proxy.connect();
            client.try_send(get("")).ok()?;
            client.try_answer().is_ok_and(|answer| answer.status() == 200).then_some(client)
        })
    };
    drop(client("the first"));
    client("after one that left").reset();
    let mut nonsense = client("after one that broke off");
    nonsense.send("nonsense\r\n\r\n");
    refused(&mut nonsense, 400);
    drop(nonsense);
    let mut late = client("after one that sent nonsense");
    late.send("GET / HT");
    refused(&mut late, 408);
    drop(late);
    let mut upgrade = client("after one that was late");
    upgrade.send(handshake("/ws", ""));
    assert_eq!(upgrade.answer().status(), 101);
    drop(upgrade);
    proxy.counts("stickyd_connections_open", &[], 0);
    // And one that never says a word.
    let silent = proxy.connect();
    client("after one that was silent");
    drop(silent);
}

#[test]
fn tunnels_of_one_address() {
    let instance = Instance::start();
    let toml = |limits: &str| {
        format!("[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n[limits]\n{limits}\n")
    };
    let proxy = Proxy::start(&toml("tunnels_per_ip = 2"));
    let first = ws::open(&proxy, &instance);
    let (_second, mut far) = ws::open(&proxy, &instance);
    let too_many = || {
        let mut client = proxy.connect();
        client.send(handshake("/ws", ""));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("retry-after").as_deref()), (429, Some("5")));
        // The connection is good for what is not a tunnel.
        client
    };
    let mut client = too_many();
    client.send(get(""));
    let mut plain = instance.accept();
    plain.request();
    plain.send(ANSWER);
    assert_eq!(client.answer().status(), 200);
    assert_eq!(hits(&proxy, "tunnels_per_ip"), 1);
    // A reload counts for those that come, and touches none that is open.
    proxy.reload(&toml("tunnels_per_ip = 1")).unwrap();
    far.send(ws::Frame::new(ws::TEXT, "still here").bytes());
    // It ends; then there is one, which is as many as there may be.
    drop(first);
    proxy.counts("stickyd_tunnels_open", &[], 1);
    too_many();
    proxy.reload(&toml("tunnels_per_ip = 2")).unwrap();
    let (_third, _far_of_third) = ws::open(&proxy, &instance);
    // One that the instance refuses gives back what it had taken.
    proxy.reload(&toml("tunnels_per_ip = 3")).unwrap();
    for _ in 0..3 {
        let mut client = proxy.connect();
        client.send(handshake("/ws", ""));
        let mut far = instance.accept();
        far.head();
        far.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 403);
        drop(far);
    }
    let (_fourth, _far_of_fourth) = ws::open(&proxy, &instance);
}

#[test]
fn session_starts_of_one_address() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\nupgrades_per_ip = \"2/h burst 3\"\n");
    let ask = |start: &str| {
        let mut client = proxy.connect();
        client.send(start);
        client.answer()
    };
    let poll = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\n\r\n";
    // Two by polling and one by an upgrade.
    for start in [poll.to_owned(), handshake("/ws", ""), poll.to_owned()] {
        assert_ne!(ask(&start).status(), 429);
    }
    for start in [poll.to_owned(), handshake("/ws", "")] {
        let answer = ask(&start);
        assert_eq!(answer.status(), 429);
        let seconds: u32 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1700..=1800).contains(&seconds), "{seconds}");
    }
    // What begins no session is not counted.
    for other in [
        get(""),
        "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: app\r\n\r\n".to_owned(),
        "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\n1"
            .to_owned(),
    ] {
        assert_eq!(ask(&other).text(), "blue");
    }
    assert_eq!(hits(&proxy, "upgrades_per_ip"), 2);
    proxy.counts("stickyd_refused_total", &[("reason", "rate")], 2);
    // Another address has its own burst.
    let mut other = connect_from("127.0.0.9", proxy.address());
    other.send(poll);
    assert_eq!(other.answer().text(), "blue");
}

#[test]
fn behind_a_trusted_proxy_each_client_is_counted() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n\
         [limits]\nconnections_per_ip = 1\ntunnels_per_ip = 1\nupgrades_per_ip = \"9/h\"\ndeny = [\"192.0.2.66\"]\n"
    ));
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let serve = |mut far: Socket| {
        far.send(ANSWER);
        far
    };
    // As many connections as it likes: they are of many clients.
    let mut connections: Vec<Socket> = (0..4).map(|_| proxy.connect()).collect();
    connections[0].send(get(&of("192.0.2.1")));
    let mut waits = instance.accept();
    waits.request();
    // While that is open the same client has no second, and another has one.
    connections[1].send(get(&of("192.0.2.1")));
    let answer = connections[1].answer();
    assert_eq!((answer.status(), answer.field("retry-after").as_deref()), (429, Some("5")));
    connections[1].send(get(&of("192.0.2.2")));
    let mut far = instance.accept();
    far.request();
    serve(far);
    refused(&mut connections[1], 200);
    // IPv6 clients are told apart by their networks.
    connections[2].send(get(&of("2001:db8::1")));
    let mut of_network = instance.accept();
    of_network.request();
    connections[3].send(get(&of("2001:db8::2")));
    refused(&mut connections[3], 429);
    serve(of_network);
    refused(&mut connections[2], 200);
    // It is given back with the exchange, and the connection serves others.
    serve(waits);
    refused(&mut connections[0], 200);
    connections[0].send(handshake("/ws", &of("192.0.2.1")));
    let mut far_of_tunnel = instance.accept();
    far_of_tunnel.head();
    far_of_tunnel.send(switch(""));
    assert!(connections[0].head().starts_with("HTTP/1.1 101 "));
    // The tunnel holds both, its connection and its tunnel.
    connections[1].send(get(&of("192.0.2.1")));
    refused(&mut connections[1], 429);
    connections[1].send(handshake("/ws", &of("192.0.2.1")));
    refused(&mut connections[1], 429);
    drop((connections.remove(0), far_of_tunnel));
    proxy.counts("stickyd_tunnels_open", &[], 0);
    connections[0].send(get(&of("192.0.2.1")));
    let mut far = instance.accept();
    far.request();
    serve(far);
    refused(&mut connections[0], 200);
    // What the proxy asks for itself names nobody, and is not counted.
    connections[1].send(get(""));
    connections[2].send(get(""));
    let (mut one, mut two) = (instance.accept(), instance.accept());
    one.request();
    two.request();
    serve(one);
    serve(two);
    refused(&mut connections[1], 200);
    refused(&mut connections[2], 200);
    connections[1].send(get(&of("192.0.2.66")));
    refused(&mut connections[1], 403);
}

#[test]
fn who_is_denied_and_who_is_exempt() {
    let instance = Answering::start("blue");
    let toml = |limits: &str| {
        format!("[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n[limits]\n{limits}\n")
    };
    let proxy = Proxy::start(&toml(""));
    let mut kept = proxy.connect();
    kept.send(get(""));
    assert_eq!(kept.answer().text(), "blue");
    proxy
        .reload(&toml("deny = [\"127.0.0.0/8\"]\nexempt = [\"127.0.0.9\"]\nconnections_per_ip = 1"))
        .unwrap();
    let mut denied = proxy.connect();
    refused(&mut denied, 403);
    denied.is_gone();
    // Who was connected before hears it with the next request.
    kept.send(get(""));
    refused(&mut kept, 403);
    assert_eq!(hits(&proxy, "deny"), 2);
    proxy.counts("stickyd_refused_total", &[("reason", "denied")], 2);
    let mut exempt: Vec<Socket> = (0..3).map(|_| connect_from("127.0.0.9", proxy.address())).collect();
    for client in &mut exempt {
        client.send(get(""));
        assert_eq!(client.answer().text(), "blue");
    }
}

#[test]
fn only_pages_of_these_origins_open_sessions() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\norigins = [\"https://app.example.com\"]\n");
    let start = |fields: &str| {
        format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\n{fields}\r\n")
    };
    let check = |request: String, is_refused: bool| {
        let mut client = proxy.connect();
        client.send(&request);
        assert_eq!(client.answer().status() == 403, is_refused, "{request}");
    };
    let (good, bad) = ("Origin: https://App.example.com\r\n", "Origin: https://evil.example\r\n");
    for start in [&start, &|fields: &str| handshake("/ws", fields)] as [&dyn Fn(&str) -> String; 2] {
        check(start(good), false);
        // No browser: those always say it.
        check(start(""), false);
        check(start(bad), true);
        check(start("Origin: null\r\n"), true);
        check(start(&format!("{good}{bad}")), true);
        check(start("Origin: https://app.example.com.evil.example\r\n"), true);
    }
    // Nothing else asks for it: what a page may read of an answer is CORS' business.
    check(get(bad), false);
    assert_eq!(hits(&proxy, "origins"), 8);
    proxy.counts("stickyd_refused_total", &[("reason", "origin")], 8);
}

#[test]
fn what_is_observed_is_counted_and_let_in() {
    let instance = Instance::start();
    let proxy = Proxy::configured(
        &instance,
        "[limits]\nmode = \"observe\"\nconnections_per_ip = 1\ntunnels_per_ip = 1\nupgrades_per_ip = \"1/h\"\n\
         deny = [\"127.0.0.0/8\"]\norigins = [\"https://app.example.com\"]\nmessage = \"4b\"\n",
    );
    let mut tunnels: Vec<(Socket, Socket)> = (0..3).map(|_| ws::open(&proxy, &instance)).collect();
    let (client, far) = &mut tunnels[2];
    let large = ws::Frame::masked(ws::TEXT, "hello").bytes();
    client.send(&large);
    far.expect(&large);
    let mut client = proxy.connect();
    client.send(handshake("/ws", "Origin: https://evil.example\r\n"));
    let mut far = instance.accept();
    far.head();
    far.send(switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    // At each connection and each request; the first of each is within its limit.
    let expected = [
        ("deny", 8),
        ("connections_per_ip", 3),
        ("tunnels_per_ip", 3),
        ("upgrades_per_ip", 3),
        ("origins", 1),
        ("message", 1),
    ];
    for (limit, count) in expected {
        assert_eq!(hits(&proxy, limit), count, "{limit}");
    }
    assert_eq!(proxy.count("stickyd_refused_total", &[]), 0);
}
