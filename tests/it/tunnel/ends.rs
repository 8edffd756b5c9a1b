//! How tunnels end by their ends: Close frames, half-close, reset.

use std::time::{Duration, Instant};

use super::{tunnel, tunnel_with};
use stickyd::tunnel::Reason;

use crate::support::ws::{self, BINARY, Frame, TEXT};
use crate::support::{End, noise};

#[test]
fn a_close_of_the_client_is_answered_by_the_instance() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    let close = Frame::masked(ws::CLOSE, [&1000_u16.to_be_bytes()[..], b"bye"].concat()).bytes();
    client.send(&close);
    far.expect(&close);
    far.send(Frame::close(1000).bytes());
    far.close();
    client.expect(Frame::close(1000).bytes());
    client.ends();
    drop(client);
    proxy.closed_one("client_closed", "1000");
}

#[test]
fn a_close_of_the_instance_is_answered_by_the_client() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    far.send(Frame::close(4321).bytes());
    client.expect(Frame::close(4321).bytes());
    client.send(Frame::masked(ws::CLOSE, 4321_u16.to_be_bytes()).bytes());
    client.half_close();
    assert_eq!(Frame::read(&mut far).code(), Some(4321));
    far.ends();
    drop(far);
    client.ends();
    proxy.closed_one("instance_closed", "4xxx");
}

#[test]
fn a_close_without_a_code() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    client.send(Frame::masked(ws::CLOSE, "").bytes());
    client.half_close();
    assert_eq!(Frame::read(&mut far).payload, b"");
    far.ends();
    far.close();
    client.ends();
    proxy.closed_one("client_closed", "none");
}

#[test]
fn data_flows_on_after_the_client_has_ended_its_side() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    let last = Frame::masked(BINARY, noise(1 << 20)).bytes();
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&last);
            writer.half_close();
        });
        far.expect(&last);
    });
    far.ends();
    let answer = Frame::new(BINARY, noise(1 << 20)).bytes();
    let mut writer = far.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&answer);
            writer.half_close();
        });
        client.expect(&answer);
    });
    client.ends();
    proxy.closed_one("client_closed", "none");
}

/// As when its process is killed: the client is to come back, and not to wonder what the end means.
#[test]
fn an_instance_that_ends_without_a_close_leaves_its_client_one() {
    for answers in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel_with("[timeouts]\nclose_wait = \"200ms\"\n");
        far.send(Frame::new(TEXT, "last").bytes());
        far.half_close();
        assert_eq!(Frame::read(&mut client).payload, b"last");
        ws::expect_close(&mut client, 1012, false);
        ws::expect_close(&mut far, 1012, true);
        if answers {
            client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
        }
        client.is_gone();
        far.is_gone();
        proxy.closed_one("instance_closed", "1012");
    }
}

/// The regression: the piece went out when the instance had ended, and our Close behind it, which nobody could read.
#[test]
fn an_instance_that_ends_inside_a_header_leaves_its_client_a_close() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    far.send(Frame::new(TEXT, "last").bytes());
    far.send([0x01, 0x7e, 0x13]);
    far.half_close();
    assert_eq!(Frame::read(&mut client).payload, b"last");
    ws::expect_close(&mut client, 1012, false);
    ws::expect_close(&mut far, 1012, true);
    client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    client.ends();
    proxy.closed_one("instance_closed", "1012");
}

/// The regression: browsers and `ws` come back when the connection has ended, and it waited `close_wait` for an instance that hung.
#[test]
fn whoever_has_answered_our_close_is_let_go_at_once() {
    let (proxy, _instance, mut client, mut far) = tunnel_with("[timeouts]\nclose_wait = \"60s\"\n");
    proxy.close_tunnels(Reason::Command);
    ws::expect_close(&mut client, 1012, false);
    client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    client.ends();
    ws::expect_close(&mut far, 1012, true);
    proxy.counts("stickyd_tunnels_open", &[], 1);
}

/// Inside a frame nothing can be said.
#[test]
fn an_instance_that_ends_inside_a_frame_just_ends() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    let frame = Frame::new(TEXT, "never whole").bytes();
    far.send(&frame[..6]);
    far.half_close();
    assert_eq!(client.rest(), (frame[..6].to_vec(), End::Fin));
    client.close();
    proxy.closed_one("instance_closed", "none");
}

#[test]
fn half_a_header_arrives_before_the_end() {
    let (_proxy, _instance, mut client, mut far) = tunnel();
    let frame = Frame::masked(BINARY, noise(70_000)).bytes();
    client.send(&frame[..9]);
    client.half_close();
    assert_eq!(far.rest(), (frame[..9].to_vec(), End::Fin));
    far.send(&frame[..3]);
    far.half_close();
    assert_eq!(client.rest(), (frame[..3].to_vec(), End::Fin));
}

#[test]
fn a_tunnel_whose_client_has_ended_ends_after_half_close() {
    let (proxy, _instance, mut client, mut far) = tunnel_with("[timeouts]\nhalf_close = \"200ms\"\n");
    let begin = Instant::now();
    client.half_close();
    far.ends();
    far.send(Frame::new(TEXT, "on").bytes());
    assert_eq!(Frame::read(&mut client).payload, b"on");
    // Who still listens is told.
    ws::expect_close(&mut client, 1001, false);
    assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
    client.is_gone();
    far.is_gone();
    drop((client, far));
    proxy.closed_one("half_close_timeout", "1001");
}

#[test]
fn a_tunnel_is_over_when_both_have_said_close_and_one_has_ended() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    assert_eq!(Frame::read(&mut far).code(), Some(1000));
    far.send(Frame::close(1000).bytes());
    far.half_close();
    assert_eq!(Frame::read(&mut client).code(), Some(1000));
    client.is_gone();
    far.is_gone();
    proxy.closed_one("client_closed", "1000");
}

#[test]
fn who_said_close_is_the_reason_also_when_the_other_never_answers() {
    let (proxy, _instance, mut client, mut far) =
        tunnel_with("[timeouts]\nhalf_close = \"100ms\"\nclose_wait = \"100ms\"\n");
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    client.half_close();
    assert_eq!(Frame::read(&mut far).code(), Some(1000));
    // The client is told, though it was the first to say so.
    ws::expect_close(&mut client, 1001, false);
    client.is_gone();
    far.is_gone();
    proxy.closed_one("client_closed", "1000");
}

#[test]
fn a_reset_of_the_client_reaches_the_instance() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    client.send(Frame::masked(TEXT, "last").bytes());
    assert_eq!(Frame::read(&mut far).payload, b"last");
    client.reset();
    far.is_gone();
    proxy.closed_one("client_lost", "none");
}

#[test]
fn a_reset_of_the_instance_reaches_the_client() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    far.send(Frame::new(TEXT, "last").bytes());
    assert_eq!(Frame::read(&mut client).payload, b"last");
    far.reset();
    ws::expect_close(&mut client, 1012, false);
    client.close();
    proxy.closed_one("instance_lost", "1012");
}

#[test]
fn a_reset_while_data_waits() {
    // Nobody reads, and both directions are full.
    for client_resets in [true, false] {
        let (proxy, _instance, client, far) =
            tunnel_with("[timeouts]\nhalf_close = \"300ms\"\nclose_wait = \"100ms\"\n");
        let (mut from, mut to) = if client_resets { (client, far) } else { (far, client) };
        from.fill_up();
        to.fill_up();
        from.reset();
        // What waits for the other end may still reach it, but not for ever.
        proxy.closed_one(if client_resets { "client_lost" } else { "instance_lost" }, "none");
        to.rest();
    }
}

#[test]
fn a_tunnel_leaves_nothing_behind() {
    let (proxy, instance, client, far) = tunnel();
    let mut ends: Vec<_> = (0..20).map(|_| ws::open(&proxy, &instance)).collect();
    ends.push((client, far));
    proxy.counts("stickyd_tunnels_open", &[], 21);
    proxy.counts("stickyd_connections_open", &[], 21);
    for (number, (client, far)) in ends.into_iter().enumerate() {
        match number % 4 {
            0 => drop((client, far)),
            1 => drop((far, client)),
            2 => client.reset(),
            _ => far.reset(),
        }
    }
    proxy.counts("stickyd_tunnels_open", &[], 0);
    proxy.counts("stickyd_connections_open", &[], 0);
    proxy.counts("stickyd_tunnels_closed_total", &[], 21);
    proxy.counts("stickyd_tunnels_opened_total", &[], 21);
}
