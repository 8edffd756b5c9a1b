//! A running process, asked and told by its commands: all through the binary and its socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

use crate::support::process::{Home, Process};
use crate::support::ws::{self, Frame};
use crate::support::{Answering, Instance, Socket, eventually};

/// Instances `blue` and `green` at these addresses, in turn; `of_blue`: more of its entry.
fn toml(blue: &Instance, green: &Instance, of_blue: &str, more: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n[upstream.app]\nbalance = \"round_robin\"\nsticky.by = []\nhealth.check = \"off\"\n\
         drain.spread = \"500ms\"\ninstances = [\n  {{ address = \"{blue}\", name = \"blue\"{of_blue} }},\n  \
         {{ address = \"{green}\", name = \"green\" }},\n]\n{more}\n[metrics]\naddress = \"127.0.0.1:0\"\n\
         [reload]\nwatch = false\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
    )
}

/// A proxy before two instances.
struct Site {
    home: Home,
    file: String,
    blue: Instance,
    green: Instance,
    process: Process,
}

impl Site {
    fn start() -> Self {
        let (home, blue, green) = (Home::new(), Instance::start(), Instance::start());
        let file = home.write("config.toml", &toml(&blue, &green, "", ""));
        let mut process = home.start(&["run", "--config", &file]);
        process.address();
        Site { home, file, blue, green, process }
    }

    fn write(&self, of_blue: &str, more: &str) {
        self.home.write("config.toml", &toml(&self.blue, &self.green, of_blue, more));
    }

    /// Stops it, and starts it again.
    fn restart(&mut self) {
        self.process.terminate();
        assert!(self.process.end().success());
        self.process = self.home.start(&["run", "--config", &self.file]);
        self.process.address();
    }

    /// What a command prints; it has to end with this code.
    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        self.home.says(code, arguments)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.says(0, &["status", "--json"])).unwrap()
    }

    /// What the status says of an instance.
    fn instance(&self, name: &str) -> Value {
        let status = self.status();
        let instances = status["upstreams"][0]["instances"].as_array().unwrap();
        instances.iter().find(|instance| instance["name"] == name).cloned().unwrap()
    }

    fn state(&self, name: &str) -> String {
        self.instance(name)["state"].as_str().unwrap().to_owned()
    }

    /// So many tunnels, half of them at each: client and far end, `blue`'s first.
    fn tunnels(&mut self, count: usize) -> Vec<(Socket, Socket)> {
        let mut open: Vec<_> = (0..count)
            .map(|_| {
                let mut client = self.process.connect();
                client.send(ws::handshake("/ws", ""));
                let (mut far, at_blue) = eventually("a connection", || {
                    let at = |instance: &Instance, is_blue| Some((instance.try_accept()?, is_blue));
                    at(&self.blue, true).or_else(|| at(&self.green, false))
                });
                far.request();
                far.send(ws::switch(""));
                assert!(client.head().starts_with("HTTP/1.1 101 "));
                (client, far, at_blue)
            })
            .collect();
        open.sort_by_key(|(_, _, at_blue)| !at_blue);
        open.into_iter().map(|(client, far, _)| (client, far)).collect()
    }
}

fn closed((client, far): &mut (Socket, Socket)) {
    ws::closed(client, far, 1012);
}

fn talks((client, far): &mut (Socket, Socket)) {
    client.send(Frame::masked(ws::TEXT, "up").bytes());
    assert_eq!(Frame::read(far).payload, b"up");
}

#[test]
fn a_drain_is_waited_for_and_taken_back() {
    let mut site = Site::start();
    let mut tunnels = site.tunnels(6);
    let drain = std::thread::scope(|scope| {
        let home = &site.home;
        let drain = scope.spawn(|| home.run(&["drain", "app/blue", "--wait", "--timeout", "20s"]));
        tunnels[..3].iter_mut().for_each(closed);
        drain.join().unwrap()
    });
    let (code, drain) = drain;
    assert_eq!(code, 0, "{drain}");
    assert!(drain.contains("app/blue  drain  empty"), "{drain}");
    assert!(drain.contains("of 3 at its begin"), "progress: {drain}");
    tunnels[3..].iter_mut().for_each(talks);
    let blue = site.instance("blue");
    assert_eq!((&blue["state"], &blue["configured"]), (&"drain".into(), &"ready".into()));
    assert_eq!((&blue["empty"], &blue["drain"]["began_with"]), (&true.into(), &3.into()));
    assert!(site.says(0, &["status"]).contains("by command; the file says ready"));
    assert!(site.says(0, &["resume", "blue"]).starts_with("app/blue  ready"));
    assert_eq!(site.state("blue"), "ready");
    assert_eq!(site.tunnels(2).len(), 2);
}

#[test]
fn what_is_not_done_in_time_is_said_and_goes_on() {
    let mut site = Site::start();
    site.write("", "drain.grace = \"1h\"\ndrain.deadline = \"2h\"");
    site.says(0, &["reload"]);
    let mut tunnels = site.tunnels(2);
    let text = site.says(1, &["maintain", "blue", "--wait", "--timeout", "300ms"]);
    assert!(text.contains("not done in time, it goes on: app/blue  maintain  1 tunnel"), "{text}");
    assert_eq!(site.state("blue"), "maintain");
    tunnels.iter_mut().for_each(talks);
}

#[test]
fn the_last_instance_needs_force() {
    let site = Site::start();
    let text = site.says(1, &["drain", "app/blue", "app/green"]);
    assert!(text.contains("no instance left for new clients"), "{text}");
    assert!(text.contains("`stickyd drain --force app/blue app/green`"), "{text}");
    site.says(1, &["drain", "app/*"]);
    assert!(
        site.says(1, &["drain", "other/*"]).contains("no instance other/*; there are: app/blue, app/green")
    );
    assert_eq!((site.state("blue"), site.state("green")), ("ready".into(), "ready".into()), "all or none");
    assert_eq!(site.says(0, &["cordon", "blue"]), "app/blue  cordon  nothing is open\n");
    site.says(1, &["cordon", "green"]);
    site.says(0, &["cordon", "green", "--force"]);
    assert_eq!(site.state("green"), "cordon");
    // There is none that could be left without.
    site.says(0, &["drain", "blue"]);
    let text = site.says(1, &["drain", "app/blue", "app/red"]);
    assert!(text.contains("no instance app/red; there are: app/blue, app/green"), "{text}");
}

#[test]
fn a_restart_wants_the_same_and_the_file_wins() {
    let mut site = Site::start();
    site.says(0, &["maintain", "blue"]);
    site.restart();
    assert_eq!(site.state("blue"), "maintain");
    site.says(0, &["reload"]);
    assert_eq!(site.state("blue"), "maintain", "the file says what it said");
    site.write(", state = \"cordon\"", "");
    site.says(0, &["reload"]);
    assert_eq!(site.state("blue"), "cordon", "its word has changed");
    let text = site.says(1, &["resume", "blue"]);
    assert!(text.contains("config.toml:8 says state = \"cordon\" of app/blue"), "{text}");
    site.write("", "");
    site.restart();
    assert_eq!(site.state("blue"), "ready");
}

#[test]
fn a_file_that_is_wrong_is_refused_each_time() {
    let site = Site::start();
    site.write("", "drain.spraed = \"1s\"");
    for refused in 1..=3 {
        let text = site.says(78, &["reload"]);
        assert!(text.contains("did you mean `spread`?"), "{text}");
        let config = &site.status()["config"];
        assert_eq!(config["refused"], refused);
        assert!(config["refusal"].as_str().unwrap().contains("spraed"));
    }
    // Moments are whole seconds of the day.
    let text = site.says(0, &["status"]);
    assert!(text.contains("         REFUSED "), "{text}");
    assert!(text.contains("s ago: error: unknown key `upstream.app.drain.spraed`, line 11\n"), "{text}");
    site.says(78, &["reload", "--dry-run"]);
    assert_eq!(site.status()["config"]["refused"], 3, "nobody asked for it to be loaded");
    site.write("", "");
    assert_eq!(site.says(0, &["reload"]), "loaded: nothing has changed\n");
    assert!(site.status()["config"]["refusal"].is_null());
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let mut site = Site::start();
    let mut tunnels = site.tunnels(4);
    site.write(", state = \"drain\"", "");
    for arguments in [&["reload", "--dry-run"][..], &["diff"], &["diff", &site.file.clone()]] {
        let text = site.says(0, arguments);
        assert!(text.contains("instance blue") && text.contains("state \"ready\" -> \"drain\""), "{text}");
        assert!(text.contains("=> upstream app: blue is drained: 2 tunnels close over 500ms"), "{text}");
    }
    assert_eq!(site.state("blue"), "ready");
    tunnels.iter_mut().for_each(talks);
    let json: Value = serde_json::from_str(&site.says(0, &["reload", "--json"])).unwrap();
    assert_eq!(
        (json["changes"].as_array().unwrap().len(), json["effects"].as_array().unwrap().len()),
        (1, 1)
    );
    tunnels[..2].iter_mut().for_each(closed);
    assert_eq!(site.state("blue"), "drain");
    let uid = rustix::process::geteuid().as_raw();
    site.process.says(&["\"command\"", "Reload { dry_run: false, yes: false }", &format!("\"uid\":{uid}")]);
}

#[test]
fn what_removes_a_lot_needs_a_yes() {
    let site = Site::start();
    let one = toml(&site.blue, &site.green, "", "");
    let one = one.replacen(&format!("  {{ address = \"{}\", name = \"blue\" }},\n", site.blue), "", 1);
    let none = one.replace("green", "red").replace(&site.green.to_string(), "127.0.0.1:1");
    site.home.write("config.toml", &none);
    let text = site.says(78, &["reload"]);
    assert!(text.contains("it removes 2 of 2 instances of upstream app; `stickyd reload --yes`"), "{text}");
    let text = site.says(78, &["reload", "--dry-run"]);
    let (plan, needs) = (text.find("instance red (127.0.0.1:1) added"), text.find("`stickyd reload --yes`"));
    assert!(plan.is_some() && plan < needs, "{text}");
    assert_eq!(site.state("blue"), "ready");
    assert!(site.says(0, &["diff"]).contains("instance red (127.0.0.1:1) added"), "a diff does nothing");
    site.says(0, &["reload", "--yes"]);
    assert_eq!(site.status()["upstreams"][0]["instances"][0]["name"], "red");
}

#[test]
fn a_file_that_is_no_text_and_one_that_is_not_there() {
    let site = Site::start();
    let bad = site.home.path("bad.toml");
    fs::write(&bad, b"listen = \"\xff\"").unwrap();
    assert!(site.says(78, &["diff", &bad]).contains("not UTF-8"));
    assert!(site.says(78, &["diff", "/none/such.toml"]).contains("cannot read the file"));
}

#[test]
fn who_is_not_there_is_not_reached() {
    let home = Home::new();
    let (code, text) = home.run(&["status"]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("admin.sock") && text.contains("does it run"), "{text}");
    // A broken file that names the socket is no obstacle.
    let socket = home.path("other.sock");
    let file = home.write("config.toml", &format!("listen = \n[admin]\nsocket = \"{socket}\"\n"));
    let (code, text) = home.run(&["reload", "--config", &file]);
    assert!(code == 69 && text.contains("other.sock"), "{text}");
}

#[test]
fn a_process_without_a_file_has_nothing_to_load() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let arguments = ["run", "--listen", "127.0.0.1:0", "--instances", &instance.to_string()];
    let mut process = home.start(&arguments);
    process.address();
    let (code, text) = home.run(&["reload"]);
    assert!(code == 1 && text.contains("there is no file to load"), "{code} {text}");
    let (code, text) = home.run(&["status"]);
    assert!(code == 0 && text.contains("the command line"), "{text}");
}

#[test]
fn the_socket_is_who_may_command() {
    let mut site = Site::start();
    let path = site.home.path("admin.sock");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // Another configuration on the same machine goes on without one, and does not take it away.
    let other = site.home.write("other.toml", &toml(&site.blue, &site.green, "", ""));
    let mut second = site.home.start(&["run", "--config", &other]);
    second.says(&["this process takes no commands"]);
    second.address();
    assert_eq!(site.status()["pid"], site.process.pid());
    second.terminate();
    assert!(second.end().success());
    assert_eq!(site.status()["pid"], site.process.pid());
    // One that names it must have it.
    let named = toml(&site.blue, &site.green, "", &format!("[admin]\nsocket = \"{path}\""));
    let named = site.home.write("named.toml", &named);
    let (code, text) = site.home.run(&["run", "--config", &named]);
    assert!(code == 1 && text.contains("another process serves there"), "{code} {text}");
    let group = toml(&site.blue, &site.green, "", "[admin]\ngroup = \"no-such-group\"");
    let group =
        site.home.write("group.toml", &group.replace("[admin]", "[admin]\nsocket = \"/tmp/never.sock\""));
    let (code, text) = site.home.run(&["run", "--config", &group]);
    assert!(code == 78 && text.contains("groupadd"), "{code} {text}");
    site.process.terminate();
    assert!(site.process.end().success());
    assert!(!Path::new(&path).exists());
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let site = Site::start();
    let ask = |request: &str, body: &str| {
        let mut client = Socket::connect_unix(Path::new(&site.home.path("admin.sock")));
        client.send(format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let answer = client.answer();
        let problem: Value = serde_json::from_str(answer.text()).unwrap();
        (answer.status(), problem["error"].as_str().unwrap_or_default().to_owned())
    };
    let check = |request: &str, body: &str, status: u16, part: &str| {
        let (answered, error) = ask(request, body);
        assert!(answered == status && error.contains(part), "{request} {body}: {answered} {error}");
    };
    check("GET /", "", 404, "does not know /");
    check("GET /v2/status", "", 404, "does not know");
    check("GET /v1/reload", "", 405, "POST commands");
    check("POST /v1/status", "", 405, "");
    check("POST /v1/reload", "", 400, "not understood");
    check("POST /v1/reload", "{\"dry_run\": 3}", 400, "expected a boolean");
    check("POST /v1/reload", "{\"dryrun\": true}", 400, "unknown field");
    check("POST /v1/state", "{\"instances\": [\"blue\"], \"state\": \"gone\"}", 400, "unknown variant");
    check("POST /v1/state", "{\"instances\": [\"\"], \"state\": \"drain\"}", 404, "there is no instance ");
    check("POST /v1/diff", &"[".repeat(100_000), 400, "");
    assert_eq!((site.state("blue"), site.state("green")), ("ready".into(), "ready".into()));
    let config = &site.status()["config"];
    assert_eq!((&config["reloads"], &config["refused"]), (&0.into(), &0.into()));
}

impl Site {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.process.pid().cast_signed()).unwrap(), signal).unwrap();
    }
}

#[test]
fn only_the_process_of_the_named_file_obeys() {
    let site = Site::start();
    let second = site.home.write("second.toml", &toml(&site.blue, &site.green, "", ""));
    let text = site.says(69, &["drain", "blue", "-c", &second]);
    assert!(text.contains("runs with") && text.contains("config.toml, not with"), "{text}");
    assert_eq!(site.state("blue"), "ready");
    site.says(0, &["cordon", "blue", "-c", &site.file]);
    let link = site.home.path("link.toml");
    std::os::unix::fs::symlink(&site.file, &link).unwrap();
    site.says(0, &["resume", "blue", "-c", &link]);
    let off = toml(&site.blue, &site.green, "", "[admin]\nsocket = \"off\"");
    let off = site.home.write("off.toml", &off);
    assert!(site.says(69, &["status", "-c", &off]).contains("takes no commands"));
    assert!(site.says(78, &["status", "-c", "/none/such.toml"]).contains("/none/such.toml: No such file"));
    // Where nothing runs, the file may be why: it is said, and how to see what is wrong with it.
    let wrong = site.home.write("wrong.toml", "worker = 2\n[admin]\nsocket = \"/none/such.sock\"");
    let text = site.says(69, &["status", "-c", &wrong]);
    assert!(text.contains(&format!("{wrong} has mistakes: stickyd validate {wrong}")), "{text}");
    site.says(0, &["validate", "-c", &site.file]);
}

#[test]
fn what_a_stopped_process_has_not_heard_in_time_is_not_obeyed() {
    let site = Site::start();
    site.signal(Signal::STOP);
    let begin = Instant::now();
    let text = site.says(69, &["drain", "blue", "--wait", "--timeout", "1s"]);
    assert!(text.contains("it may still be obeyed"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    site.signal(Signal::CONT);
    // Commands are obeyed in turn: after this one the other has had its own.
    site.says(0, &["cordon", "green"]);
    assert_eq!(site.state("blue"), "ready");
}

#[test]
fn who_waits_for_what_is_not_checked_or_is_started_anew_waits_well() {
    let mut site = Site::start();
    site.write("", "drain.grace = \"1h\"\ndrain.deadline = \"2h\"");
    site.says(0, &["reload"]);
    site.says(0, &["maintain", "blue"]);
    assert_eq!(site.instance("blue")["checked"], false);
    site.says(0, &["resume", "blue", "--wait", "--timeout", "10s"]);
    let tunnels = site.tunnels(2);
    let (home, file) = (site.home.clone(), site.file.clone());
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| home.run(&["drain", "blue", "--wait", "--timeout", "20s"]));
        eventually("it is wanted", || (site.state("blue") == "drain").then_some(()));
        // The tunnels end with it; the next one is empty, and wants the same.
        site.restart();
        let (code, text) = drain.join().unwrap();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("app/blue  drain  empty"), "{file}: {text}");
    });
    drop(tunnels);
}

#[test]
fn a_pipe_is_no_configuration_of_a_process() {
    let site = Site::start();
    fs::remove_file(&site.file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&site.file).status().unwrap();
    assert!(made.success());
    assert!(site.says(78, &["reload"]).contains("this is no regular file"));
    assert!(site.says(78, &["run", "--config", &site.file]).contains("this is no regular file"));
    assert!(site.says(0, &["status"]).contains("REFUSED"));
}

#[test]
fn bodies_are_bounded_and_what_never_comes_is_not_waited_for() {
    let site = Site::start();
    let path = site.home.path("admin.sock");
    let connect = || Socket::connect_unix(Path::new(&path));
    let head = |size: usize| format!("POST /v1/state HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
    let mut large = connect();
    large.send(head(70_000) + &"[".repeat(70_000));
    assert!(large.head().starts_with("HTTP/1.1 400 "));
    let _silent: Vec<Socket> = (0..16)
        .map(|_| {
            let mut silent = connect();
            silent.send(head(2));
            silent
        })
        .collect();
    site.status();
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let site = Site::start();
    let into = |arguments: &[&str], file: &str| site.home.run_into(arguments, file).0;
    for arguments in [&["status"][..], &["status", "--json"], &["diff"], &["validate", &site.file]] {
        assert_eq!(into(arguments, "/dev/full"), 1, "{arguments:?}");
        assert_eq!(into(arguments, "/dev/null"), 0, "{arguments:?}");
    }
}
