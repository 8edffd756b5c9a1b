//! `stickyd retire`: out of a balancer's rotation, and back.

use std::time::{Duration, Instant};

use super::{GET, Site};
use crate::support::engine_io;
use crate::support::{Instance, Socket, eventually, ws};

fn site(instance: &Instance, shutdown: &str) -> Site {
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"\nsticky.by = [\"sid\"]");
    Site::start("health_path = \"/ready\"", &upstream, &format!("[shutdown]\n{shutdown}\n"))
}

fn health(site: &mut Site) -> u16 {
    let mut client = site.process.connect();
    client.send("GET /ready HTTP/1.1\r\nHost: app\r\n\r\n");
    client.answer().status()
}

#[test]
fn it_says_so_serves_on_and_closes_at_a_pace() {
    let instance = Instance::start();
    let mut site = site(&instance, "ready_delay = \"700ms\"\nspread = \"600ms\"");
    let mut tunnels: Vec<_> = (0..4).map(|_| site.tunnel(&instance)).collect();
    let mut stream = site.process.connect();
    stream.send(GET);
    let mut far_of_stream = instance.accept();
    far_of_stream.request();
    far_of_stream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    stream.head();
    let begin = Instant::now();
    let text = site.says(0, &["retire"]);
    assert!(text.starts_with("retired: 4 tunnels, 1 request open; the first is told in 1s"), "{text}");
    assert_eq!(health(&mut site), 503);
    assert_eq!(site.process.scrape_ready(), 503);
    // Whoever is here stays for the time in which the balancer notices, and whoever comes is served.
    tunnels.push(site.tunnel(&instance));
    assert!(begin.elapsed() < Duration::from_millis(700), "the machine is too slow for this test");
    for (client, far) in &mut tunnels {
        ws::closed(client, far, 1012);
    }
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    stream.rest();
    // A balancer that is slow sends another one: it is served, and told in the next round.
    let (mut client, mut far) = site.tunnel(&instance);
    client.send(ws::Frame::masked(ws::TEXT, "up").bytes());
    assert_eq!(ws::Frame::read(&mut far).payload, b"up");
    ws::closed(&mut client, &mut far, 1012);
    let text = site.says(0, &["retire", "--wait", "--timeout", "10s"]);
    assert_eq!(text, "retired: nothing is open\n");
    assert!(site.says(0, &["status"]).contains(", RETIRED "));
    assert_eq!(site.events("retire", 1)[0]["level"], "info");

    assert_eq!(site.says(0, &["retire", "--undo"]), "in rotation: nothing is open\n");
    assert_eq!((health(&mut site), site.process.scrape_ready()), (200, 200));
    let (mut client, _far) = site.tunnel(&instance);
    client.is_silent(Duration::from_millis(1500));
    site.events("retire", 2);
    site.process.terminate();
    assert!(site.process.end().success());
}

#[test]
fn polls_are_told_and_what_is_not_done_in_time_is_said() {
    let instance = Instance::start();
    let mut site = site(&instance, "spread = \"0s\"");
    let mut client = site.process.connect();
    client.send(engine_io::start(""));
    let mut far = instance.accept();
    far.request();
    far.send(engine_io::answer("", &engine_io::open_packet("one")));
    client.answer();
    client.send(engine_io::poll("one", ""));
    far.request();
    let mut busy = site.process.connect();
    busy.send(GET);
    let mut far_of_busy = instance.accept();
    far_of_busy.request();
    let text = site.says(1, &["retire", "--wait", "--timeout", "1s"]);
    assert!(text.contains("not done in time, it goes on: "), "{text}");
    assert!(text.contains("1 request open"), "an exchange comes to its end: {text}");
    assert!([200, 400].contains(&client.answer().status()));
    far_of_busy.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(busy.answer().status(), 200);
    site.says(0, &["retire", "--wait", "--timeout", "10s"]);
}

#[test]
fn a_stop_does_not_wait_once_more_for_a_balancer_that_knows() {
    let instance = Instance::start();
    let mut site = site(&instance, "ready_delay = \"2s\"\nspread = \"0s\"\ndeadline = \"1s\"");
    site.says(0, &["retire"]);
    eventually("the delay is over", || {
        let retired = site.json(&["retire"]);
        (retired["retired"]["closes_in"] == 0).then_some(())
    });
    let begin = Instant::now();
    site.process.terminate();
    assert!(site.process.end().success());
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
}

#[test]
fn without_a_health_path_it_says_what_is_missing() {
    let instance = Instance::start();
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"");
    let site = Site::start("", &upstream, "");
    assert!(site.says(0, &["retire"]).contains("health_path is off: only /-/ready of [metrics] says 503"));
    let path = site.home.path("admin.sock");
    let mut client = Socket::connect_unix(std::path::Path::new(&path));
    client.send("POST /v1/retire HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"undo\": \"no\"}");
    assert_eq!(client.answer().status(), 400);
}
