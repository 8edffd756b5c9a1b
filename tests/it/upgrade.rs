//! `stickyd upgrade`: another process takes over, through the binary and its sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::engine_io::{self, EngineIo, instance_of, sid_of};
use crate::support::process::{Home, Process};
use crate::support::ws::{self, Frame};
use crate::support::{Answering, Instance, Socket, eventually, noise};

/// A proxy, and the processes that took over from its first.
struct Site {
    home: Home,
    file: String,
    process: Process,
    /// All that ever served.
    pids: Vec<i32>,
}

impl Drop for Site {
    fn drop(&mut self) {
        for pid in &self.pids[1..] {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
    }
}

/// What every configuration here has.
fn toml(instances: &[String], of_upstream: &str, more: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nworkers = 2\n{more}\n[upstream.app]\ninstances = [{}]\nbalance = \"round_robin\"\n{of_upstream}\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n[reload]\nwatch = false\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n",
        instances.join(", ")
    )
}

fn named(address: &impl ToString, name: &str) -> String {
    format!("{{ address = \"{}\", name = \"{name}\" }}", address.to_string())
}

impl Site {
    fn start(toml: &str) -> Self {
        let home = Home::new();
        let file = home.write("config.toml", toml);
        let mut process = home.start(&["run", "--config", &file]);
        process.address();
        let pids = vec![process.pid().cast_signed()];
        Site { home, file, process, pids }
    }

    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        self.home.says(code, arguments)
    }

    /// Another process takes over; what the command says.
    #[track_caller]
    fn upgrade(&mut self) -> Value {
        let upgraded: Value = serde_json::from_str(&self.says(0, &["upgrade", "--json"])).unwrap();
        self.pids.push(upgraded["pid"].as_i64().unwrap() as i32);
        upgraded
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.says(0, &["status", "--json"])).unwrap()
    }

    fn of_instance(&self, name: &str) -> Value {
        let status = self.status();
        let instances = status["upstreams"][0]["instances"].as_array().unwrap();
        instances.iter().find(|instance| instance["name"] == name).cloned().unwrap()
    }

    fn serves(&self) -> i32 {
        self.status()["pid"].as_i64().unwrap() as i32
    }

    fn tunnel(&mut self, instance: &Instance) -> (Socket, Socket) {
        let mut client = self.process.connect();
        client.send(ws::handshake("/ws", ""));
        let mut far = instance.accept();
        far.request();
        far.send(ws::switch(""));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        (client, far)
    }
}

/// Every byte arrives, both ways.
fn talks((client, far): &mut (Socket, Socket)) {
    let payload = noise(20_000);
    client.send(Frame::masked(ws::BINARY, payload.as_slice()).bytes());
    assert_eq!(Frame::read(far).payload, payload);
    far.send(Frame::new(ws::BINARY, payload.as_slice()).bytes());
    assert_eq!(Frame::read(client).payload, payload);
}

fn leaves((mut client, mut far): (Socket, Socket)) {
    client.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    Frame::read(&mut far);
    far.send(Frame::close(1000).bytes());
    Frame::read(&mut client);
}

#[test]
fn tunnels_live_on_and_all_is_summed() {
    let instance = Instance::start();
    let mut site =
        Site::start(&toml(&[named(&instance, "blue")], "sticky.by = []\nhealth.check = \"off\"", ""));
    let mut old: Vec<_> = (0..3).map(|_| site.tunnel(&instance)).collect();
    let first = site.serves();
    let upgraded = site.upgrade();
    assert_eq!((&upgraded["lingers"], &upgraded["tunnels"]), (&first.into(), &3.into()));
    old.iter_mut().for_each(talks);
    let mut new = site.tunnel(&instance);
    talks(&mut new);
    let status = site.status();
    assert_eq!(status["pid"], site.pids[1]);
    assert_eq!(status["upstreams"][0]["instances"][0]["tunnels"], 4, "{status}");
    let lingering = &status["lingering"][0];
    assert_eq!((&lingering["pid"], &lingering["tunnels"]), (&first.into(), &3.into()));
    let screen = site.says(0, &["status"]);
    assert!(
        screen.contains(&format!("lingers  pid {first}, ")) && screen.contains("3 of them tunnels"),
        "{screen}"
    );
    let scrape = site.process.scrape();
    let numbers = ["stickyd_tunnels_open", "stickyd_processes", "stickyd_tunnels_opened_total"];
    assert_eq!(numbers.map(|name| scrape.sum(name, &[]) as u32), [4, 2, 4]);

    // A second start is refused by the process that serves.
    let (code, text) = site.home.run(&["run", "--config", &site.file]);
    assert!(code == 1 && text.contains("already runs with"), "{text}");
    assert!(text.contains(&format!("pid {}", site.pids[1])), "{text}");

    old.into_iter().for_each(leaves);
    assert!(site.process.end().success(), "it has nothing left to linger for");
    talks(&mut new);
    assert_eq!(site.status()["lingering"].as_array().unwrap().len(), 0);
    let scrape = site.process.scrape();
    assert_eq!(numbers.map(|name| scrape.sum(name, &[]) as u32), [1, 1, 4], "of all that ever served");
    assert_eq!(scrape.sum("stickyd_tunnels_closed_total", &[]) as u32, 3);
}

/// The regression: each process was asked for itself, and one had closed its own before the other refused.
#[test]
fn a_lot_is_a_lot_of_all_processes_together() {
    let instance = Instance::start();
    let of_upstream = "sticky.by = []\nhealth.check = \"off\"\ndown.rate = \"1000/s\"";
    let mut site = Site::start(&toml(&[named(&instance, "blue")], of_upstream, ""));
    let mut open: Vec<_> = (0..60).map(|_| site.tunnel(&instance)).collect();
    site.upgrade();
    open.extend((0..60).map(|_| site.tunnel(&instance)));
    let text = site.says(1, &["close", "--instance", "app/blue"]);
    assert!(text.contains("that is 120 tunnels and 0 polls and streams"), "{text}");
    open.iter_mut().step_by(20).for_each(talks);
    let text = site.says(0, &["close", "--instance", "app/blue", "--yes"]);
    assert!(text.starts_with("120 tunnels closed (1012)"), "{text}");
    for (client, far) in &mut open {
        ws::closed(client, far, 1012);
    }
}

#[test]
fn nobody_is_refused_while_processes_take_over() {
    let instance = Answering::start("one");
    let mut site =
        Site::start(&toml(&[named(&instance, "one")], "sticky.by = []\nhealth.check = \"off\"", ""));
    let address = site.process.address();
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Socket::connect(address);
                    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
                    assert_eq!(client.answer().status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
            // One that keeps its connection for as long as it may.
            scope.spawn(|| {
                let mut client = Socket::connect(address);
                while !over.load(Ordering::Relaxed) {
                    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
                    let answer = client.answer();
                    assert_eq!(answer.status(), 200);
                    if answer.field("connection").as_deref() == Some("close") {
                        client = Socket::connect(address);
                    }
                }
            });
        }
        for _ in 0..5 {
            let before = served.load(Ordering::Relaxed);
            site.upgrade();
            eventually("a request", || (served.load(Ordering::Relaxed) > before + 20).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
    });
    eventually("the others end", || site.status()["lingering"].as_array().unwrap().is_empty().then_some(()));
}

#[test]
fn sessions_are_known_to_the_new_process() {
    let (blue, green) = (EngineIo::start("blue"), EngineIo::start("green"));
    let of_upstream = "sticky.by = [\"sid\"]\nhealth.check = \"off\"";
    let mut site = Site::start(&toml(&[named(&blue, "blue"), named(&green, "green")], of_upstream, ""));
    let begin = |client: &mut Socket| {
        client.send(engine_io::start(""));
        let answer = client.answer();
        (sid_of(&answer), instance_of(&answer), answer.field("connection"))
    };
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let (sid, instance, _) = begin(&mut site.process.connect());
        sessions.push((sid, instance));
    }
    let mut kept: Vec<Socket> = (0..6).map(|_| site.process.connect()).collect();
    for client in &mut kept {
        client.send("GET /x HTTP/1.1\r\nHost: app\r\n\r\n");
        client.answer();
    }
    assert_eq!(site.upgrade()["sids"], 10);
    // One that begins at the new process, and then comes by a connection that it has kept.
    for mut client in kept.split_off(4) {
        let (sid, instance, _) = begin(&mut site.process.connect());
        client.send(engine_io::poll(&sid, ""));
        let answer = client.answer();
        assert_eq!((answer.status(), instance_of(&answer)), (200, instance), "{sid}");
        client.ends();
    }
    // What begins at the one that lingers.
    for mut client in kept {
        let (sid, instance, connection) = begin(&mut client);
        assert_eq!(connection.as_deref(), Some("close"), "its client shall come to the other process");
        sessions.push((sid, instance));
    }
    for (sid, instance) in &sessions {
        let mut client = site.process.connect();
        client.send(engine_io::poll(sid, ""));
        let answer = client.answer();
        assert_eq!((answer.status(), &instance_of(&answer)), (200, instance), "{sid}");
        let mut client = site.process.connect();
        client.send(engine_io::upgrade(sid, ""));
        let head = client.head();
        assert!(
            head.starts_with("HTTP/1.1 101 ") && head.contains(&format!("X-Instance: {instance}")),
            "{head}"
        );
    }
    // And to the one after it.
    let upgraded = site.upgrade();
    assert_eq!(upgraded["sids"], 16);
    let mut client = site.process.connect();
    client.send(engine_io::poll(&sessions[12].0, ""));
    assert_eq!(client.answer().status(), 200);
    let mut client = site.process.connect();
    client.send(engine_io::poll("nobody-knows-it", ""));
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn states_drains_and_health_go_on() {
    let (blue, green, red) = (Instance::start(), Instance::start(), Instance::start());
    let instances = [named(&blue, "blue"), named(&green, "green"), named(&red, "red")];
    let of_upstream = "sticky.by = []\nhealth.check = \"tcp\"\nhealth.interval = \"1h\"\ndrain.grace = \"1h\"\ndrain.deadline = \"2h\"";
    let mut site = Site::start(&toml(&instances, of_upstream, ""));
    let healthy =
        |site: &Site| ["blue", "green", "red"].iter().all(|name| site.of_instance(name)["health"] == "up");
    eventually("all are up", || healthy(&site).then_some(()));
    let mut open: Vec<_> = [&blue, &green, &red]
        .iter()
        .map(|instance| {
            let mut client = site.process.connect();
            client.send(ws::handshake("/ws", ""));
            let mut far = eventually("a handshake", || {
                let mut far = instance.try_accept()?;
                // Its check came before.
                far.try_request().is_ok().then_some(far)
            });
            far.send(ws::switch(""));
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            (client, far)
        })
        .collect();
    site.says(0, &["cordon", "blue"]);
    site.says(0, &["drain", "green"]);
    let before = site.of_instance("green")["drain"]["closes_in"].as_u64().unwrap();
    site.upgrade();
    assert!(healthy(&site), "at once: {}", site.status());
    assert!(site.of_instance("red")["evidence"].as_str().unwrap().contains("passed"));
    assert!(!site.says(0, &["status"]).contains("PANIC"));
    let (of_blue, of_green) = (site.of_instance("blue"), site.of_instance("green"));
    assert_eq!((&of_blue["state"], &of_green["state"]), (&"cordon".into(), &"drain".into()));
    let left = of_green["drain"]["closes_in"].as_u64().unwrap();
    assert!(left <= before && left > before - 60_000, "it goes on, {left} of {before}");
    assert_eq!((&of_green["tunnels"], &of_green["empty"]), (&1.into(), &false.into()));
    open.iter_mut().for_each(talks);
    // What is wanted by command is wanted of all processes.
    let text = site.says(1, &["maintain", "red", "--force", "--wait", "--timeout", "300ms"]);
    assert!(text.contains("red  maintain  1 tunnel"), "{text}");
    site.says(0, &["resume", "green"]);
    assert_eq!(site.of_instance("green")["drain"], Value::Null);
}

#[test]
fn whatever_goes_wrong_the_old_process_serves_on() {
    let instance = Instance::start();
    let good = toml(&[named(&instance, "blue")], "sticky.by = []\nhealth.check = \"off\"", "");
    let mut site = Site::start(&good);
    let mut tunnel = site.tunnel(&instance);
    let program = |name: &str, text: &str| {
        let path = site.home.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let fails = program("fails", "#!/bin/sh\necho 'it fails' >&2\nexit 3\n");
    let hangs = program("hangs", "#!/bin/sh\nexec sleep 60\n");
    let babbles = program("babbles", "#!/bin/sh\nexec 1>&0\necho nonsense\nexec sleep 60\n");
    let text_file = site.home.write("text", "hello");
    let missing = site.home.path("missing");
    let pid = site.serves();
    let mut check = |site: &mut Site, code: i32, arguments: &[&str], says: &[&str]| {
        let begin = Instant::now();
        let text = site.says(code, &[&["upgrade", "--timeout", "1s"], arguments].concat());
        assert!(says.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{arguments:?}");
        talks(&mut tunnel);
        let mut other = site.tunnel(&instance);
        talks(&mut other);
        leaves(other);
        assert_eq!(site.serves(), pid);
        assert_eq!(site.status()["lingering"].as_array().unwrap().len(), 0);
    };
    check(&mut site, 1, &["--binary", &fails], &["exit status: 3", "it fails"]);
    check(&mut site, 1, &["--binary", &hangs], &["not ready in time"]);
    check(&mut site, 1, &["--binary", &babbles], &["nonsense", "not understood"]);
    check(&mut site, 1, &["--binary", &text_file], &["cannot start"]);
    check(&mut site, 1, &["--binary", &missing], &["No such file"]);
    site.home.write("config.toml", &good.replace("sticky.by", "stick.by"));
    check(&mut site, 78, &[], &["did you mean `sticky`?", "config.toml:"]);
    // Only when it is to take commands itself this one finds out that it cannot: the old one has stopped accepting by then.
    let directory = site.home.path("directory");
    fs::create_dir(&directory).unwrap();
    site.home.write("config.toml", &format!("{good}[admin]\nsocket = \"{directory}\"\n"));
    let usual = site.home.path("admin.sock");
    check(&mut site, 1, &["--socket", &usual], &["directory"]);
    assert!(!fs::exists(site.home.path(&format!("admin.{pid}.sock"))).unwrap(), "it is where it was");
    site.home.write("config.toml", &good);
    site.upgrade();
    talks(&mut tunnel);
    assert_ne!(site.serves(), pid);
}

#[test]
fn several_linger_obey_and_end() {
    let instance = Instance::start();
    let rules = "sticky.by = []\nhealth.check = \"off\"\ndrain.spread = \"0s\"";
    let mut site = Site::start(&toml(&[named(&instance, "blue")], rules, "upgrade.linger = \"1h\""));
    let mut first = site.tunnel(&instance);
    site.upgrade();
    let mut second = site.tunnel(&instance);
    site.upgrade();
    let mut third = site.tunnel(&instance);
    assert_eq!(site.status()["lingering"].as_array().unwrap().len(), 2);
    [&mut first, &mut second, &mut third].into_iter().for_each(talks);
    let tunnels =
        |site: &Site| -> Value { serde_json::from_str(&site.says(0, &["tunnels", "--json"])).unwrap() };
    let list = tunnels(&site);
    assert_eq!((&list["open"], list["tunnels"].as_array().unwrap().len()), (&3.into(), 3), "{list}");
    assert!(list["tunnels"][0]["age"].as_u64() >= list["tunnels"][2]["age"].as_u64(), "the oldest first");
    // One by its name, which is of a process that lingers.
    let mut fourth = site.tunnel(&instance);
    site.upgrade();
    let list = tunnels(&site);
    let youngest = list["tunnels"][3]["id"].as_str().unwrap();
    assert!(site.says(0, &["close", youngest]).starts_with("1 tunnel closed"));
    ws::closed(&mut fourth.0, &mut fourth.1, 1012);
    // One that lingers hands over no more.
    let own = site.home.path(&format!("admin.{}.sock", site.pids[0]));
    assert!(site.says(1, &["upgrade", "--socket", &own]).contains("this process lingers"));
    // A drain closes what all of them have.
    std::thread::scope(|scope| {
        let drain =
            scope.spawn(|| site.home.run(&["drain", "blue", "--force", "--wait", "--timeout", "10s"]));
        for (mut client, mut far) in [first, second, third] {
            ws::closed(&mut client, &mut far, 1012);
        }
        let (code, text) = drain.join().unwrap();
        assert_eq!(code, 0, "{text}");
    });
    eventually("they end", || site.status()["lingering"].as_array().unwrap().is_empty().then_some(()));
}

#[test]
fn what_is_left_is_closed_over_the_last_part_of_linger() {
    let instance = Instance::start();
    let rules = "sticky.by = []\nhealth.check = \"off\"";
    let more = "upgrade.linger = \"1500ms\"\nupgrade.spread = \"1s\"";
    let mut site = Site::start(&toml(&[named(&instance, "blue")], rules, more));
    let mut tunnels: Vec<_> = (0..8).map(|_| site.tunnel(&instance)).collect();
    site.upgrade();
    tunnels.iter_mut().for_each(talks);
    for (client, far) in &mut tunnels {
        ws::closed(client, far, 1012);
    }
    assert!(site.process.end().success());
    let new = site.tunnel(&instance);
    leaves(new);
}
