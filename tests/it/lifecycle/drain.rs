//! Cordon, drain, maintain and resume.

use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState::{Cordon, Drain, Maintain, Ready};

use super::{talks, tunnel, upstream};
use crate::support::engine_io::{UNKNOWN, answer, get, open_packet, poll, start};
use crate::support::{Instance, Proxy, ws};

fn two(more: &str) -> (Instance, Instance, Proxy) {
    let (blue, green) = (Instance::start(), Instance::start());
    let proxy = Proxy::start(&upstream(&[&blue, &green], more));
    (blue, green, proxy)
}

#[test]
fn a_drain_closes_evenly_and_touches_nobody_else() {
    let (blue, green, proxy) = two("drain = { spread = \"1s\", close_code = 1001 }");
    let mut tunnels: Vec<_> = (0..20).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    let begin = Instant::now();
    proxy.want(&blue, Drain);
    let address = blue.address().to_string();
    let state = [("instance", address.as_str()), ("state", "drain")];
    proxy.counts("stickyd_instance_state", &state, 1);
    // Whoever comes now goes to the other one.
    for _ in 0..4 {
        let (_client, _far, at) = tunnel(&proxy, &[&blue, &green]);
        assert_eq!(at, 1);
    }
    let half = proxy.count("stickyd_tunnels_closed_total", &[("reason", "drained")]);
    assert!(half < 8, "{half} of 10 are closed after {:?}", begin.elapsed());
    for (client, far, _) in tunnels.iter_mut().filter(|(.., at)| *at == 0) {
        ws::expect_close(client, 1001, false);
        ws::expect_close(far, 1001, true);
        client.send(ws::Frame::masked(ws::CLOSE, 1001_u16.to_be_bytes()).bytes());
        far.send(ws::Frame::close(1001).bytes());
    }
    let took = begin.elapsed();
    assert!((700..3000).contains(&took.as_millis()), "{took:?}");
    proxy.counts("stickyd_tunnels_closed_total", &[("reason", "drained"), ("code", "1001")], 10);
    for (client, far, _) in tunnels.iter_mut().filter(|(.., at)| *at == 1) {
        talks(client, far);
    }
}

#[test]
fn a_drain_ends_when_the_instance_is_wanted_again() {
    let (blue, green, proxy) = two("drain = { spread = \"20s\", grace = \"300ms\" }");
    let mut tunnels: Vec<_> = (0..6).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    proxy.want(&blue, Drain);
    proxy.want(&blue, Ready);
    std::thread::sleep(Duration::from_millis(600));
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
    let at: Vec<_> = (0..4).map(|_| tunnel(&proxy, &[&blue, &green]).2).collect();
    assert!(at.contains(&0), "nobody new: {at:?}");
}

#[test]
fn a_cordon_closes_nothing() {
    let (blue, green, proxy) = two("drain = { spread = \"0s\" }");
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    proxy.want(&blue, Cordon);
    assert!((0..4).all(|_| tunnel(&proxy, &[&blue, &green]).2 == 1));
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
}

#[test]
fn maintenance_empties_too() {
    let (blue, green, proxy) = two("drain = { spread = \"0s\" }");
    let mut tunnels: Vec<_> = (0..2).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    proxy.want(&blue, Maintain);
    let (client, ..) = tunnels.iter_mut().find(|(.., at)| *at == 0).unwrap();
    ws::expect_close(client, 1012, false);
    assert!((0..4).all(|_| tunnel(&proxy, &[&blue, &green]).2 == 1));
}

/// Their clients would never hear of a drain otherwise: nothing of theirs is open.
#[test]
fn sessions_between_two_polls_leave_too() {
    let blue = Instance::start();
    let green = Instance::start();
    let text =
        upstream(&[&blue, &green], "drain = { spread = \"400ms\" }").replace("by = []", "by = [\"sid\"]");
    let proxy = Proxy::start(&text);
    let mut sessions = Vec::new();
    for number in 0..20 {
        let mut client = proxy.connect();
        client.send(start(""));
        let (mut far, at) = crate::support::eventually("a connection", || {
            [&blue, &green].iter().enumerate().find_map(|(at, instance)| Some((instance.try_accept()?, at)))
        });
        far.request();
        far.send(answer("Connection: close\r\n", &open_packet(&format!("sid-{number}"))));
        client.answer();
        sessions.push((format!("sid-{number}"), client, at));
    }
    proxy.want(&blue, Drain);
    std::thread::sleep(Duration::from_millis(600));
    for (sid, client, at) in &mut sessions {
        client.send(poll(sid, ""));
        if *at == 0 {
            assert_eq!(client.answer().text(), UNKNOWN);
        } else {
            let mut far = green.accept();
            far.request();
            far.send(answer("Connection: close\r\n", "6"));
            assert_eq!(client.answer().text(), "6");
        }
    }
    blue.saw_nothing();
}

#[test]
fn a_drain_ends_streams_and_lets_requests_finish_until_its_deadline() {
    let (blue, green, proxy) = two("drain = { spread = \"0s\", deadline = \"1s\" }");
    let open = |path: &str| {
        let mut client = proxy.connect();
        client.send(get(path, ""));
        let (mut far, at) = crate::support::eventually("a connection", || {
            [&blue, &green].iter().enumerate().find_map(|(at, instance)| Some((instance.try_accept()?, at)))
        });
        far.request();
        (client, far, at)
    };
    let mut kept = Vec::new();
    let (mut stream, mut slow, mut endless) = (None, None, None);
    while stream.is_none() || slow.is_none() || endless.is_none() {
        let (client, far, at) = open("/");
        let slot = if stream.is_none() {
            &mut stream
        } else if slow.is_none() {
            &mut slow
        } else {
            &mut endless
        };
        if at == 0 { *slot = Some((client, far)) } else { kept.push((client, far)) }
    }
    let (mut client, mut far) = stream.unwrap();
    far.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    client.head();
    let (mut waits, mut busy) = slow.unwrap();
    let (mut waits_for_ever, mut hangs) = endless.unwrap();
    proxy.counts("stickyd_requests_open", &[("kind", "stream")], 1);
    proxy.want(&blue, Drain);
    client.rest();
    far.is_gone();
    busy.send(answer("", "done"));
    assert_eq!(waits.answer().text(), "done");
    assert_eq!(waits_for_ever.answer().status(), 502);
    hangs.is_gone();
}
