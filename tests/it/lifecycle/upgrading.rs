//! Engine.IO sessions that move from polling to a tunnel while somebody wants it closed: between `3probe` and `5` their clients hear
//! neither a poll nor the tunnel.

use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState::Drain;
use stickyd::tunnel::Reason;

use super::upstream;
use crate::support::engine_io::{UNKNOWN, answer, open_packet, poll, start, upgrade};
use crate::support::ws::{self, Frame};
use crate::support::{Instance, Proxy, Socket};

/// Where nothing comes for so long, nothing was on its way.
const A_WHILE: Duration = Duration::from_millis(400);

fn before(instance: &Instance) -> Proxy {
    before_and(instance, "drain = { spread = \"0s\" }")
}

/// `more`: keys of the upstream, then sections.
fn before_and(instance: &Instance, more: &str) -> Proxy {
    let text = upstream(&[instance], more);
    Proxy::start(&text.replace("by = []", "by = [\"sid\"]"))
}

/// A session whose client has sent `2probe` and heard `3probe`: both ends of its tunnel.
fn probed(proxy: &Proxy, instance: &Instance) -> (Socket, Socket) {
    let mut client = proxy.connect();
    client.send(start(""));
    let mut far = instance.accept();
    far.request();
    far.send(answer("Connection: close\r\n", &open_packet("abc")));
    client.answer();
    let mut client = proxy.connect();
    client.send(upgrade("abc", ""));
    let mut far = instance.accept();
    far.request();
    far.send(ws::switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.send(Frame::masked(ws::TEXT, "2probe").bytes());
    assert_eq!(Frame::read(&mut far).payload, b"2probe");
    far.send(Frame::new(ws::TEXT, "3probe").bytes());
    assert_eq!(Frame::read(&mut client).payload, b"3probe");
    (client, far)
}

/// The regression: a client whose tunnel was closed here had stopped to poll, and heard nothing until its own ping time-out.
#[test]
fn an_order_to_close_waits_for_the_end_of_the_upgrade() {
    for reason in [None, Some(Reason::Rebalanced), Some(Reason::Removed), Some(Reason::Command)] {
        for pieces in [1, 2] {
            let instance = Instance::start();
            let proxy = before(&instance);
            let (mut client, mut far) = probed(&proxy, &instance);
            match reason {
                None => proxy.want(&instance, Drain),
                Some(reason) => proxy.close_tunnels(reason),
            }
            client.is_silent(A_WHILE);
            let end = Frame::masked(ws::TEXT, "5");
            let bytes = end.bytes();
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                client.send(piece);
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(Frame::read(&mut far), end);
            let ended = Instant::now();
            ws::closed(&mut client, &mut far, 1012);
            assert!(ended.elapsed() < Duration::from_millis(1_500), "{:?}", ended.elapsed());
            let reason = reason.unwrap_or(Reason::Drained).as_str();
            proxy.counts("stickyd_tunnels_closed_total", &[("reason", reason)], 1);
        }
    }
}

#[test]
fn it_does_not_wait_for_ever() {
    let instance = Instance::start();
    let proxy = before(&instance);
    let (mut client, mut far) = probed(&proxy, &instance);
    let began = Instant::now();
    proxy.want(&instance, Drain);
    ws::closed(&mut client, &mut far, 1012);
    let took = began.elapsed();
    assert!((2_500..5_000).contains(&took.as_millis()), "{took:?}");
}

/// The regression: it waited three seconds, and was cut without a word where there were fewer.
#[test]
fn it_does_not_wait_for_longer_than_there_is_time() {
    let instance = Instance::start();
    let proxy = before_and(&instance, "drain = { spread = \"0s\", deadline = \"1s\" }");
    let (mut client, mut far) = probed(&proxy, &instance);
    let began = Instant::now();
    proxy.want(&instance, Drain);
    ws::closed(&mut client, &mut far, 1012);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    let instance = Instance::start();
    let proxy = before_and(&instance, "[shutdown]\nspread = \"0s\"\ndeadline = \"2s\"");
    let (mut client, mut far) = probed(&proxy, &instance);
    std::thread::scope(|scope| {
        scope.spawn(|| proxy.stop());
        ws::closed(&mut client, &mut far, 1012);
    });
}

#[test]
fn who_has_ended_its_upgrade_or_has_none_is_closed_at_once() {
    let instance = Instance::start();
    let proxy = before(&instance);
    let (mut upgraded, mut its_far) = probed(&proxy, &instance);
    upgraded.send(Frame::masked(ws::TEXT, "5").bytes());
    assert_eq!(Frame::read(&mut its_far).payload, b"5");
    let (mut direct, mut far) = ws::open(&proxy, &instance);
    let began = Instant::now();
    proxy.want(&instance, Drain);
    ws::closed(&mut direct, &mut far, 1012);
    ws::closed(&mut upgraded, &mut its_far, 1012);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}

/// In this order, as it hears of the poll while the tunnel is open.
#[test]
fn its_poll_is_ended_meanwhile() {
    let instance = Instance::start();
    let proxy = before(&instance);
    let (mut client, mut far) = probed(&proxy, &instance);
    let mut polling = proxy.connect();
    polling.send(poll("abc", ""));
    instance.accept().request();
    proxy.want(&instance, Drain);
    assert_eq!(polling.answer().text(), UNKNOWN);
    client.is_silent(A_WHILE);
    // It gives up its probe, and the instance hears of that.
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    assert_eq!(Frame::read(&mut far).code(), Some(1000));
}

/// What the instance had answered to the poll comes by another connection, and may be later.
#[test]
fn the_close_for_a_dead_instance_lets_its_last_words_go_first() {
    let instance = Instance::start();
    let proxy = before(&instance);
    for leave in [Socket::close, Socket::reset] {
        let (mut client, far) = probed(&proxy, &instance);
        leave(far);
        client.is_silent(Duration::from_millis(150));
        ws::expect_close(&mut client, 1012, false);
    }
}
