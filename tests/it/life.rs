//! The process: limits, locks, signals, and starting without a file.

mod stops;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::process::{Home, Process};
use crate::support::ws::{self, Frame};
use crate::support::{Answering, Instance, Proxy, Socket, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// A configuration in front of `instance`; `top`: keys above the sections, `more`: sections.
fn toml(top: &str, instance: &impl std::fmt::Display, more: &str) -> String {
    let listen = if top.contains("listen") { "" } else { "listen = \"127.0.0.1:0\"" };
    format!(
        "{listen}\n{top}\n[upstream.app]\ninstances = [\"{instance}\"]\nhealth.check = \"off\"\n[metrics]\naddress = \"127.0.0.1:0\"\n{more}"
    )
}

fn start(home: &Home, toml: &str) -> Process {
    let file = home.write("config.toml", toml);
    home.start(&["run", "--config", &file])
}

#[test]
fn the_process_serves_and_stops_when_asked() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let mut process = start(&home, &toml("", &instance, ""));
    let mut client = process.connect();
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    let begin = Instant::now();
    process.terminate();
    let status = process.end();
    assert!(status.success(), "{status}");
    client.is_gone();
    assert!(begin.elapsed() < Duration::from_secs(4), "nothing was open: {:?}", begin.elapsed());
}

#[test]
fn a_signal_right_after_the_start_is_heard() {
    for _ in 0..20 {
        let (home, instance) = (Home::new(), Answering::start("blue"));
        let mut process = start(&home, &toml("", &instance, ""));
        process.says(&["\"listening\""]);
        process.terminate();
        let status = process.end();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"0s\"\ndeadline = \"60s\"\n";
    let mut process = start(&home, &toml("", &instance, shutdown));
    let mut client = process.connect();
    client.send(GET);
    let mut far = instance.accept();
    far.request();
    process.terminate();
    process.says(&["stopping"]);
    process.terminate();
    assert_eq!(process.end().code(), Some(1));
    client.is_gone();
}

#[test]
fn a_stop_closes_tunnels_with_1012() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"500ms\"\ndeadline = \"5s\"\n";
    let mut process = start(&home, &toml("", &instance, shutdown));
    let mut tunnels: Vec<(Socket, Socket)> = (0..5)
        .map(|_| {
            let mut client = process.connect();
            client.send(ws::handshake("/ws", ""));
            let mut far = instance.accept();
            far.request();
            far.send(ws::switch(""));
            assert_eq!(client.answer().status(), 101);
            (client, far)
        })
        .collect();
    // A frame on its way is not cut.
    let long = Frame::masked(ws::BINARY, vec![1; 1000]).bytes();
    tunnels[0].0.send(&long[..500]);
    tunnels[0].1.expect(&long[..500]);
    let begin = Instant::now();
    process.terminate();
    process.says(&["stopping"]);
    for (number, (client, far)) in tunnels.iter_mut().enumerate() {
        ws::expect_close(client, 1012, false);
        if number == 0 {
            client.send(&long[500..]);
            far.expect(&long[500..]);
        }
        ws::expect_close(far, 1012, true);
        client.half_close();
        far.half_close();
    }
    assert!(process.end().success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    for (client, far) in &mut tunnels {
        client.is_gone();
        far.is_gone();
    }
}

#[test]
fn a_stop_first_says_so_to_who_asks_and_serves_on() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let shutdown = "[shutdown]\nready_delay = \"1s\"\nspread = \"0s\"\ndeadline = \"5s\"\n";
    let mut process = start(&home, &toml("health_path = \"/-/ready\"", &instance, shutdown));
    let address = process.address();
    let health = || {
        let mut client = Socket::connect(address);
        client.send("GET /-/ready HTTP/1.1\r\nHost: app\r\n\r\n");
        client.answer().status()
    };
    assert_eq!(health(), 200);
    process.terminate();
    eventually("the health path says no", || (health() == 503).then_some(()));
    // A balancer needs a moment to notice; until then clients still come.
    let mut client = Socket::connect(address);
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    assert!(process.end().success());
    client.is_gone();
}

#[test]
fn a_stop_lets_a_running_exchange_end() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"0s\"\ndeadline = \"10s\"\n";
    let mut process = start(&home, &toml("", &instance, shutdown));
    let address = process.address();
    let mut client = Socket::connect(address);
    client.send(GET);
    let mut far = instance.accept();
    far.request();
    process.terminate();
    // New clients are refused while it stops.
    eventually("connects are refused", || std::net::TcpStream::connect(address).is_err().then_some(()));
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    far.send("late");
    assert_eq!(client.answer().text(), "late");
    client.is_gone();
    assert!(process.end().success());
}

#[test]
fn a_stop_ends_at_its_deadline() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"0s\"\ndeadline = \"300ms\"\n";
    let mut process = start(&home, &toml("", &instance, shutdown));
    let mut client = process.connect();
    client.send(GET);
    let mut far = instance.accept();
    far.request();
    process.terminate();
    assert!(process.end().success());
    client.is_gone();
    far.is_gone();
}

#[test]
fn an_upgrade_that_is_answered_during_a_stop_is_closed_too() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"0s\"\ndeadline = \"19s\"\n";
    let mut process = start(&home, &toml("", &instance, shutdown));
    let address = process.address();
    let mut client = Socket::connect(address);
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    process.terminate();
    eventually("connects are refused", || std::net::TcpStream::connect(address).is_err().then_some(()));
    far.send(ws::switch(""));
    assert_eq!(client.answer().status(), 101);
    ws::expect_close(&mut client, 1012, false);
    ws::expect_close(&mut far, 1012, true);
    client.half_close();
    far.half_close();
    assert!(process.end().success());
}

#[test]
fn a_second_start_of_the_same_configuration_is_refused() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let mut first = start(&home, &toml("", &instance, ""));
    let address = first.address();
    let file = first.home().path("config.toml");
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("pid {}", first.pid())), "it does not say who holds it: {text}");
    // By another path it is the same configuration.
    let other = home.path("link.toml");
    std::os::unix::fs::symlink(&file, &other).unwrap();
    assert_eq!(home.run(&["run", "--config", &other]).0, 1);
    // The first serves on, and when it ends the next may start.
    let mut client = Socket::connect(address);
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    first.terminate();
    assert!(first.end().success());
    let mut next = home.start(&["run", "--config", &file]);
    next.address();
}

#[test]
fn a_port_in_use_names_its_holder() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = home.write("config.toml", &toml(&format!("listen = \"{address}\""), &instance, ""));
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");

    // Also when the holder is one of its own kind, which shares its ports.
    let mut first = start(&home, &toml("", &instance, ""));
    let address = first.address();
    let file = home.write("other.toml", &toml(&format!("listen = \"{address}\""), &instance, ""));
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("pid {}", first.pid())), "{text}");

    // And of the metrics.
    let metrics = toml("", &instance, "")
        .replace("[metrics]\naddress = \"127.0.0.1:0\"", &format!("[metrics]\naddress = \"{address}\""));
    let file = home.write("third.toml", &metrics);
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!((code, text.contains(&address.to_string())), (1, true), "{text}");
}

#[test]
fn a_bad_configuration_ends_with_78() {
    let home = Home::new();
    let file = home.write("config.toml", "listen = 80\n");
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("config.toml:1"), "{text}");
    let (code, _) = home.run(&["run", "--config", &home.path("none.toml")]);
    assert_eq!(code, 78);
    let secret = "[upstream.app.sticky]\nsecret_file = \"/nonexistent/secret\"\n";
    let file = home.write("secret.toml", &toml("", &"127.0.0.1:1", secret));
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!((code, text.contains("/nonexistent/secret")), (78, true), "{text}");
    let (code, _) = home.run(&["run", "--nonsense"]);
    assert_eq!(code, 2);
}

#[test]
fn it_runs_without_a_file() {
    let (home, blue, green) = (Home::new(), Answering::start("blue"), Answering::start("green"));
    let mut process =
        home.start(&["run", "--listen", "127.0.0.1:0", "--instances", &format!("{blue},{green}")]);
    let mut client = process.connect();
    client.send(GET);
    let answer = client.answer();
    assert!(["blue", "green"].contains(&answer.text()));
    assert!(answer.cookie("stickyd-default").is_some(), "sticky as by default");
    process.terminate();
    assert!(process.end().success());
}

#[test]
fn the_connection_limit_turns_away_and_resumes() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\nmax_connections = 3\n");
    let open: Vec<Socket> = (0..3).map(|_| proxy.connect()).collect();
    proxy.counts("stickyd_connections_open", &[], 3);
    for round in 1..=2 {
        let mut client = proxy.connect();
        let answer = client.answer();
        assert_eq!(answer.status(), 503);
        assert!(answer.field("retry-after").is_some());
        client.is_gone();
        proxy.counts("stickyd_refused_total", &[("reason", "limit")], round);
        proxy.counts("stickyd_limit_hits_total", &[("limit", "max_connections")], round);
    }
    assert_eq!(proxy.count("stickyd_connections_limit", &[]), 3);
    // Also for a client that has spoken by then.
    let mut client = proxy.connect();
    let _ = client.try_send(GET);
    assert_eq!(client.answer().status(), 503);
    drop(open);
    proxy.counts("stickyd_connections_open", &[], 0);
    assert_eq!(proxy.get("/", "").text(), "blue");
}

#[test]
fn idle_connections_make_room_near_the_limit() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(&instance, "[limits]\nmax_connections = 100\n");
    // One that is busy, and one that has not said anything yet, are left alone.
    let mut silent = proxy.connect();
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut client = proxy.connect();
        client.send(GET);
        assert_eq!(client.answer().text(), "blue");
        idle.push(client);
    }
    assert_eq!(proxy.count("stickyd_refused_total", &[("reason", "limit")]), 0);
    // Those that waited longest were ended, in order.
    idle[0].ends();
    silent.send(GET);
    assert_eq!(silent.answer().text(), "blue");
    let last = idle.last_mut().unwrap();
    last.send(GET);
    assert_eq!(last.answer().text(), "blue");
}

#[test]
fn a_tunnel_counts_as_a_connection() {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, "[limits]\nmax_connections = 1\n");
    let (client, far) = ws::open(&proxy, &instance);
    assert_eq!(proxy.connect().answer().status(), 503);
    drop((client, far));
    proxy.counts("stickyd_connections_open", &[], 0);
    ws::open(&proxy, &instance);
}

#[test]
fn accepting_goes_on_after_descriptors_ran_out() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let text = toml("workers = 1", &instance, "[limits]\nmax_connections = 1000\n");
    let file = home.write("config.toml", &text);
    let mut process = home.start_after("ulimit -n 64;", &["run", "--config", &file]);
    let address = process.address();
    // More than it has descriptors: some wait in the kernel's queue.
    let idle: Vec<Socket> = (0..100).map(|_| Socket::connect(address)).collect();
    process.says(&["cannot accept"]);
    drop(idle);
    let mut client = Socket::connect(address);
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    assert!(process.scrape().sum("stickyd_refused_total", &[("reason", "files")]) > 0.0);
    assert!(process.scrape().sum("stickyd_panics_total", &[]) < 1.0);
    process.terminate();
    assert!(process.end().success());
}

/// The regression: where instances were out of reach for want of descriptors, idle connections to them held some.
#[test]
fn connections_that_nobody_uses_make_room_when_descriptors_ran_out() {
    const FILES: usize = 64;
    const POOLED: usize = 4;
    let (home, instance) = (Home::new(), Instance::start());
    let more = "[limits]\nmax_connections = 1000\n[timeouts]\nupstream_idle = \"60s\"\n";
    let file = home.write("config.toml", &toml("workers = 1", &instance, more));
    let mut process = home.start_after(&format!("ulimit -n {FILES};"), &["run", "--config", &file]);
    let address = process.address();
    process.says(&["metrics on http://"]);
    let has_left =
        |count| eventually("its descriptors", || (process.files_left(FILES) == count).then_some(()));
    // Clients leave it a few descriptors: an accept that finds none would end idle connections too.
    let mut clients: Vec<Socket> = Vec::new();
    for left in (POOLED..process.files_left(FILES)).rev() {
        clients.push(Socket::connect(address));
        has_left(left);
    }
    let (waiting, asking) = clients.split_at_mut(POOLED);
    let mut fars = Vec::new();
    for client in &mut *waiting {
        client.send(GET);
        let mut far = instance.accept();
        far.request();
        fars.push(far);
    }
    has_left(0);
    let client = &mut asking[0];
    // None is idle: there is nothing to be done.
    client.send(ws::handshake("/ws", ""));
    assert_eq!(client.answer().status(), 503);
    for (client, far) in waiting.iter_mut().zip(&mut fars) {
        far.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
    }
    // Each of them keeps its descriptor, and none of them can serve this one.
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    far.send(ws::switch(""));
    assert_eq!(client.answer().status(), 101);
    for far in &mut fars {
        far.ends();
    }
    has_left(POOLED - 1);
    let files = process.scrape().sum("stickyd_connect_errors_total", &[("kind", "files")]);
    assert_eq!(files as u64, 1);
}

#[test]
fn signals_that_ask_for_less_than_the_end_do_not_end_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let mut process =
        start(&home, &toml("", &instance, &format!("[log]\naccess = \"{}\"\n", home.path("access.log"))));
    let mut client = process.connect();
    client.send(GET);
    client.answer();
    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    let lines = |name: &str| std::fs::read_to_string(home.path(name)).unwrap_or_default().lines().count();
    eventually("the access line", || (lines("access.log") == 1).then_some(()));
    // As logrotate does.
    std::fs::rename(home.path("access.log"), home.path("access.log.1")).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    eventually("a new file", || std::fs::exists(home.path("access.log")).unwrap().then_some(()));
    kill_process(pid, Signal::HUP).unwrap();
    process.says(&["the configuration is loaded: nothing has changed"]);
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    eventually("the access line", || (lines("access.log") == 1).then_some(()));
    assert_eq!(lines("access.log.1"), 1);
}

#[test]
fn the_access_log_tells_what_happened() {
    let (home, instance) = (Home::new(), Instance::start());
    let log = format!("[log]\naccess = \"{}\"\n", home.path("access.log"));
    let mut process = start(&home, &toml("", &instance, &log));
    let mut client = process.connect();
    client.send("GET /a?token=secret HTTP/1.1\r\nHost: app\r\nX-Request-ID: first\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnever");
    client.answer();
    client.send(ws::handshake("/ws?EIO=4&transport=websocket", ""));
    let mut far = instance.accept();
    far.request();
    far.send(ws::switch(""));
    client.answer();
    client.send(Frame::masked(ws::TEXT, "hello").bytes());
    assert_eq!(Frame::read(&mut far).payload, b"hello");
    let close = Frame::masked(ws::CLOSE, 4001_u16.to_be_bytes()).bytes();
    client.send(&close);
    far.expect(&close);
    far.close();
    client.is_gone();
    drop(client);
    let mut bad = process.connect();
    bad.send("GET /../etc HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(bad.answer().status(), 400);

    let text = eventually("four lines", || {
        let text = std::fs::read_to_string(home.path("access.log")).unwrap_or_default();
        (text.lines().count() == 4).then_some(text)
    });
    assert!(!text.contains("secret"), "{text}");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let check = |line: usize, expected: serde_json::Value| {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&lines[line][field], value, "{field} of {}", lines[line]);
        }
    };
    let name = instance.to_string();
    check(
        0,
        serde_json::json!({
            "event": "http", "request_id": "first", "method": "GET", "host": "app", "status": 404,
            "upstream_status": 404, "upstream": "app", "instance": name, "origin": "instance", "client": "127.0.0.1",
            "bytes_down": 5,
        }),
    );
    check(1, serde_json::json!({ "event": "ws_open", "status": 101, "upstream": "app", "instance": name }));
    check(
        2,
        serde_json::json!({
            "event": "ws_close", "reason": "client_closed", "close_code": 4001, "closed_by": "client",
            "frames_up": 2, "frames_down": 0, "bytes_up": 11 + close.len(), "bytes_down": 0, "instance": name,
        }),
    );
    check(
        3,
        serde_json::json!({ "event": "http", "status": 400, "origin": "proxy", "reason": "dot segment in path" }),
    );
    assert_eq!(lines[1]["request_id"], lines[2]["request_id"]);
}
