//! What arrives equals what was sent: every length, reserved bits and opcodes, any split.

use std::thread;

use super::tunnel;
use crate::support::ws::{self, BINARY, Frame, PING, PONG, TEXT, expect_close};
use crate::support::{Instance, Proxy, Socket, noise};

/// Frames of every kind that matters here; masked or not.
fn frames(masked: bool, long: bool) -> Vec<u8> {
    let frame = |first, payload: &[u8]| Frame::of(masked, first, payload);
    let mut frames: Vec<Frame> = [0, 1, 125, 126, 127].map(|len| frame(BINARY, &noise(len))).into();
    if long {
        frames.extend([65_535, 65_536, 200_000].map(|len| frame(BINARY, &noise(len))));
    }
    // Every opcode and reserved bit: they belong to extensions. But for Close, which ends.
    for first in (0..=255_u8).filter(|first| first & 0x0f != 0x8) {
        frames.push(frame(first, &noise(usize::from(first % 7))));
    }
    // A message in fragments with control frames in between.
    frames.extend([
        frame(0x01, b"begin"),
        frame(PING, b"ping"),
        frame(0x00, b"middle"),
        frame(PONG, &[b'p'; 125]),
        frame(0x00, b""),
        frame(PING, b""),
        frame(0x80, b"end"),
    ]);
    frames.push(frame(TEXT, b"last"));
    frames.iter().flat_map(Frame::bytes).collect()
}

/// Sends each end its stream in pieces of `size`, both at once; each arrives whole.
fn check(client: &mut Socket, far: &mut Socket, size: usize, long: bool) {
    let (up, down) = (frames(true, long), frames(false, long));
    let (mut to_far, mut to_client) = (client.writer(), far.writer());
    let send = |socket: &mut Socket, bytes: &[u8]| bytes.chunks(size).for_each(|piece| socket.send(piece));
    thread::scope(|scope| {
        scope.spawn(|| send(&mut to_far, &up));
        scope.spawn(|| send(&mut to_client, &down));
        scope.spawn(|| client.expect(&down));
        far.expect(&up);
    });
}

#[test]
fn all_kinds_of_frames_in_pieces_of_many_sizes() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    let sizes = [1_000_000, 65_536, 16_384, 1_000, 131];
    for size in sizes {
        check(&mut client, &mut far, size, true);
    }
    let count = sizes.len() as u64;
    let bytes = |masked| count * frames(masked, true).len() as u64;
    proxy.counts("stickyd_tunnel_bytes_total", &[("direction", "up")], bytes(true));
    proxy.counts("stickyd_tunnel_bytes_total", &[("direction", "down")], bytes(false));
    // 8 lengths, 240 first bytes, 7 of the message in fragments, and the last.
    for direction in ["up", "down"] {
        proxy.counts("stickyd_tunnel_frames_total", &[("direction", direction)], count * 256);
    }
}

#[test]
fn all_kinds_of_frames_byte_by_byte() {
    let (_proxy, _instance, mut client, mut far) = tunnel();
    for size in [1, 2, 3, 7] {
        check(&mut client, &mut far, size, false);
    }
}

#[test]
fn a_large_message_in_both_directions_at_once() {
    let (_proxy, _instance, mut client, mut far) = tunnel();
    let content = noise(5 << 20);
    let (up, down) = (Frame::masked(BINARY, content.clone()).bytes(), Frame::new(BINARY, content).bytes());
    let (mut to_far, mut to_client) = (client.writer(), far.writer());
    thread::scope(|scope| {
        scope.spawn(|| to_far.send(&up));
        scope.spawn(|| to_client.send(&down));
        scope.spawn(|| client.expect(&down));
        far.expect(&up);
    });
}

#[test]
fn a_frame_is_passed_on_before_it_is_whole() {
    let (_proxy, _instance, mut client, mut far) = tunnel();
    let frame = Frame::masked(BINARY, noise(100_000)).bytes();
    client.send(&frame[..50_000]);
    far.expect(&frame[..50_000]);
    client.send(&frame[50_000..]);
    far.expect(&frame[50_000..]);
}

#[test]
fn many_tunnels_do_not_mix() {
    let (proxy, instance, _, _) = tunnel();
    let mut ends: Vec<(Socket, Socket)> = (0..50).map(|_| ws::open(&proxy, &instance)).collect();
    for round in 0..3 {
        for (number, (client, far)) in ends.iter_mut().enumerate() {
            client.send(Frame::masked(TEXT, format!("{number} up {round}")).bytes());
            far.send(Frame::new(TEXT, format!("{number} down {round}")).bytes());
        }
        for (number, (client, far)) in ends.iter_mut().enumerate() {
            assert_eq!(Frame::read(far).payload, format!("{number} up {round}").into_bytes());
            assert_eq!(Frame::read(client).payload, format!("{number} down {round}").into_bytes());
        }
    }
}

#[test]
fn a_length_that_cannot_be_ends_the_tunnel() {
    for masked in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel();
        let good = Frame::of(masked, TEXT, "good").bytes();
        let mask = if masked { 0x80 } else { 0 };
        let bad = [&[0x82, 127 | mask, 0x80, 0, 0, 0, 0, 0, 0, 5][..], &[0; 20]].concat();
        let (from, to) = if masked { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send([&good[..], &bad].concat());
        to.expect(&good);
        expect_close(to, 1002, masked);
        expect_close(from, 1002, !masked);
        drop((client, far));
        proxy.closed_one("protocol_error", "1002");
    }
}

#[test]
fn a_length_that_cannot_be_right_behind_the_head_ends_the_tunnel() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    let mut client = proxy.connect();
    let bad = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4];
    client.send([ws::handshake("/ws", "").as_bytes(), &bad].concat());
    let mut far = instance.accept();
    far.head();
    far.send(ws::switch(""));
    client.head();
    expect_close(&mut far, 1002, true);
    expect_close(&mut client, 1002, false);
    drop((client, far));
    proxy.closed_one("protocol_error", "1002");
}
