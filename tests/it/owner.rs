//! As its own user with one capability, also after root has run it by hand. Needs root, and setpriv of util-linux.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use serde_json::Value;

use crate::support::process::{Home, Process};
use crate::support::{Answering, Socket};

/// Nobody's.
const USER: u32 = 54_321;

const SETPRIV: &str = "setpriv --reuid 54321 --regid 54321 --clear-groups --no-new-privs \
    --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service --";

/// A home of that user, unless this cannot be tried here.
fn home() -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return None;
    }
    let binary = env!("CARGO_BIN_EXE_stickyd");
    let reaches = Command::new("sh").arg("-c").arg(format!("{SETPRIV} test -x {binary}")).status().unwrap();
    if !reaches.success() {
        eprintln!("SKIPPED: there is no setpriv, or the user {USER} cannot reach {binary}");
        return None;
    }
    let home = Home::below();
    chown(home.path(""), Some(USER), Some(USER)).unwrap();
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    Some(home)
}

fn start_as_user(home: &Home, file: &str) -> Process {
    home.start_after(&format!("exec {SETPRIV} \"$0\" \"$@\";"), &["run", "--config", file])
}

/// A port for which one needs the capability.
fn low_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (600..1024).rev().find(free).unwrap()
}

fn upstream(home: &Home) -> Value {
    let (code, text) = home.run(&["status", "--json"]);
    assert_eq!(code, 0, "{text}");
    let status: Value = serde_json::from_str(&text).unwrap();
    status["upstreams"][0].clone()
}

#[test]
fn what_root_leaves_the_service_can_use() {
    let Some(home) = home() else { return };
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let port = low_port();
    let toml = format!(
        "listen = \"127.0.0.1:{port}\"\n[upstream.app]\nhealth.check = \"off\"\nsticky.by = [\"cookie\"]\n\
         instances = [{{ address = \"{blue}\", name = \"blue\" }}, {{ address = \"{green}\", name = \"green\" }}]\n\
         [metrics]\naddress = \"off\"\n[admin]\naddress = \"off\"\n[log]\naccess = \"{}\"\n",
        home.path("access.log")
    );
    let file = home.write("config.toml", &toml);
    let mut root = home.start(&["run", "--config", &file]);
    root.address();
    let (code, text) = home.run(&["cordon", "app/blue"]);
    assert_eq!(code, 0, "{text}");
    let secret = upstream(&home)["secret"].clone();
    assert!(secret.is_string());
    root.terminate();
    assert!(root.end().success());
    let mut made = 0;
    for entry in fs::read_dir(home.path("")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "config.toml" {
            assert_eq!(entry.metadata().unwrap().uid(), USER, "{entry:?}");
            made += 1;
        }
    }
    assert_eq!(made, 4, "secret, kept states, lock, access log");

    let mut service = start_as_user(&home, &file);
    let mut client = Socket::connect(service.address());
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer().text(), "green");
    let now = upstream(&home);
    assert_eq!(now["secret"], secret);
    assert_eq!(now["instances"][0]["state"], "cordon");
    // There is a lock, and no more privileges than that one.
    assert_eq!(home.run(&["run", "--config", &file]).0, 1);
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000400\n")), "{status}");
    }
    service.terminate();
    assert!(service.end().success());
    for word in ["cannot", "chown", "denied"] {
        assert_eq!(service.said(word), 0, "{word}");
    }
}

#[test]
fn what_the_service_cannot_use_is_named_with_what_to_do() {
    let Some(home) = home() else { return };
    let blue = Answering::start("blue");
    let toml = format!(
        "listen = \"127.0.0.1:0\"\n[upstream.app]\nhealth.check = \"off\"\ninstances = [\"{blue}\"]\n[metrics]\naddress = \"off\"\n[admin]\naddress = \"off\"\n"
    );
    let file = home.write("config.toml", &toml);
    let mut process = start_as_user(&home, &file);
    process.address();
    process.terminate();
    assert!(process.end().success());
    // As a copy out of a backup may be.
    let secret = home.path("cookie.secret");
    chown(&secret, Some(0), Some(0)).unwrap();
    let mut process = start_as_user(&home, &file);
    process.says(&[
        "the cookie's secret cannot be kept",
        "belongs to root",
        &format!("`chown 54321: {secret}`"),
    ]);
    process.address();
}
