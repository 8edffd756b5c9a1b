//! A stop as `[shutdown]` says, where the tests of `life` leave off.

use std::time::{Duration, Instant};

use super::{GET, Site};
use crate::support::process::Home;
use crate::support::{Instance, ws};

fn site(instance: &Instance, shutdown: &str) -> Site {
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"");
    Site::start("health_path = \"/ready\"", &upstream, &format!("[shutdown]\n{shutdown}\n"))
}

#[test]
fn a_second_signal_ends_it_also_while_it_serves_on() {
    let instance = Instance::start();
    let mut site = site(&instance, "ready_delay = \"60s\"");
    let (mut client, _far) = site.tunnel(&instance);
    let begin = Instant::now();
    site.process.terminate();
    site.process
        .says(&["stopping: serving on for 60s, then closing 1 tunnel over 5s; a second signal ends at once"]);
    client.is_silent(Duration::from_millis(200));
    site.process.terminate();
    assert_eq!(site.process.end().code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    client.is_gone();
}

#[test]
fn it_says_what_it_waits_for_and_how_it_ended() {
    let instance = Instance::start();
    let mut well = site(&instance, "spread = \"100ms\"");
    let (mut client, mut far) = well.tunnel(&instance);
    well.process.terminate();
    ws::closed(&mut client, &mut far, 1012);
    assert!(well.process.end().success());
    well.process.says(&["stopping: closing 1 tunnel over 100ms;"]);
    well.process.says(&["stopped: all that was open has ended"]);

    let mut cut = site(&instance, "spread = \"0s\"\ndeadline = \"300ms\"");
    let (_client, _far) = cut.tunnel(&instance);
    let mut busy = cut.process.connect();
    busy.send(GET);
    let mut far = instance.accept();
    far.request();
    cut.process.terminate();
    assert!(cut.process.end().success());
    cut.process.says(&["closing 1 tunnel over 0ns, waiting for 1 request for 300ms"]);
    cut.process.says(&["stopped: after 300ms what was left was cut: 1 tunnel, 1 request"]);
}

/// With several workers each closes its own, and all of them within the spread.
#[test]
fn closes_are_spread_over_all_workers_and_streams_come_to_the_deadline() {
    let instance = Instance::start();
    let mut site = site(&instance, "spread = \"600ms\"\ndeadline = \"1500ms\"");
    let mut tunnels: Vec<_> = (0..8).map(|_| site.tunnel(&instance)).collect();
    let mut stream = site.process.connect();
    stream.send(GET);
    let mut far_of_stream = instance.accept();
    far_of_stream.request();
    far_of_stream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    stream.head();
    let begin = Instant::now();
    site.process.terminate();
    for (client, far) in &mut tunnels {
        ws::closed(client, far, 1012);
    }
    assert!(begin.elapsed() < Duration::from_millis(1400), "{:?}", begin.elapsed());
    far_of_stream.send("data: 2\n\n");
    assert!(site.process.end().success());
    let (rest, _) = stream.rest();
    assert!(String::from_utf8_lossy(&rest).contains("data: 2"), "it goes on until the deadline");
    assert!(begin.elapsed() >= Duration::from_millis(1400), "{:?}", begin.elapsed());
}

#[test]
fn a_signal_that_asks_for_less_is_no_second_one() {
    use rustix::process::{Pid, Signal, kill_process};
    let instance = Instance::start();
    let mut site = site(&instance, "ready_delay = \"500ms\"\nspread = \"0s\"");
    site.process.terminate();
    site.process.says(&["stopping"]);
    let pid = Pid::from_raw(site.process.pid().cast_signed()).unwrap();
    for signal in [Signal::HUP, Signal::USR1] {
        kill_process(pid, signal).unwrap();
    }
    let text = site.says(69, &["reload"]);
    assert!(text.contains("the process is stopping"), "{text}");
    assert!(site.process.end().success());
    // Whoever asks then hears that nobody is there.
    assert_eq!(Home::run(&site.home, &["status"]).0, 69);
}
