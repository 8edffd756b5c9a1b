//! The proxy closes: when, with what code, and what it waits for.

use std::thread::sleep;
use std::time::{Duration, Instant};

use stickyd::tunnel::{ClosedBy, Reason};

use super::{tunnel, tunnel_with};
use crate::support::noise;
use crate::support::ws::{self, BINARY, Frame, TEXT, expect_close};

const IDLE: &str = "[timeouts]\ntunnel_idle = \"200ms\"\nclose_wait = \"300ms\"\n";

#[test]
fn an_idle_tunnel_is_closed_on_both_sides() {
    let begin = Instant::now();
    let (proxy, _instance, mut client, mut far) = tunnel_with(IDLE);
    expect_close(&mut client, 1001, false);
    expect_close(&mut far, 1001, true);
    assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
    // Both answer, and it is over at once.
    client.send(Frame::masked(ws::CLOSE, 1001_u16.to_be_bytes()).bytes());
    far.send(Frame::close(1001).bytes());
    client.ends();
    far.ends();
    drop((client, far));
    proxy.closed_one("idle", "1001");
}

#[test]
fn traffic_in_one_direction_keeps_a_tunnel() {
    let (proxy, _instance, mut client, mut far) = tunnel_with(IDLE);
    for number in 0..10 {
        sleep(Duration::from_millis(60));
        let (from, to) = if number < 5 { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(Frame::new(TEXT, "on").bytes());
        assert_eq!(Frame::read(to).payload, b"on");
    }
    proxy.counts("stickyd_tunnels_closed_total", &[], 0);
}

#[test]
fn who_does_not_answer_a_close_is_cut_after_close_wait() {
    let (proxy, _instance, mut client, mut far) = tunnel_with("[timeouts]\nclose_wait = \"200ms\"\n");
    let begin = Instant::now();
    proxy.close_tunnels(Reason::Command);
    expect_close(&mut client, 1012, false);
    expect_close(&mut far, 1012, true);
    // One answers, the other does not; what it says meanwhile is read and dropped.
    far.send(Frame::close(1012).bytes());
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || while writer.try_send(Frame::masked(BINARY, noise(5_000)).bytes()).is_ok() {});
        far.is_gone();
        client.is_gone();
    });
    assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
    proxy.closed_one("command", "1012");
}

#[test]
fn a_client_is_given_time_to_answer_although_the_instance_has_ended() {
    for client_first in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel();
        proxy.close_tunnels(Reason::Command);
        expect_close(&mut client, 1012, false);
        expect_close(&mut far, 1012, true);
        let (first, last) = if client_first { (&mut client, &mut far) } else { (&mut far, &mut client) };
        first.send(Frame::of(client_first, ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
        first.half_close();
        // The other still has something on its way: a reset for it could cost it the Close frame.
        last.send(Frame::of(!client_first, BINARY, noise(100_000)).bytes());
        last.is_silent(Duration::from_millis(100));
        last.send(Frame::of(!client_first, ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
        last.ends();
        first.ends();
        proxy.closed_one("command", "1012");
    }
}

#[test]
fn a_close_waits_for_the_end_of_a_long_frame() {
    for up in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel();
        let long = Frame::of(up, BINARY, noise(300_000)).bytes();
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(&long[..100_000]);
        to.expect(&long[..100_000]);
        proxy.close_tunnels(Reason::Drained);
        // The silent direction stands between two frames: it is told at once.
        expect_close(from, 1012, !up);
        from.send(&long[100_000..200_000]);
        to.expect(&long[100_000..200_000]);
        // What comes behind the frame is dropped.
        from.send([&long[200_000..], &Frame::new(TEXT, "dropped").bytes()].concat());
        to.expect(&long[200_000..]);
        expect_close(to, 1012, up);
        from.half_close();
        to.half_close();
        to.ends();
        from.ends();
        drop((client, far));
        proxy.closed_one("drained", "1012");
    }
}

#[test]
fn a_frame_that_does_not_end_is_cut_after_close_wait() {
    for up in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel_with("[timeouts]\nclose_wait = \"200ms\"\n");
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        let part = &Frame::new(BINARY, noise(300)).bytes()[..200];
        from.send(part);
        to.expect(part);
        let begin = Instant::now();
        proxy.close_tunnels(Reason::Shutdown);
        expect_close(from, 1012, !up);
        // No Close frame into the middle of somebody's frame.
        to.is_gone();
        assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
        from.is_gone();
        proxy.closed_one("shutdown", "1012");
    }
}

#[test]
fn no_second_close_into_a_direction_that_carried_one() {
    for up in [true, false] {
        let (proxy, _instance, mut client, mut far) = tunnel();
        let close = Frame::of(up, ws::CLOSE, 1000_u16.to_be_bytes());
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(close.bytes());
        to.expect(close.bytes());
        proxy.close_tunnels(Reason::Shutdown);
        // Only the other direction gets ours.
        expect_close(from, 1012, !up);
        from.half_close();
        to.half_close();
        to.ends();
        from.is_gone();
        proxy.closed_one(if up { "client_closed" } else { "instance_closed" }, "1000");
    }
}

#[test]
fn a_second_order_changes_nothing() {
    let (proxy, _instance, mut client, mut far) = tunnel();
    proxy.close_tunnels(Reason::Rebalanced);
    proxy.close_tunnels(Reason::Shutdown);
    proxy.close_tunnels(Reason::ProtocolError);
    for (end, masked) in [(&mut client, false), (&mut far, true)] {
        expect_close(end, 1012, masked);
        end.half_close();
    }
    client.is_gone();
    far.is_gone();
    proxy.closed_one("rebalanced", "1012");
}

#[test]
fn every_reason_of_the_proxy_has_its_code() {
    let reasons: Vec<Reason> =
        Reason::ALL.into_iter().filter(|reason| reason.closed_by() == ClosedBy::Proxy).collect();
    assert_eq!(reasons.len(), 14);
    for reason in reasons {
        let (proxy, _instance, mut client, mut far) = tunnel();
        proxy.close_tunnels(reason);
        let code = reason.code().unwrap();
        expect_close(&mut client, code, false);
        expect_close(&mut far, code, true);
        client.half_close();
        far.half_close();
        client.ends();
        far.ends();
        drop((client, far));
        proxy.closed_one(reason.as_str(), &code.to_string());
    }
}

#[test]
fn a_message_may_be_unfinished() {
    // At a frame boundary a Close is legal, also between two fragments (RFC 6455 section 5.5).
    let (proxy, _instance, mut client, mut far) = tunnel();
    client.send(Frame::masked(0x01, "first fragment").bytes());
    assert_eq!(Frame::read(&mut far).first, 0x01);
    proxy.close_tunnels(Reason::Command);
    expect_close(&mut far, 1012, true);
    expect_close(&mut client, 1012, false);
}

#[test]
fn an_end_that_is_gone_is_not_waited_for() {
    // The client has ended its side; then the proxy closes: the instance cannot be told any more, the client can.
    let (proxy, _instance, mut client, mut far) = tunnel();
    client.half_close();
    far.ends();
    let begin = Instant::now();
    proxy.close_tunnels(Reason::Command);
    expect_close(&mut client, 1012, false);
    client.is_gone();
    far.is_gone();
    assert!(begin.elapsed() < Duration::from_millis(1900), "it waited for close_wait: {:?}", begin.elapsed());
    proxy.counts("stickyd_tunnels_closed_total", &[], 1);
}
