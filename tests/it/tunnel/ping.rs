//! Pings of the proxy: whom they reach and when, what becomes of the answers, and what else passes meanwhile.
//!
//! Where something must not come, the test waits for more than twice the silence after which it would.

use std::time::{Duration, Instant};

use super::tunnel_with;
use crate::support::ws::{self, BINARY, Frame, PING, PONG, TEXT, expect_close};
use crate::support::{Instance, Proxy, Socket, noise};

const EVERY: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::from_millis(2_300);
/// What the proxy's coarse clock may be behind.
const TICK: Duration = Duration::from_millis(10);

/// A tunnel whose client is pinged when it was silent for [`EVERY`].
fn pinged() -> (Proxy, Instance, Socket, Socket) {
    tunnel_with("[timeouts]\nping = \"1s\"\n")
}

/// The proxy's ping is next; what it carries.
#[track_caller]
fn ping(client: &mut Socket) -> Vec<u8> {
    let frame = Frame::read(client);
    assert_eq!((frame.first, frame.mask, frame.payload.len()), (PING, None, 8), "{frame:?}");
    frame.payload
}

/// A text each way, so that all before it has passed.
#[track_caller]
fn text_passes(client: &mut Socket, far: &mut Socket) {
    let (up, down) = (Frame::masked(TEXT, "up").bytes(), Frame::new(TEXT, "down").bytes());
    client.send(&up);
    far.expect(&up);
    far.send(&down);
    client.expect(&down);
}

#[test]
fn a_silent_client_is_pinged_and_its_answer_stays_here() {
    let begin = Instant::now();
    let (proxy, _instance, mut client, mut far) = pinged();
    for _ in 0..3 {
        let payload = ping(&mut client);
        client.send(Frame::masked(PONG, payload).bytes());
    }
    assert!(begin.elapsed() + TICK >= 3 * EVERY, "{:?}", begin.elapsed());
    text_passes(&mut client, &mut far);
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    assert_eq!(Frame::read(&mut far).code(), Some(1000));
    drop((client, far));
    proxy.closed_one("client_closed", "1000");
    // What the proxy adds and takes is no traffic of the ends.
    proxy.counts("stickyd_tunnel_frames_total", &[("direction", "up")], 2);
    proxy.counts("stickyd_tunnel_frames_total", &[("direction", "down")], 1);
    proxy.counts("stickyd_tunnel_bytes_total", &[("direction", "up")], 8 + 8);
    proxy.counts("stickyd_tunnel_bytes_total", &[("direction", "down")], 6);
}

#[test]
fn a_client_that_does_not_answer_is_gone() {
    let begin = Instant::now();
    let (proxy, _instance, mut client, mut far) =
        tunnel_with("[timeouts]\nping = \"1s\"\nclose_wait = \"100ms\"\n");
    ping(&mut client);
    expect_close(&mut far, 1001, true);
    expect_close(&mut client, 1001, false);
    assert!(begin.elapsed() + TICK >= 2 * EVERY, "{:?}", begin.elapsed());
    client.is_gone();
    far.is_gone();
    proxy.closed_one("ping_timeout", "1001");
}

#[test]
fn any_byte_of_the_client_is_a_sign_of_life() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    let frame = Frame::masked(BINARY, noise(100)).bytes();
    for byte in frame.chunks(20) {
        client.send(byte);
        client.is_silent(Duration::from_millis(600));
    }
    far.expect(&frame);
    // An answer that is none, but comes from somebody: asked again after the next silence, and the late answer is known.
    let payload = ping(&mut client);
    text_passes(&mut client, &mut far);
    assert_eq!(ping(&mut client), payload);
    client.send(Frame::masked(PONG, payload).bytes());
    text_passes(&mut client, &mut far);
}

#[test]
fn what_is_not_an_answer_passes_in_whatever_pieces() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    let payload = ping(&mut client);
    let ours = Frame::masked(PONG, payload.clone()).bytes();
    let near = |at: usize| {
        let mut payload = payload.clone();
        payload[at] ^= 1;
        Frame::masked(PONG, payload).bytes()
    };
    let others = [
        Frame::masked(PONG, "").bytes(),
        near(0),
        near(7),
        Frame::masked(PONG, [&payload[..], &[0]].concat()).bytes(),
        Frame::masked(PONG, noise(125)).bytes(),
        Frame::masked(BINARY, ours.clone()).bytes(),
        Frame::masked(0x01, "begin").bytes(),
        Frame::masked(PING, payload.clone()).bytes(),
        Frame::masked(0x80, noise(300)).bytes(),
    ];
    // Ours between all of them, twice in a row and at both ends.
    let sent: Vec<u8> = others.iter().fold(ours.repeat(2), |sent, other| [&sent[..], other, &ours].concat());
    let expected = others.concat();
    for size in [1, 2, 3, 5, 7, 13, 14, 15, 100, 1_000_000] {
        for piece in sent.chunks(size) {
            client.send(piece);
        }
        far.expect(&expected);
    }
    text_passes(&mut client, &mut far);
}

#[test]
fn a_piece_of_an_answer_is_held_back_until_it_is_known() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    let payload = ping(&mut client);
    let ours = Frame::masked(PONG, payload.clone()).bytes();
    for cut in [1, 2, 5, 6, 7, 13] {
        client.send(&ours[..cut]);
        // The other direction is not held up, and shows that the piece was seen.
        far.send(Frame::new(TEXT, "down").bytes());
        assert_eq!(Frame::read(&mut client).payload, b"down");
        far.is_silent(Duration::from_millis(20));
        client.send(&ours[cut..]);
        text_passes(&mut client, &mut far);
    }
    // It was sent, and is no answer: so it arrives.
    client.send(&ours[..13]);
    client.half_close();
    far.expect(&ours[..13]);
    far.ends();
}

#[test]
fn a_client_that_owes_the_instance_an_answer_is_not_pinged() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    far.send(Frame::new(PING, "mine").bytes());
    client.expect(Frame::new(PING, "mine").bytes());
    // An answer to somebody else.
    let other = Frame::masked(PONG, "other").bytes();
    client.send(&other);
    far.expect(&other);
    client.is_silent(NEVER);
    let answer = Frame::masked(PONG, "mine").bytes();
    client.send(&answer);
    far.expect(&answer);
    let payload = ping(&mut client);
    client.send(Frame::masked(PONG, payload).bytes());
    text_passes(&mut client, &mut far);
}

#[test]
fn a_ping_right_behind_the_101_is_owed_too() {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, "[timeouts]\nping = \"1s\"\n");
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.head();
    let theirs = Frame::new(PING, "early").bytes();
    far.send([ws::switch("").as_bytes(), &theirs].concat());
    client.head();
    client.expect(&theirs);
    client.is_silent(NEVER);
    client.send(Frame::masked(PONG, "early").bytes());
    ping(&mut client);
}

#[test]
fn never_inside_a_frame() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    let frame = Frame::new(BINARY, noise(1_000)).bytes();
    let next = Frame::new(TEXT, "next").bytes();
    far.send(&frame[..500]);
    client.expect(&frame[..500]);
    client.is_silent(NEVER);
    // At the first boundary, though more comes with the same read; and an incomplete header goes behind it.
    far.send([&frame[500..], &next, &next[..1]].concat());
    client.expect(&frame[500..]);
    let payload = ping(&mut client);
    client.expect(&next);
    client.send(Frame::masked(PONG, payload).bytes());
    far.send(&next[1..]);
    client.expect(&next);

    far.send(&next[..1]);
    let payload = ping(&mut client);
    client.send(Frame::masked(PONG, payload).bytes());
    far.send(&next[1..]);
    client.expect(&next);
    text_passes(&mut client, &mut far);
}

#[test]
fn never_behind_a_close() {
    for client_closes in [true, false] {
        let (_proxy, _instance, mut client, mut far) = pinged();
        let (from, to) = if client_closes { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(Frame::of(client_closes, ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
        assert_eq!(Frame::read(to).code(), Some(1000));
        client.is_silent(NEVER);
    }
}

#[test]
fn never_where_no_answer_can_come_from() {
    let (_proxy, _instance, mut client, mut far) = pinged();
    client.half_close();
    far.ends();
    client.is_silent(NEVER);
}

#[test]
fn not_while_nobody_reads_what_the_client_says() {
    let (proxy, _instance, mut client, _far) = pinged();
    client.send([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    client.fill_up();
    client.is_silent(NEVER);
    proxy.counts("stickyd_tunnels_open", &[], 1);
}

#[test]
fn who_reads_late_is_not_gone() {
    // Frames so small that there always is a boundary; more than the sockets hold, so that the ping waits in the proxy.
    const FRAMES: usize = 8 << 20;
    let (_proxy, _instance, mut client, mut far) = pinged();
    let mut writer = far.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send([BINARY, 0].repeat(FRAMES)));
        std::thread::sleep(NEVER);
        let (mut frames, mut pings, mut part) = (0, 0, vec![]);
        while frames < FRAMES {
            assert!(client.has_more(), "it ended after {frames} frames");
            for byte in client.taken() {
                part.push(byte);
                match &part[..] {
                    [BINARY, 0] => frames += 1,
                    [PING, 8, payload @ ..] if payload.len() == 8 => {
                        client.send(Frame::masked(PONG, payload).bytes());
                        pings += 1;
                    }
                    [BINARY] | [PING, ..] => continue,
                    _ => panic!("{part:x?} after {frames} frames"),
                }
                part.clear();
            }
        }
        assert!(pings > 0, "it was not asked");
    });
    let text = Frame::masked(TEXT, "here").bytes();
    client.send(&text);
    far.expect(&text);
}

#[test]
fn answers_do_not_keep_an_idle_tunnel() {
    let (proxy, _instance, mut client, mut far) =
        tunnel_with("[timeouts]\nping = \"1s\"\ntunnel_idle = \"2500ms\"\n");
    for _ in 0..2 {
        let payload = ping(&mut client);
        client.send(Frame::masked(PONG, payload).bytes());
    }
    expect_close(&mut client, 1001, false);
    expect_close(&mut far, 1001, true);
    drop((client, far));
    proxy.closed_one("idle", "1001");
}

#[test]
fn an_upstream_has_its_own() {
    let instance = Instance::start();
    let proxy =
        Proxy::configured(&instance, "[upstream.app.timeouts]\nping = \"off\"\n[timeouts]\nping = \"1s\"\n");
    let (mut client, mut far) = ws::open(&proxy, &instance);
    client.is_silent(NEVER);
    text_passes(&mut client, &mut far);
}

#[test]
fn never_into_what_is_not_websocket() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "upgrade_protocols = [\"pipe\"]\n[upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = []\n\
         [timeouts]\nping = \"1s\"\n"
    ));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: pipe\r\n\r\n");
    let mut far = instance.accept();
    far.head();
    far.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: pipe\r\n\r\n");
    client.head();
    client.is_silent(NEVER);
    client.send("up");
    far.expect("up");
}
