//! What goes over besides sockets and sessions, and what goes on at the process that lingers.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Site, leaves, named, program, talks, toml};
use crate::support::process::Process;
use crate::support::{Answering, Instance, Socket, eventually, ws};

const RULES: &str = "sticky.by = []\nhealth.check = \"off\"";
const COUNTS: [&str; 3] =
    ["stickyd_tunnels_open", "stickyd_tunnels_opened_total", "stickyd_tunnels_closed_total"];

fn counts(process: &mut Process) -> [u32; 3] {
    let scrape = process.scrape();
    COUNTS.map(|name| scrape.sum(name, &[]) as u32)
}

/// The regression: whoever ended while another upgrade ran waited behind it with its farewell, and gave up.
#[test]
fn a_farewell_does_not_wait_behind_an_upgrade() {
    let instance = Instance::start();
    let mut site = Site::start(&toml(&[named(&instance, "blue")], RULES, ""));
    let tunnel = site.tunnel(&instance);
    site.upgrade();
    let file = site.home.path("pid");
    let hangs = program(&site.home, "hangs", &format!("#!/bin/sh\necho $$ > {file}\nexec sleep 60\n"));
    let home = site.home.clone();
    let upgrade = thread::spawn(move || home.run(&["upgrade", "--binary", &hangs, "--timeout", "5s"]));
    eventually("it runs", || fs::read_to_string(&file).ok().filter(|text| !text.is_empty()));
    leaves(tunnel);
    assert!(site.process.end().success());
    assert!(!upgrade.is_finished(), "the machine is too slow for this test");
    assert_eq!(counts(&mut site.process), [0, 1, 1]);
    assert_eq!(upgrade.join().unwrap().0, 1);
}

/// The regression: after an upgrade a balancer sent clients to a process that was retired.
#[test]
fn out_of_rotation_stays_so() {
    let instance = Instance::start();
    let more = "health_path = \"/ready\"\nshutdown.ready_delay = \"0s\"";
    let text = toml(&[named(&instance, "blue")], RULES, more).replace("[shutdown]\n", "");
    let text = text
        .replace("spread = \"0s\"\ndeadline", "[shutdown]\nready_delay = \"0s\"\nspread = \"0s\"\ndeadline");
    let mut site = Site::start(&text.replace("\nshutdown.ready_delay = \"0s\"", ""));
    let health = |site: &mut Site| {
        let mut client = site.process.connect();
        client.send("GET /ready HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        client.answer().status()
    };
    assert_eq!(health(&mut site), 200);
    site.says(0, &["retire"]);
    assert_eq!(health(&mut site), 503);
    let since = site.status()["retired"].clone();
    site.upgrade();
    assert_eq!(health(&mut site), 503);
    assert!(site.status()["retired"] == since && since.is_u64(), "{}", site.status());
    site.says(0, &["retire", "--undo"]);
    assert_eq!(health(&mut site), 200);
}

/// The regression: a process that ended said so to itself, at the place where the one that served had been looked for.
#[test]
fn another_place_for_commands() {
    let instance = Instance::start();
    let good = toml(&[named(&instance, "blue")], RULES, "");
    let mut site = Site::start(&good);
    let tunnel = site.tunnel(&instance);
    let (usual, other) = (site.home.path("admin.sock"), site.home.path("other.sock"));
    site.home.write("config.toml", &format!("{good}[admin]\nsocket = \"{other}\"\n"));
    let upgraded = site.says(0, &["upgrade", "--socket", &usual, "--json"]);
    let upgraded: serde_json::Value = serde_json::from_str(&upgraded).unwrap();
    site.pids.push(upgraded["pid"].as_i64().unwrap() as i32);
    assert!(!Path::new(&usual).exists(), "nobody serves there");
    let status = site.says(0, &["status", "--socket", &other, "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["pid"], &status["lingering"][0]["tunnels"]), (&site.pids[1].into(), &1.into()));
    leaves(tunnel);
    assert!(site.process.end().success());
    assert_eq!(counts(&mut site.process), [0, 1, 1]);
}

/// The regression: another stickyd's socket was replaced by that of a process that took over, because its file said so.
#[test]
fn the_place_of_somebody_else_is_not_taken() {
    let instance = Instance::start();
    let good = toml(&[named(&instance, "blue")], RULES, "");
    let mut site = Site::start(&good);
    let usual = site.home.path("admin.sock");
    let theirs = site.home.path("theirs.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&theirs).unwrap();
    site.home.write("config.toml", &format!("{good}[admin]\nsocket = \"{theirs}\"\n"));
    let text = site.says(1, &["upgrade", "--socket", &usual]);
    assert!(text.contains("another process serves there"), "{text}");
    talks(&mut site.tunnel(&instance));
}

/// The regression: the file of a listener that was no longer wanted stayed.
#[test]
fn a_listener_that_is_no_longer_wanted_goes() {
    let instance = Answering::start("one");
    let text = toml(&[named(&instance, "one")], RULES, "");
    let home = crate::support::process::Home::new();
    let path = home.path("web.sock");
    let both =
        text.replace("listen = \"127.0.0.1:0\"", &format!("listen = [\"127.0.0.1:0\", \"unix:{path}\"]"));
    let file = home.write("config.toml", &both);
    let mut process = home.start(&["run", "--config", &file]);
    process.address();
    let pids = vec![process.pid().cast_signed()];
    let mut site = Site { home, file, process, pids };
    let get = |mut client: Socket| {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
        client
    };
    let kept = get(Socket::connect_unix(Path::new(&path)));
    site.home.write("config.toml", &text);
    site.upgrade();
    eventually("its file is gone", || (!Path::new(&path).exists()).then_some(()));
    get(site.process.connect());
    // A connection that there was is served.
    get(kept);
    // And one that both have is not touched by the end of the old one.
    site.home.write("config.toml", &both);
    site.upgrade();
    get(Socket::connect_unix(Path::new(&path)));
    site.upgrade();
    get(Socket::connect_unix(Path::new(&path)));
}

/// The regression: streams were cut when the process that lingered ended, all at once.
#[test]
fn streams_are_told_at_a_pace_too() {
    let instance = Instance::start();
    let more = "upgrade.linger = \"8s\"\nupgrade.spread = \"7500ms\"";
    let mut site = Site::start(&toml(&[named(&instance, "blue")], RULES, more));
    let mut stream = site.process.connect();
    stream.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    stream.head();
    site.upgrade();
    let begin = Instant::now();
    stream.rest();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// The regression: tunnels of a process that lingered did not count, and an instance got more than it may have.
#[test]
fn tunnels_of_a_process_that_lingers_count() {
    let instance = Instance::start();
    let one = format!("{{ address = \"{instance}\", name = \"blue\", max_tunnels = 2 }}");
    let mut site = Site::start(&toml(&[one], RULES, ""));
    let first = site.tunnel(&instance);
    let _second = site.tunnel(&instance);
    site.upgrade();
    let asks = |site: &mut Site| {
        let mut client = site.process.connect();
        client.send(ws::handshake("/ws", ""));
        client
    };
    // It was told of them before it accepted anybody, and hears it on another thread.
    thread::sleep(Duration::from_millis(100));
    assert!(asks(&mut site).head().starts_with("HTTP/1.1 503"));
    leaves(first);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut far = instance.accept();
            far.request();
            far.send(ws::switch(""));
        });
        eventually("it has room", || asks(&mut site).head().starts_with("HTTP/1.1 101").then_some(()));
    });
}
