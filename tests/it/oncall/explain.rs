//! `stickyd explain` by the running process: it says what the data path does then, and changes nothing.

use serde_json::Value;

use super::Site;
use crate::support::engine_io::{self, EngineIo, instance_of, sid_of};
use crate::support::process::{Home, Process};
use crate::support::{Message, eventually};

const NAMES: [&str; 2] = ["blue", "green"];

/// Two instances, and the site before them.
fn start(more: &str) -> ([EngineIo; 2], Site) {
    let instances = NAMES.map(EngineIo::start);
    let list: Vec<String> = NAMES
        .iter()
        .zip(&instances)
        .map(|(name, at)| format!("{{ address = \"{at}\", name = \"{name}\" }}"))
        .collect();
    let upstream = format!("instances = [{}]\n{more}", list.join(", "));
    let site = Site::start("trusted_proxies = [\"127.0.0.1\"]", &upstream, "");
    (instances, site)
}

fn ask(process: &mut Process, request: &str) -> Message {
    let mut client = process.connect();
    client.send(request);
    client.answer()
}

#[test]
fn it_says_what_the_process_does_now() {
    let more = "health.interval = \"100ms\"\nhealth.fast_interval = \"100ms\"\nhealth.check = \"tcp\"\nhealth.slow_start = \"0s\"\n\
                drain.spread = \"1h\"\ndrain.deadline = \"2h\"";
    let (mut instances, mut site) = start(more);
    site.events("up", 2);
    let mut cookie: Option<String> = None;
    let mut seen = std::collections::BTreeSet::new();
    for round in ["well", "drained", "down"] {
        match round {
            "drained" => drop(site.says(0, &["drain", "blue"])),
            "down" => {
                site.says(0, &["resume", "blue"]);
                instances[1].instance.stop();
                site.events("down", 1);
            }
            _ => {}
        }
        for n in 0..12 {
            let address = format!("203.0.113.{n}");
            let with = if n % 2 == 0 { cookie.clone() } else { None };
            let mut arguments = vec!["explain", "--ip", &address];
            let given = with.clone().unwrap_or_default();
            if with.is_some() {
                arguments.extend(["--cookie", &given]);
            }
            let explained = site.json(&arguments);
            assert_eq!(explained["source"], "process");
            let field = with.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
            let answer =
                ask(&mut site.process, &engine_io::start(&format!("X-Forwarded-For: {address}\r\n{field}")));
            assert_eq!(explained["result"]["instance"], instance_of(&answer), "{round}: {explained:#}");
            let set = answer.cookie("stickyd-app").map(|(cookie, _)| cookie);
            assert_eq!(explained["result"]["sets_cookie"], set.is_some(), "{round}: {explained:#}");
            cookie = set.or(cookie);
            let result = &explained["result"];
            seen.insert(format!("{round} {} {} {}", result["instance"], result["by"], result["rebind"]));
        }
    }
    assert!(seen.len() >= 6, "{seen:#?}");
    let text = site.says(0, &["explain", "--ip", "203.0.113.1"]);
    assert!(text.contains("green (down: 3 checks failed: connection refused"), "{text}");
    assert!(!text.contains("assumed    "), "{text}");
    assert_eq!(site.events("state", 2).len(), 2, "explaining is no event");
    assert_eq!(site.process.said_so_far("\"command\""), 2, "and no command");
}

#[test]
fn it_knows_sessions_and_does_not_use_them() {
    let (mut instances, mut site) = start("health.check = \"off\"");
    let begun = ask(&mut site.process, &engine_io::start(""));
    let (sid, home) = (sid_of(&begun), instance_of(&begun));
    let poll = "/socket.io/?EIO=4&transport=polling";
    let says =
        |site: &Site, sid: &str| site.json(&["explain", "--ip", "192.0.2.77", "--sid", sid, "--url", poll]);
    let explained = says(&site, &sid);
    assert_eq!(
        (&explained["result"]["instance"], &explained["result"]["by"]),
        (&home.clone().into(), &"sid".into())
    );
    let key = &explained["keys"][0];
    assert_eq!(
        (&key["does"], key["text"].as_str().unwrap()),
        (&"decides".into(), &*format!("its session lives at {home}"))
    );
    let unknown = says(&site, "invented");
    assert!(unknown["keys"][0]["text"].as_str().unwrap().starts_with("not known: ended"), "{unknown:#}");
    // Its instance takes nobody in any more, but the session is there.
    site.says(0, &["cordon", &home]);
    assert_eq!(says(&site, &sid)["result"]["instance"], home);
    let number = NAMES.iter().position(|name| *name == home).unwrap();
    instances[number].instance.stop();
    site.says(0, &["maintain", &home, "--force"]);
    eventually("its session is gone", || {
        (says(&site, &sid)["result"]["refused"] == "session_gone").then_some(())
    });
}

#[test]
fn a_file_is_asked_where_one_is_named_and_the_process_where_none_is() {
    let (_instances, site) = start("health.check = \"off\"");
    site.says(0, &["cordon", "blue"]);
    let explain = |more: &[&str]| site.json(&[&["explain", "--ip", "192.0.2.1"], more].concat());
    let state = |explained: &Value| (explained["source"].clone(), explained["instances"][0]["state"].clone());
    assert_eq!(state(&explain(&[])), ("process".into(), "cordon".into()));
    assert_eq!(
        state(&explain(&["--socket", &site.home.path("admin.sock")])),
        ("process".into(), "cordon".into())
    );
    let offline = explain(&["-c", &site.file]);
    assert_eq!(state(&offline), ("file".into(), "ready".into()));
    assert!(offline["instances"][0].get("now").is_none() && offline.get("text").is_none());
    let nobody = Home::new();
    let (code, text) = nobody.run(&["explain", "--ip", "192.0.2.1", "--socket", &nobody.path("none.sock")]);
    assert!(code == 69 && text.contains("`stickyd explain --config FILE`"), "{code} {text}");
}

#[test]
fn what_was_asked_is_in_no_log() {
    let (_instances, mut site) = start("health.check = \"off\"");
    let secret = [
        "explain",
        "--ip",
        "192.0.2.1",
        "--cookie",
        "HIDDEN",
        "--sid",
        "HIDDEN",
        "--header",
        "X-Token: HIDDEN",
    ];
    assert!(!site.says(0, &secret).contains("HIDDEN"));
    site.process.terminate();
    assert!(site.process.end().success());
    assert_eq!(site.process.said("HIDDEN"), 0);
}
