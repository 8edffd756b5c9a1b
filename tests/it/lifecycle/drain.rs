//! Cordon, drain, maintain and resume.

use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState::{Cordon, Drain, Maintain, Ready};

use super::{talks, tunnel, upstream};
use crate::support::engine_io::{UNKNOWN, answer, get, open_packet, poll, start};
use crate::support::{Answering, Instance, Proxy, eventually, ws};

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
        ws::closed(client, far, 1001);
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

/// The regression: plain requests of bound clients went to it for ever, and kept it from being empty.
#[test]
fn after_its_deadline_nothing_comes_to_an_emptied_instance() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let proxy = Proxy::start(&format!(
        "[upstream.app]\nsticky.by = [\"cookie\"]\ndrain = {{ spread = \"0s\", deadline = \"1s\" }}\n\
         instances = [\"{blue}\", \"{green}\"]\n"
    ));
    let first = proxy.get("/", "");
    let (cookie, _) = first.cookie("stickyd-app").unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    let (at, name) = if first.text() == "blue" { (&blue, "blue") } else { (&green, "green") };
    proxy.want(at, Drain);
    assert_eq!(proxy.get("/", &cookie).text(), name, "what it has it keeps until then");
    eventually("it goes elsewhere", || (proxy.get("/", &cookie).text() != name).then_some(()));
}

/// Said twice, by command and in the file, or as maintenance: it goes on as it is.
#[test]
fn what_is_said_again_begins_no_drain_anew() {
    let rules = "drain = { grace = \"1h\", deadline = \"2h\" }";
    let (blue, green, proxy) = two(rules);
    let mut tunnels: Vec<_> = (0..2).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    proxy.want(&blue, Drain);
    let begun = proxy.emptying(&blue);
    assert!(begun.is_some_and(|emptying| emptying.began_with == 1), "{begun:?}");
    std::thread::sleep(Duration::from_millis(20));
    proxy.want(&blue, Maintain);
    let file = upstream(&[&blue, &green], rules);
    let entry = format!("{{ address = \"{blue}\", state = \"drain\" }}");
    proxy.reload(&file.replacen(&format!("\"{blue}\""), &entry, 1)).unwrap();
    assert_eq!(proxy.emptying(&blue), begun);
    proxy.reload(&file).unwrap();
    assert_eq!(proxy.emptying(&blue), None, "the file's word has changed");
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
}
