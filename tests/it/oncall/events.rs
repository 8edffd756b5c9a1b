//! `stickyd events`: what happened is kept, told once, and in order.

use std::process::{Command, Stdio};

use super::{GET, Site, toml};
use crate::support::process::BINARY;
use crate::support::{Answering, Instance, Socket, eventually, ws};

fn upstream(instances: &[(&str, &dyn std::fmt::Display)], more: &str) -> String {
    let instances: Vec<String> =
        instances.iter().map(|(name, at)| format!("{{ address = \"{at}\", name = \"{name}\" }}")).collect();
    format!("instances = [{}]\n{more}", instances.join(", "))
}

#[test]
fn what_happens_is_told_with_who_did_it() {
    let (blue, green) = (Instance::start(), Instance::start());
    let of = |more: &str| {
        let more = format!(
            "sticky.by = []\nbalance = \"round_robin\"\nhealth.check = \"off\"\ndrain.spread = \"100ms\"\n{more}"
        );
        upstream(&[("blue", &blue), ("green", &green)], &more)
    };
    let mut site = Site::start("", &of(""), "");
    assert_eq!(site.events("start", 1)[0]["details"]["pid"], site.process.pid());

    site.says(0, &["cordon", "green"]);
    let mut tunnels: Vec<_> = (0..3).map(|_| site.tunnel(&blue)).collect();
    site.says(0, &["drain", "blue", "--force"]);
    for (client, far) in &mut tunnels {
        ws::closed(client, far, 1012);
    }
    let drained = &site.events("drained", 1)[0];
    assert_eq!((&drained["upstream"], &drained["instance"]), (&"app".into(), &"blue".into()));
    let counts = ["began_with", "closed", "cut"].map(|name| drained["details"][name].clone());
    assert_eq!(counts, [3, 3, 0].map(serde_json::Value::from));
    site.says(0, &["resume", "blue"]);
    let states = site.events("state", 3);
    let uid = rustix::process::geteuid().as_raw();
    for (event, expected) in states.iter().zip(["cordon", "drain", "ready"]) {
        assert_eq!(event["details"]["state"], expected, "{event}");
        let by = event["details"]["by"].as_str().unwrap();
        assert!(by.starts_with(&format!("uid {uid}, pid ")), "{by}");
    }
    assert_eq!(states[2]["details"]["before"], "drain");

    site.home.write("config.toml", &toml("", &of("drain.spraed = \"1s\""), ""));
    site.says(78, &["reload"]);
    assert!(site.events("refusal", 1)[0]["text"].as_str().unwrap().contains("spraed"));
    site.home.write("config.toml", &toml("", &of("drain.grace = \"1s\""), ""));
    site.says(0, &["reload"]);
    let reload = &site.events("reload", 1)[0];
    assert!(reload["text"].as_str().unwrap().contains("drain.grace"), "{reload}");

    let text = site.says(0, &["events"]);
    assert!(text.contains("Z  app/blue: wanted is ready (by uid"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.contains("Z  ")), "{text}");
    let order = ["started", "is cordon", "is drain", "is empty", "is ready", "is refused", "is loaded"];
    let places: Vec<_> = order.iter().map(|part| text.find(part).expect(part)).collect();
    assert!(places.is_sorted(), "{places:?} {text}");
    assert_eq!(site.says(0, &["events", "--upstream", "other"]), "");
    assert!(!site.says(0, &["events", "--upstream", "app"]).contains("started"));
    assert!(site.says(0, &["events", "--since", "1h"]).contains("started"));
}

#[test]
fn what_is_cut_at_the_deadline_of_a_drain_is_counted() {
    let (blue, green) = (Instance::start(), Instance::start());
    let more = "sticky.by = []\nhealth.check = \"off\"\ndrain.spread = \"0s\"\ndrain.deadline = \"1s\"";
    let mut site = Site::start("", &upstream(&[("blue", &blue), ("green", &green)], more), "");
    site.says(0, &["cordon", "green"]);
    let mut client = site.process.connect();
    client.send(GET);
    let mut far = blue.accept();
    far.request();
    site.says(0, &["drain", "blue", "--force"]);
    client.answer();
    let drained = &site.events("drained", 1)[0];
    assert_eq!(
        (&drained["details"]["closed"], &drained["details"]["cut"]),
        (&0.into(), &1.into()),
        "{drained}"
    );
}

#[test]
fn health_panic_and_re_binds() {
    let (blue, mut green) = (Answering::start("blue"), Answering::start("green"));
    let more = "sticky.by = [\"cookie\"]\nbalance = \"round_robin\"\nhealth.check = \"tcp\"\nhealth.interval = \"100ms\"\n\
                health.fast_interval = \"100ms\"\nhealth.timeout = \"100ms\"";
    let mut site = Site::start("", &upstream(&[("blue", &blue), ("green", &green)], more), "");
    site.events("up", 2);
    let mut bound = Vec::new();
    while bound.len() < 4 {
        let mut client = site.process.connect();
        client.send(GET);
        let answer = client.answer();
        if answer.text() == "green" {
            bound.push(answer.cookie("stickyd-app").unwrap().0);
        }
    }
    green.stop();
    let down = &site.events("down", 1)[0];
    assert_eq!((&down["instance"], &down["level"]), (&"green".into(), &"warn".into()));
    assert!(down["details"]["evidence"].as_str().unwrap().contains("refused"), "{down}");
    for cookie in &bound {
        // A session start: nothing else is placed anew.
        let mut client = site.process.connect();
        client.send(format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\nCookie: {cookie}\r\n\r\n"
        ));
        assert_eq!(client.answer().text(), "blue");
    }
    let rebinds = site.events("rebind", 1);
    let told = ["instance", "upstream"].map(|name| rebinds[0][name].clone());
    assert_eq!(told, ["green", "app"].map(serde_json::Value::from));
    assert_eq!(
        (&rebinds[0]["details"]["reason"], &rebinds[0]["details"]["clients"]),
        (&"down".into(), &4.into())
    );
}

#[test]
fn a_limit_is_told_once() {
    let instance = Answering::start("blue");
    let site = Site::start(
        "",
        &upstream(&[("blue", &instance)], "health.check = \"off\""),
        "[limits]\nmax_connections = 2\n[timeouts]\nfirst_byte = \"60s\"\n",
    );
    let mut site = site;
    let address = site.process.address();
    let _open: Vec<_> = (0..2).map(|_| Socket::connect(address)).collect();
    // Another worker may be faster than the one that has the first.
    eventually("both are open", || {
        let open = site.process.scrape().sum("stickyd_connections_open", &[]);
        (open > 1.5).then_some(())
    });
    for _ in 0..5 {
        assert_eq!(Socket::connect(address).answer().status(), 503);
    }
    let limit = &site.events("limit", 1)[0];
    assert_eq!((&limit["details"]["limit"], &limit["level"]), (&2.into(), &"warn".into()));
}

#[test]
fn who_follows_hears_of_it() {
    let instance = Answering::start("blue");
    let site = Site::start("", &upstream(&[("blue", &instance)], "health.check = \"off\""), "");
    let mut follows = Command::new(BINARY)
        .args(["events", "--follow", "--socket", &site.home.path("admin.sock")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = follows.stdout.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut seen = Vec::new();
    let mut hears = |part: &str| {
        eventually(part, || {
            seen.extend(lines.try_iter());
            seen.iter().any(|line: &String| line.contains(part)).then_some(())
        });
    };
    hears("started");
    site.says(0, &["cordon", "blue", "--force"]);
    hears("wanted is cordon");
    site.says(0, &["resume", "blue"]);
    hears("wanted is ready");
    follows.kill().unwrap();
    follows.wait().unwrap();
    seen.extend(lines.iter());
    assert_eq!(seen.iter().filter(|line| line.contains("wanted is")).count(), 2, "each once: {seen:#?}");
}

#[test]
fn what_is_not_understood_is_said() {
    let instance = Answering::start("blue");
    let site = Site::start("", &upstream(&[("blue", &instance)], "health.check = \"off\""), "");
    let ask = |request: &str| {
        let mut client = Socket::connect_unix(std::path::Path::new(&site.home.path("admin.sock")));
        client.send(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.answer()
    };
    let check = |request: &str, status: u16| assert_eq!(ask(request).status(), status, "{request}");
    check("GET /v1/events", 200);
    check("GET /v1/events?after=1&since=2", 200);
    check("GET /v1/events?after=x", 400);
    check("GET /v1/events?before=1", 400);
    check("POST /v1/events", 405);
    check("GET /v1/explain", 405);
    check("POST /v1/ready", 405);
}
