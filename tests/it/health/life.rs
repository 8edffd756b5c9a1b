//! Checks and the process: what it says of them, and that it does not wait for them.

use std::time::{Duration, Instant};

use super::{Checked, DEGRADED, DOWN, Does, FAST, NOT_STICKY, before, is};
use crate::support::process::Home;
use crate::support::{Proxy, eventually};

#[test]
fn each_change_is_said_once_and_why() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let home = Home::new();
    let health = FAST.replace("0%", "50%");
    let file = home.write(
        "config.toml",
        &format!(
            "listen = \"127.0.0.1:0\"\nworkers = 1\n[upstream.app]\ninstances = [\"{blue}\", \"{green}\"]\n\
             health = {{ {health} }}\n[metrics]\naddress = \"127.0.0.1:0\"\n\
             [shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
        ),
    );
    let mut process = home.start(&["run", "--config", &file]);
    let (blue_name, green_name) = (blue.to_string(), green.to_string());
    process.says(&["INFO", "instance is up", &blue_name, "the first check passed"]);
    blue.dies();
    process.says(&["WARN", "instance is down", &blue_name, "3 checks failed: connection refused"]);
    green.checks(Does::Fails);
    process.says(&["WARN", "instance is degraded", &green_name, "3 checks failed: answered 500"]);
    process.says(&["WARN", "too few instances pass"]);
    blue.comes_back();
    process.says(&["INFO", "instance is up", &blue_name, "2 checks passed"]);
    process.says(&["INFO", "enough instances pass"]);
    green.checks(Does::Well);
    process.says(&["INFO", "instance is up", &green_name, "2 checks passed"]);
    // And no more than that.
    let checked = blue.checked();
    eventually("more checks", || (blue.checked() > checked + 3).then_some(()));
    process.terminate();
    assert!(process.end().success());
    process.says(&["stopped"]);
    for what in ["instance is down", "instance is degraded", "too few instances", "enough instances"] {
        assert_eq!(process.said(what), 1, "{what}");
    }
    assert_eq!(process.said("instance is up"), 4);
}

#[test]
fn a_stop_waits_for_no_check() {
    let blue = Checked::start("blue");
    blue.hangs();
    let health = "interval = \"100ms\", timeout = \"1m\"";
    let proxy: Proxy = before(&[&blue], health, NOT_STICKY);
    eventually("checks that hang", || (blue.checked() >= 3).then_some(()));
    let began = Instant::now();
    drop(proxy);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// One instance that hangs has so many checks at a time and no more, however slow their end is.
#[test]
fn checks_that_hang_do_not_pile_up() {
    let blue = Checked::start("blue");
    let health = FAST.replace("\"2s\"", "\"200ms\"");
    let proxy = before(&[&blue], &health, NOT_STICKY);
    blue.hangs();
    is(&proxy, &blue, DOWN);
    // A check waits for five time-outs, and the next begins after a half.
    let checked = blue.checked();
    while blue.checked() < checked + 30 {
        // One that was given up may be seen here a moment longer.
        assert!(blue.serving() <= 10, "{} at a time", blue.serving());
    }
}

/// The regression: no check was ever made where the first configuration had none.
#[test]
fn checks_begin_when_a_reload_asks_for_them() {
    let blue = Checked::start("blue");
    let text = |health: &str| format!("[upstream.app]\ninstances = [\"{blue}\"]\nhealth = {{ {health} }}\n");
    let proxy = Proxy::start(&text("check = \"off\""));
    blue.checks(Does::Fails);
    proxy.reload(&text(FAST)).unwrap();
    is(&proxy, &blue, DEGRADED);
}
