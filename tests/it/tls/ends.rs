//! Ends: `close_notify` and what is made of it, in tunnels and in bodies.

use std::time::Duration;

use super::Edge;
use crate::support::ws::{self, Frame};
use crate::support::{End, noise};

#[test]
fn a_drained_tunnel_ends_with_a_close_frame_and_a_word_of_tls() {
    let edge = Edge::start("");
    let (mut client, far) = edge.tunnel();
    edge.proxy.want(&edge.instance, stickyd::config::model::InstanceState::Drain);
    edge.proxy.close_tunnels(stickyd::tunnel::Reason::Drained);
    client.expect(Frame::close(1012).bytes());
    client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    // Not `Cut`: it was said.
    assert_eq!(client.rest(), (vec![], End::Fin));
    drop(far);
    edge.proxy.closed_one("drained", "1012");
}

#[test]
fn a_stop_says_so_to_clients_that_wait() {
    let Edge { instance, proxy, client, .. } = Edge::start("");
    let mut client = super::connect(proxy.address(), &client, super::NAME);
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    proxy.stop();
    assert_eq!(client.rest(), (vec![], End::Fin));
}

#[test]
fn each_side_of_a_tunnel_may_end_first() {
    let edge = Edge::start("");
    // The client ends its side, and still hears what comes.
    let (mut client, mut far) = edge.tunnel();
    client.send(Frame::masked(ws::TEXT, "last").bytes());
    client.say_bye();
    far.expect(Frame::masked(ws::TEXT, "last").bytes());
    far.ends();
    let large = Frame::new(ws::BINARY, noise(300_000)).bytes();
    far.send(&large);
    client.expect(&large);
    far.close();
    assert_eq!(client.rest(), (vec![], End::Fin));
    edge.proxy.closed_one("client_closed", "none");
}

#[test]
fn a_client_that_ends_without_a_word_of_tls_has_ended() {
    let edge = Edge::start("");
    let (client, mut far) = edge.tunnel();
    // FIN, and no close_notify: for a tunnel an end like any other.
    client.half_close();
    far.ends();
    drop(far);
    edge.proxy.closed_one("client_closed", "none");
}

#[test]
fn a_broken_record_breaks_the_connection_and_nothing_else() {
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    let (mut other, mut other_far) = edge.tunnel();
    client.send_in_the_clear(&[
        23, 3, 3, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
        24, 25, 26, 27, 28, 29, 30, 31, 32,
    ]);
    far.is_gone();
    let (rest, _) = client.rest_or_alert();
    assert!(rest.is_empty());
    edge.proxy.counts("stickyd_tunnels_closed_total", &[("reason", "client_lost")], 1);
    other.send(Frame::masked(ws::TEXT, "x").bytes());
    other_far.expect(Frame::masked(ws::TEXT, "x").bytes());
}

#[test]
fn a_client_that_takes_nothing_is_felt_by_the_instance_and_gets_everything_later() {
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    let frame = Frame::new(ws::BINARY, noise(1 << 20)).bytes();
    let (sent, mut writer) = (frame.clone(), far.writer());
    let writing = std::thread::spawn(move || {
        for _ in 0..16 {
            writer.send(&sent);
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!writing.is_finished(), "16 MiB were taken for a client that reads nothing");
    for _ in 0..16 {
        client.expect(&frame);
    }
    writing.join().unwrap();
    // And the other way round.
    let frame = Frame::masked(ws::BINARY, noise(100_000)).bytes();
    client.send(&frame);
    far.expect(&frame);
}

/// Keys are changed under way: neither side notices.
#[test]
fn new_keys_change_nothing() {
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    for _ in 0..3 {
        client.tls().refresh_traffic_keys().unwrap();
        let frame = Frame::masked(ws::BINARY, noise(70_000)).bytes();
        client.send(&frame);
        far.expect(&frame);
        let frame = Frame::new(ws::BINARY, noise(70_000)).bytes();
        far.send(&frame);
        client.expect(&frame);
    }
}

/// What came before is passed on, also when it comes together with what is wrong.
#[test]
fn what_came_before_a_broken_record_arrives() {
    let edge = Edge::start("");
    let (mut client, mut far) = edge.tunnel();
    let frame = Frame::masked(ws::TEXT, "last words").bytes();
    client.send_with_garbage(&frame);
    far.expect(&frame);
    far.is_gone();
    edge.proxy.counts("stickyd_tunnels_closed_total", &[("reason", "client_lost")], 1);
}
