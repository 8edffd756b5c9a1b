//! Handshakes that take too long, that are none, and that are too many.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{Edge, NAME};
use crate::support::tls::connect;
use crate::support::ws::{self, Frame};
use crate::support::{Socket, eventually};

/// What comes first of a client: a record of a handshake, that is to be 512 bytes long.
const BEGINNING: &[u8] = &[22, 3, 1, 2, 0, 1];

#[test]
fn whoever_takes_too_long_is_sent_away() {
    let edge = Edge::start("[timeouts]\ntls_handshake = \"300ms\"\n");
    let mut silent = Socket::connect(edge.proxy.address());
    let mut slow = Socket::connect(edge.proxy.address());
    slow.send(BEGINNING);
    silent.is_gone();
    slow.is_gone();
    edge.proxy.counts("stickyd_tls_handshakes_total", &[("result", "timeout")], 2);
    edge.proxy.counts("stickyd_refused_total", &[("reason", "tls")], 2);
    edge.proxy.counts("stickyd_connections_open", &[], 0);
    // Who is in time is not bound by that.
    let (mut client, mut far) = edge.tunnel();
    thread::sleep(Duration::from_millis(400));
    client.send(Frame::masked(ws::TEXT, "late").bytes());
    far.expect(Frame::masked(ws::TEXT, "late").bytes());
}

#[test]
fn what_is_no_handshake_is_refused() {
    let edge = Edge::start("");
    let check = |bytes: &[u8], result: &str, count: u64| {
        let mut client = Socket::connect(edge.proxy.address());
        client.send(bytes);
        client.half_close();
        client.rest();
        edge.proxy.counts("stickyd_tls_handshakes_total", &[("result", result)], count);
    };
    check(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n", "failed", 1);
    check(&[22, 3, 1, 255, 255, 1], "failed", 2);
    check(&[0; 4096], "failed", 3);
    // It left, as balancers do that look whether anybody listens.
    check(&[], "gone", 1);
    check(BEGINNING, "gone", 2);
    edge.proxy.counts("stickyd_refused_total", &[("reason", "tls")], 3);
    edge.instance.saw_nothing();
}

/// The bytes that a client begins with.
fn hello(edge: &Edge) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut tls = rustls::ClientConnection::new(edge.client.clone(), name).unwrap();
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Whatever comes, it is refused and no worker is hurt by it (a panic fails the test).
#[test]
fn beginnings_that_are_almost_one() {
    let edge = Edge::start("[timeouts]\ntls_handshake = \"100ms\"\n");
    let hello = hello(&edge);
    let mut seen = 0;
    for at in (0..hello.len()).step_by(5) {
        let mut bytes = hello.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut client = Socket::connect(edge.proxy.address());
        let (begin, rest) = bytes.split_at(at);
        client.send(begin);
        // It may have been refused for its beginning.
        let _ = client.try_send(rest);
        let _ = client.try_send([21, 3, 3, 0, 2, 2, 10]);
        seen += 1;
    }
    // First of all: those that wait in the kernel are not open yet.
    edge.proxy.counts("stickyd_tls_handshakes_total", &[], seen);
    edge.proxy.counts("stickyd_connections_open", &[], 0);
    edge.tunnel();
}

/// A storm: hundreds come back in one moment. Who is there goes on meanwhile, and all of them are met.
#[test]
fn a_storm_of_handshakes_does_not_starve_a_tunnel() {
    const MANY: usize = 600;
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    let hello = hello(&edge);
    let mut storm: Vec<TcpStream> =
        (0..MANY).map(|_| TcpStream::connect(edge.proxy.address()).unwrap()).collect();
    edge.proxy.counts("stickyd_connections_total", &[], MANY as u64 + 1);
    for one in &mut storm {
        one.write_all(&hello).unwrap();
    }
    // In a queue of handshakes a message would wait for all of them.
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut messages = 0;
    while messages < 20 {
        let sent = Instant::now();
        client.send(Frame::masked(ws::TEXT, "x").bytes());
        far.expect(Frame::masked(ws::TEXT, "x").bytes());
        slowest = slowest.max(sent.elapsed());
        messages += 1;
    }
    println!("20 messages in {:?}, the slowest in {slowest:?}", began.elapsed());
    for one in &storm {
        let mut first = [0];
        eventually("an answer", || matches!(one.peek(&mut first), Ok(1)).then_some(()));
        assert_eq!(first, [22]);
    }
    assert!(edge.proxy.count("stickyd_limit_hits_total", &[("limit", "tls_handshakes")]) > 0);
    drop(storm);
    edge.proxy.counts("stickyd_connections_open", &[], 1);
    // Turns were given back.
    connect(edge.proxy.address(), &edge.client, NAME);
}
