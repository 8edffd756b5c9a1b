//! `limits.message`: a larger one ends its tunnel with 1009 on both sides, and nothing of it arrives.

use crate::support::ws::{self, BINARY, CLOSE, Frame, PING, TEXT, expect_close};
use crate::support::{Instance, Proxy, Socket};

fn trio() -> (Proxy, Instance, Socket, Socket) {
    trio_with("")
}

fn trio_with(timeouts: &str) -> (Proxy, Instance, Socket, Socket) {
    let instance = Instance::start();
    let proxy =
        Proxy::configured(&instance, &format!("[limits]\nmessage = \"1k\"\n[timeouts]\n{timeouts}\n"));
    let (client, far) = ws::open(&proxy, &instance);
    (proxy, instance, client, far)
}

/// Both ends hear 1009, and say goodbye; the sender goes on with its message as if nothing were.
#[track_caller]
fn ends(proxy: &Proxy, client: &mut Socket, far: &mut Socket) {
    ws::closed(client, far, 1009);
    proxy.closed_one("message_too_big", "1009");
    proxy.counts("stickyd_limit_hits_total", &[("limit", "message")], 1);
}

#[test]
fn as_large_as_it_may_be() {
    let (proxy, _instance, mut client, mut far) = trio();
    for up in [true, false] {
        let frames = [
            Frame::of(up, BINARY, vec![7; 1024]),
            Frame::of(up, 0x01, vec![b'a'; 1000]),
            Frame::of(up, PING, vec![b'p'; 125]),
            Frame::of(up, 0x00, vec![b'b'; 20]),
            Frame::of(up, 0x80, vec![b'c'; 4]),
            Frame::of(up, TEXT, "next"),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        // In one piece, and byte by byte.
        from.send(&bytes);
        to.expect(&bytes);
        bytes.chunks(7).for_each(|piece| from.send(piece));
        to.expect(&bytes);
    }
    assert_eq!(proxy.count("stickyd_limit_hits_total", &[("limit", "message")]), 0);
}

#[test]
fn too_large_in_one_frame() {
    for (up, size) in [(true, 1025), (false, 1025), (true, 1 << 20), (false, 1 << 20)] {
        let (proxy, _instance, mut client, mut far) = trio();
        let before = Frame::of(up, TEXT, "before").bytes();
        let large = Frame::of(up, BINARY, vec![7; size]).bytes();
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(&before);
        let mut writer = from.writer();
        std::thread::scope(|scope| {
            // It is read and dropped to its end: whoever sends it must come to hear why.
            scope.spawn(|| writer.send(&large));
            to.expect(&before);
        });
        ends(&proxy, &mut client, &mut far);
    }
}

#[test]
fn too_large_over_its_fragments() {
    for up in [true, false] {
        let (proxy, _instance, mut client, mut far) = trio();
        let passes: Vec<u8> = [Frame::of(up, 0x01, vec![b'a'; 1000]), Frame::of(up, PING, "ping")]
            .iter()
            .flat_map(Frame::bytes)
            .collect();
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(&passes);
        to.expect(&passes);
        // In pieces, so that its header comes alone.
        Frame::of(up, 0x80, vec![b'b'; 25]).bytes().chunks(3).for_each(|piece| from.send(piece));
        ends(&proxy, &mut client, &mut far);
    }
}

/// A message that never ends is one that nobody sends to the end.
#[test]
fn a_length_alone_is_enough() {
    let (proxy, _instance, mut client, mut far) = trio();
    client.send([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4]);
    expect_close(&mut far, 1009, true);
    expect_close(&mut client, 1009, false);
    far.send(Frame::close(1009).bytes());
    far.is_gone();
    client.is_gone();
    proxy.closed_one("message_too_big", "1009");
}

#[test]
fn with_what_was_sent_behind_the_handshake() {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, "[limits]\nmessage = \"1k\"\n");
    let mut client = proxy.connect();
    let mut first = ws::handshake("/ws", "").into_bytes();
    first.extend(Frame::masked(TEXT, "hello").bytes());
    first.extend(Frame::masked(BINARY, vec![7; 1025]).bytes());
    client.send(first);
    let mut far = instance.accept();
    far.head();
    far.send(ws::switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    far.expect(Frame::masked(TEXT, "hello").bytes());
    ends(&proxy, &mut client, &mut far);
}

/// With pings of ours: their pongs are nobody's message, and both look at the same frames.
#[test]
fn beside_our_pings() {
    let (proxy, _instance, mut client, mut far) = trio_with("ping = \"1s\"");
    let ping = Frame::read(&mut client);
    assert_eq!(ping.first, PING);
    client.send(Frame::masked(0x8a, ping.payload).bytes());
    client.send(Frame::masked(TEXT, vec![b'a'; 1024]).bytes());
    far.expect(Frame::masked(TEXT, vec![b'a'; 1024]).bytes());
    client.send(Frame::masked(TEXT, vec![b'a'; 1025]).bytes());
    ends(&proxy, &mut client, &mut far);
}

/// Behind a Close of an end nothing may be said any more, so it is not.
#[test]
fn behind_a_close() {
    let (proxy, _instance, mut client, mut far) = trio();
    let close = Frame::masked(CLOSE, 1000_u16.to_be_bytes()).bytes();
    client.send([&close[..], &Frame::masked(BINARY, vec![7; 1025]).bytes()].concat());
    far.expect(&close);
    far.send(Frame::close(1000).bytes());
    far.is_gone();
    proxy.counts("stickyd_tunnels_open", &[], 0);
}

/// A reload is for tunnels that come.
#[test]
fn open_tunnels_keep_what_they_began_with() {
    let instance = Instance::start();
    let toml = |limit: &str| {
        format!(
            "[upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n[limits]\nmessage = \"{limit}\"\n"
        )
    };
    let proxy = Proxy::start(&toml("off"));
    let (mut before, mut far_of_before) = ws::open(&proxy, &instance);
    proxy.reload(&toml("1k")).unwrap();
    let (mut client, mut far) = ws::open(&proxy, &instance);
    let large = Frame::masked(BINARY, vec![7; 1025]).bytes();
    before.send(&large);
    far_of_before.expect(&large);
    client.send(&large);
    ws::closed(&mut client, &mut far, 1009);
    proxy.counts("stickyd_tunnels_closed_total", &[("reason", "message_too_big"), ("code", "1009")], 1);
    before.send(&large);
    far_of_before.expect(&large);
}
