//! The PROXY protocol, in and out, as raw bytes; `peers` does the same with the HAProxy and the nginx of Debian.

mod peers;
mod secure;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use stickyd::listener::proxy_protocol::{Parsed, parse};

use crate::support::ws::{self, handshake};
use crate::support::{Answering, Instance, Proxy, Socket, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

/// Version 2 of `LINE`, with a field behind the addresses.
fn binary() -> Vec<u8> {
    [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11"[..],
        &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 1, 0xbb],
        &[1, 0, 2, b'h', b'2'],
    ]
    .concat()
}

/// Version 2, `LOCAL`.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn listens(mode: &str, trusted: &str, more: &str, instance: &Answering) -> Proxy {
    Proxy::start(&format!(
        "trusted_proxies = [{trusted}]\nlisten = [{{ address = \"127.0.0.1:0\", proxy_protocol = \"{mode}\" }}]\n\
         [upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n{more}\n"
    ))
}

/// As whom the instance knows the client of the last request.
#[track_caller]
fn known_as(instance: &Answering) -> String {
    instance.requests().pop().unwrap().field("x-real-ip").unwrap()
}

#[test]
fn a_header_names_the_client() {
    let instance = Answering::start("blue");
    for mode in ["optional", "required"] {
        let proxy = listens(mode, "\"127.0.0.0/8\"", "", &instance);
        for (header, client) in [
            (LINE.as_bytes(), "192.0.2.7"),
            (&binary()[..], "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "2001:db8::7"),
            // Who speaks for itself, or for nobody that is known, is who it is.
            (LOCAL, "127.0.0.1"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        ] {
            // In one piece with the request, and byte by byte before it; every request of the connection is that client's.
            let mut client_of_all = proxy.connect();
            client_of_all.send([header, GET.as_bytes()].concat());
            assert_eq!(client_of_all.answer().text(), "blue");
            assert_eq!(known_as(&instance), client, "{mode}");
            client_of_all.send(GET);
            assert_eq!(client_of_all.answer().text(), "blue");
            assert_eq!(known_as(&instance), client, "{mode}");
            let mut singly = proxy.connect();
            singly.send_singly([header, GET.as_bytes()].concat());
            assert_eq!(singly.answer().text(), "blue");
            assert_eq!(known_as(&instance), client, "{mode}");
        }
        assert_eq!(proxy.count("stickyd_refused_total", &[]), 0);
    }
}

/// What the client itself says of where it comes from is not believed: it is not the proxy's word.
#[test]
fn the_client_s_own_header_is_replaced() {
    let instance = Answering::start("blue");
    let proxy = listens("required", "\"127.0.0.1\"", "", &instance);
    let mut client = proxy.connect();
    client.send(format!("{LINE}GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"));
    assert_eq!(client.answer().text(), "blue");
    let request = instance.requests().pop().unwrap();
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    // But that of a proxy which the header names is.
    let mut client = proxy.connect();
    client.send("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n");
    client.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
    assert_eq!(client.answer().text(), "blue");
    assert_eq!(known_as(&instance), "203.0.113.9");
}

#[test]
fn without_a_header() {
    let instance = Answering::start("blue");
    let proxy = listens("optional", "\"127.0.0.1\"", "", &instance);
    // Also where its first bytes might begin one.
    let mut client = proxy.connect();
    client.send_singly("PROPFIND / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer().text(), "blue");
    assert_eq!(known_as(&instance), "127.0.0.1");
    let proxy = listens("required", "\"127.0.0.1\"", "", &instance);
    let mut client = proxy.connect();
    client.send(GET);
    client.is_gone();
    proxy.counts("stickyd_refused_total", &[("reason", "proxy_protocol")], 1);
    // One that is broken is none, in either mode, and what stands behind it is not read.
    for mode in ["optional", "required"] {
        let proxy = listens(mode, "\"127.0.0.1\"", "", &instance);
        let requests = instance.requests().len();
        for broken in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n"[..],
            b"PROXY TCP9 192.0.2.7 198.51.100.1 56324 443\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(),
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01\x00",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            let mut client = proxy.connect();
            client.send([broken, GET.as_bytes()].concat());
            client.is_gone();
        }
        proxy.counts("stickyd_refused_total", &[("reason", "proxy_protocol")], 6);
        assert_eq!(instance.requests().len(), requests);
        proxy.counts("stickyd_connections_open", &[], 0);
    }
}

#[test]
fn nobody_else_is_believed() {
    let instance = Answering::start("blue");
    for trusted in ["", "\"10.0.0.0/8\""] {
        // Its bytes are what they are: no HTTP.
        for mode in ["off", "optional"] {
            let proxy = listens(mode, trusted, "", &instance);
            let mut client = proxy.connect();
            client.send(format!("{LINE}{GET}"));
            assert_eq!(client.answer().status(), 400);
            let mut client = proxy.connect();
            client.send(GET);
            assert_eq!(client.answer().text(), "blue");
            assert_eq!(known_as(&instance), "127.0.0.1");
        }
        let proxy = listens("required", trusted, "", &instance);
        let mut client = proxy.connect();
        let _ = client.try_send(format!("{LINE}{GET}"));
        client.is_gone();
        proxy.counts("stickyd_refused_total", &[("reason", "proxy_protocol")], 1);
    }
    // A trusted peer where there is to be none.
    let proxy = listens("off", "\"127.0.0.1\"", "", &instance);
    let mut client = proxy.connect();
    client.send(format!("{LINE}{GET}"));
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn it_comes_in_time_or_the_connection_is_closed() {
    let instance = Answering::start("blue");
    let proxy = listens("required", "\"127.0.0.1\"", "[timeouts]\nfirst_byte = \"300ms\"", &instance);
    let mut silent = proxy.connect();
    let mut half = proxy.connect();
    half.send("PROXY TCP4 192");
    // A byte now and then does not help.
    let mut slow = proxy.connect();
    for byte in LINE.as_bytes() {
        if slow.try_send([*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for client in [&mut silent, &mut half, &mut slow] {
        client.is_gone();
    }
    // One that ends amid it is gone at once.
    let mut ended = proxy.connect();
    ended.send("PROXY TCP4 192");
    ended.half_close();
    ended.is_gone();
    proxy.counts("stickyd_refused_total", &[("reason", "proxy_protocol")], 4);
    proxy.counts("stickyd_connections_open", &[], 0);
}

#[test]
fn limits_are_those_of_the_client_that_it_names() {
    let instance = Answering::start("blue");
    let limits = "[limits]\nconnections_per_ip = 1\ndeny = [\"192.0.2.66\"]\n";
    let proxy = listens("required", "\"127.0.0.1\"", limits, &instance);
    let connect = |header: &str| {
        let mut client = proxy.connect();
        client.send(format!("{header}{GET}"));
        let status = client.answer().status();
        (client, status)
    };
    let (first, status) = connect(LINE);
    assert_eq!(status, 200);
    assert_eq!(connect(LINE).1, 429);
    let (_other, status) = connect(&LINE.replace("192.0.2.7", "192.0.2.8"));
    assert_eq!(status, 200);
    assert_eq!(connect(&LINE.replace("192.0.2.7", "192.0.2.66")).1, 403);
    // The proxy's own are not counted.
    let own: Vec<_> = (0..3).map(|_| connect("PROXY UNKNOWN\r\n")).collect();
    assert!(own.iter().all(|(_, status)| *status == 200));
    drop(first);
    eventually("its place is free", || (connect(LINE).1 == 200).then_some(()));
}

/// Reads the header at the start of a connection to an instance.
fn introduced(far: &mut Socket) -> Option<SocketAddr> {
    far.parsed(|bytes| match parse(bytes).expect("a good header") {
        Parsed::Partial => None,
        Parsed::Other => panic!("no header: {bytes:?}"),
        Parsed::Header { len, source } => Some((source, len)),
    })
}

#[test]
fn instances_are_told_the_client() {
    for version in ["v1", "v2"] {
        let instance = Instance::start();
        let proxy = Proxy::start(&format!(
            "trusted_proxies = [\"127.0.0.9\"]\n[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n\
             send_proxy_protocol = \"{version}\"\n"
        ));
        let mut client = proxy.connect();
        // The client keeps its connection; each request has one of its own to the instance.
        for _ in 0..3 {
            client.send(GET);
            let mut far = instance.accept();
            assert_eq!(introduced(&mut far), Some(client.local()), "{version}");
            assert_eq!(far.request().field("x-real-ip").as_deref(), Some("127.0.0.1"));
            far.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
            far.is_gone();
        }
        // A tunnel too.
        client.send(handshake("/ws", ""));
        let mut far = instance.accept();
        assert_eq!(introduced(&mut far), Some(client.local()));
        far.head();
        far.send(ws::switch(""));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        let hello = ws::Frame::masked(ws::TEXT, "hello").bytes();
        client.send(&hello);
        far.expect(&hello);
    }
}

#[test]
fn instances_are_told_the_client_that_a_trusted_proxy_names() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n\
         send_proxy_protocol = \"v2\"\n"
    ));
    for named in ["192.0.2.7", "2001:db8::7"] {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: {named}\r\n\r\n"));
        let mut far = instance.accept();
        // Its port is not known.
        let named: IpAddr = named.parse().unwrap();
        assert_eq!(introduced(&mut far), Some(SocketAddr::new(named, 0)));
        far.request();
        far.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn checks_are_of_the_proxy_itself() {
    for version in ["v1", "v2"] {
        let instance = Instance::start();
        let proxy = Proxy::start(&format!(
            "[upstream.app]\ninstances = [\"{instance}\"]\nsend_proxy_protocol = \"{version}\"\nhealth.interval = \"1s\"\n"
        ));
        let mut check = instance.accept();
        assert_eq!(introduced(&mut check), None, "{version}");
        assert!(check.head().starts_with("GET /socket.io/?"));
        check.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        proxy.counts_at_least("stickyd_health_checks_total", &[("result", "passed")], 1);
    }
}
