//! `stickyd explain` as people and scripts call it. What it finds is tested next to the code; here is what is printed, and that it is
//! what the proxy does.

use std::process::Command;

use serde_json::Value;
use stickyd::control::explain::{self, Field, Question, Url};
use stickyd::{Surroundings, config};

use crate::support::{Answering, Proxy};

/// Exit code, standard output, standard error of `stickyd explain`, called with `arguments`.
fn stickyd_explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stickyd"))
        .arg("explain")
        .args(arguments)
        // No secret of whoever runs the tests.
        .env("STATE_DIRECTORY", "/nowhere")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const MINIMAL: &str = "tests/configs/valid/minimal.toml";
const INSTANCES: &str = "tests/configs/valid/instances.toml";
const EVERY_KEY: &str = "tests/configs/valid/sticky-every-key.toml";

#[test]
fn for_people() {
    let (code, out, err) = stickyd_explain(&["-c", MINIMAL, "--ip", "192.0.2.1"]);
    let expected = "\
client     192.0.2.1
request    /socket.io/, a session start, on host localhost (assumed)
route      1 of 1: host *, path *
upstream   socketio: instance-1:3000, instance-2:3000
  sid      silent       the request has no sid
  cookie   silent       the request has no cookie stickyd-socketio
  ip_hash  decides      192.0.2.1 hashes to instance-2:3000, then instance-1:3000
goes to    instance-2:3000, by ip_hash; a cookie is set
if down    instance-1:3000, by ip_hash; a cookie is set
assumed    every instance is up; the client was not moved away lately
";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), expected, ""));

    let arguments =
        ["-c", EVERY_KEY, "--ip", "::ffff:192.0.2.1", "--header", "X-User: anna", "--sid", "hidden-1"];
    let (code, out, err) =
        stickyd_explain(&[&arguments[..], &["--url", "http://a.b/socket.io/?room=hidden-4"]].concat());
    let expected = "\
client     ::ffff:192.0.2.1
request    /socket.io/, of a session, on host a.b
route      1 of 1: host *, path *
upstream   socketio: instance-1:3000, instance-2:3000
  sid            silent       not known here: only the running proxy knows sessions
  header:x-user  decides      its value hashes to instance-2:3000, then instance-1:3000
  query:room     not asked    its value hashes to instance-1:3000, then instance-2:3000
  cookie         not asked    the request has no cookie stickyd-socketio
  ip_hash        not asked    192.0.2.0/24 hashes to instance-1:3000, then instance-2:3000
goes to    instance-2:3000, by header
if down    to none: on_down is \"fail\", and the instance that it belongs to is down
assumed    every instance is up; the client was not moved away lately
";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), expected, ""));

    let (code, out, _) = stickyd_explain(&["-c", INSTANCES, "--ip", "2001:db8::7"]);
    assert_eq!(code, Some(0));
    let upstream = "upstream   socketio: instance-1:3000 (drain), instance-2:3000 (cordon), instance-3:3000 (maintain), \
                    instance-4:3000 (weight 2, backup)\n";
    assert!(out.contains(upstream), "{out}");
    assert!(out.contains("\nif down    to none: no instance may take it\n"), "{out}");
    assert!(out.ends_with("; no instance is full (max_tunnels)\n"), "{out}");
}

#[test]
fn for_scripts() {
    let ask = |arguments: &[&str]| -> Value {
        let (code, out, err) = stickyd_explain(&[arguments, &["--json"]].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.ends_with("}\n"));
        serde_json::from_str(&out).unwrap()
    };
    let start = ask(&["-c", MINIMAL, "--ip", "192.0.2.1"]);
    assert_eq!(start["wants"], "start");
    assert_eq!(start["route"]["number"], 1);
    assert_eq!(start["result"]["instance"], "instance-2:3000");
    assert_eq!(start["result"]["by"], "ip_hash");
    assert_eq!(start["result"]["sets_cookie"], true);
    assert_eq!(start["if_down"]["instance"], "instance-1:3000");
    let ip_hash = &start["keys"][2];
    assert_eq!(ip_hash["key"], "ip_hash");
    assert_eq!(ip_hash["order"].as_array().unwrap().len(), 2);
    assert_eq!(start["keys"][0]["reason"], "no_session");
    assert_eq!(start["instances"][0]["state"], "ready");

    let lost =
        ask(&["-c", "tests/configs/valid/routes.toml", "--ip", "192.0.2.1", "--url", "http://b.org/nothing"]);
    assert_eq!((&lost["route"], &lost["upstream"]), (&Value::Null, &Value::Null));
    assert_eq!(lost["result"]["refused"], "no_route");
}

/// Neither what was given nor what opens it.
#[test]
fn nothing_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, file) = (folder.path().join("secret"), folder.path().join("config.toml"));
    std::fs::write(&secret, "a secret of some length that nobody will ever guess\n").unwrap();
    let text = format!(
        "listen = \":80\"\n[upstream.a]\ninstances = [\"a:3000\"]\n\
         sticky = {{ by = [\"sid\", \"header:x-token\", \"query:token\", \"cookie\"], secret_file = \"{}\" }}\n",
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    for form in [&[][..], &["--json"]] {
        let arguments = [
            &["-c", file.to_str().unwrap(), "--ip", "192.0.2.1", "--cookie", "AWPtHIDDEN", "--sid", "HIDDEN"]
                [..],
            &["--header", "X-Token: HIDDEN", "--url", "/socket.io/?token=HIDDEN"],
            form,
        ];
        let (code, out, err) = stickyd_explain(&arguments.concat());
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("forged"), "{out}");
        assert!(!out.contains("HIDDEN") && !out.contains("guess"), "{out}");
    }
}

/// Plain requests, session starts, unknown sessions: of each a third with a header, a third with a cookie that was given.
#[test]
fn what_it_says_is_what_the_proxy_does() {
    let instances = ["red", "green", "blue"].map(Answering::start);
    let named = ["red", "green", "blue"].iter().zip(&instances);
    let named: Vec<String> = named
        .map(|(name, at)| format!("{{ address = \"{at}\", name = \"{name}\", weight = {} }}", name.len()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of some length that nobody will ever guess\n").unwrap();
    let toml = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [{}]\n[upstream.app.sticky]\n\
         by = [\"header:x-user\", \"cookie\", \"ip_hash\"]\nsecret_file = \"{}\"\n",
        named.join(", "),
        secret.display()
    );
    let proxy = Proxy::start(&toml);
    let config = config::parse(&format!("listen = \":80\"\n{toml}"), "test").unwrap().config;

    let mut cookie: Option<String> = None;
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..90 {
        let address = format!("203.0.113.{n}");
        let path = match n / 30 {
            0 => "/",
            1 => "/socket.io/?EIO=4&transport=polling",
            _ => "/socket.io/?EIO=4&transport=polling&sid=of-another-proxy",
        };
        let field = match n % 3 {
            1 => format!("X-User: user-{n}"),
            2 => format!("Cookie: {}", cookie.clone().unwrap()),
            _ => "X-Other: user".to_owned(),
        };
        let question = Question {
            address: address.parse().unwrap(),
            cookie: None,
            sid: None,
            url: Some(Url::parse(&format!("http://app{path}")).unwrap()),
            headers: vec![Field::parse(&field).unwrap()],
        };
        let explanation = explain::explain(&config, &question, &Surroundings::default()).unwrap();
        let answer = proxy.get(path, &format!("X-Forwarded-For: {address}\r\n{field}\r\n"));
        assert_eq!(explanation.result.instance.as_deref(), Some(answer.text()), "{explanation}");
        let set = answer.cookie("stickyd-app").map(|(cookie, _)| cookie);
        assert_eq!(explanation.result.sets_cookie, set.is_some(), "{explanation}");
        cookie = set.or(cookie);
        seen.insert((explanation.wants, explanation.result.by, explanation.result.instance));
    }
    assert!(seen.len() >= 18, "every key led nearly everywhere, whatever was wanted: {seen:?}");
}

#[test]
fn exit_codes() {
    for arguments in [
        &[][..],
        &["-c", MINIMAL],
        &["-c", MINIMAL, "--ip", "app.example.com"],
        &["-c", MINIMAL, "--ip", "192.0.2.1", "--url", "app.example.com"],
        &["-c", MINIMAL, "--ip", "192.0.2.1", "--header", "anna"],
        &["-c", MINIMAL, "--ip", "192.0.2.1", "more"],
    ] {
        let (code, out, err) = stickyd_explain(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
    }
    let (_, _, err) = stickyd_explain(&["-c", MINIMAL, "--ip", "192.0.2.1", "--url", "app.example.com"]);
    assert!(err.contains("write /path?query, or http://host/path?query"), "{err}");

    let (code, out, err) =
        stickyd_explain(&["-c", "tests/configs/invalid/many-at-once.toml", "--ip", "192.0.2.1"]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert_eq!(err, std::fs::read_to_string("tests/configs/invalid/many-at-once.txt").unwrap());
    let (code, _, err) = stickyd_explain(&["-c", "tests/configs/none.toml", "--ip", "192.0.2.1"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("cannot read the file"), "{err}");

    // A secret that a cookie needs.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = "listen = \":80\"\n[upstream.a]\ninstances = [\"a:3000\"]\nsticky.secret_file = \"/nowhere/secret\"\n";
    std::fs::write(&file, text).unwrap();
    let with = ["-c", file.to_str().unwrap(), "--ip", "192.0.2.1", "--cookie", "AWPt"];
    let (code, out, err) = stickyd_explain(&with);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(err.starts_with("error: `upstream.a.sticky`: secret_file /nowhere/secret:"), "{err}");
    assert_eq!(stickyd_explain(&with[..4]).0, Some(0));

    let (code, out, _) = stickyd_explain(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("stickyd explain --ip 203.0.113.9"), "{out}");
}
