//! `stickyd healthcheck`: 0 ready, 1 it says no, 69 not reached.

use std::net::TcpListener;

use super::{Site, toml};
use crate::support::process::Home;
use crate::support::{Answering, Instance, eventually};

#[test]
fn ready_retired_stopping_gone() {
    let instance = Instance::start();
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"");
    let mut site = Site::start("health_path = \"/ready\"", &upstream, "[shutdown]\nready_delay = \"3s\"\n");
    let ready = site.says(0, &["healthcheck"]);
    assert!(ready.starts_with("ready: pid ") && ready.lines().count() == 1, "{ready}");
    assert_eq!(site.says(0, &["healthcheck", "-c", &site.file, "--timeout", "1s"]), ready);
    site.says(0, &["retire"]);
    assert!(site.says(1, &["healthcheck"]).contains("it is retired"));
    site.says(0, &["retire", "--undo"]);
    site.says(0, &["healthcheck"]);
    site.process.terminate();
    eventually("it says no", || (site.home.run(&["healthcheck"]).0 == 1).then_some(()));
    assert!(site.says(1, &["healthcheck"]).contains("it is stopping"));
    assert!(site.process.end().success());
    assert!(site.says(69, &["healthcheck"]).contains("does it run"));
}

#[test]
fn one_without_a_socket_is_asked_by_its_metrics_address() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"");
    let more = format!("[admin]\nsocket = \"off\"\n[metrics]\naddress = \"{free}\"\n");
    let file = home.write("config.toml", &toml("", &upstream, &more));
    let (code, text) = home.run(&["healthcheck", "-c", &file]);
    assert!(code == 69 && text.contains("/-/ready"), "{code} {text}");
    let mut process = home.start(&["run", "--config", &file]);
    process.address();
    let (code, text) = home.run(&["healthcheck", "-c", &file]);
    assert_eq!((code, text), (0, format!("ready: http://{free}/-/ready says so\n")));
    // Whoever is behind a socket has to answer for himself.
    let other = Site::start("", &upstream, "");
    let (code, text) = other.home.run(&["healthcheck", "-c", &file]);
    assert_eq!(code, 0, "{text}");
    let no_metrics = home.write("none.toml", &toml("", &upstream, "[metrics]\naddress = \"off\"\n"));
    assert_eq!(home.run(&["healthcheck", "-c", &no_metrics]).0, 69);
}
