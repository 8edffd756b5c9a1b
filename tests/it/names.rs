//! Instances that are named: what becomes of them when their names are known, and when not.

mod expand;

use std::time::Instant;

use crate::support::{Answering, Proxy};

/// A name that RFC 6761 keeps from ever being one.
const NOBODY: &str = "x.invalid:80";

const QUICK: &str =
    "health = { interval = \"100ms\", fast_interval = \"100ms\", timeout = \"2s\" }\nsticky.by = []\n";

/// `localhost`, with the port of an instance.
fn by_name(instance: &Answering) -> String {
    format!("localhost:{}", instance.to_string().rsplit(':').next().unwrap())
}

#[test]
fn an_unknown_name_is_an_instance_that_is_down() {
    let blue = Answering::start("blue");
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{NOBODY}\", \"{blue}\"]\nbalance = \"round_robin\"\nresolve = \"1s\"\n{QUICK}"
    ));
    let nobody = [("upstream", "app"), ("instance", NOBODY)];
    proxy.counts("stickyd_instance_up", &nobody, 0);
    proxy.counts("stickyd_instance_degraded", &nobody, 0);
    proxy.counts("stickyd_instance_up", &[("instance", &blue.to_string())], 1);
    for _ in 0..4 {
        assert_eq!(proxy.get("/", "").text(), "blue");
    }
    // Nobody waits for it, and it is asked for again: it may be there one day.
    proxy.counts_at_least("stickyd_dns_failures_total", &[("upstream", "app")], 2);
    let labels = [("upstream", "app"), ("instance", NOBODY), ("kind", "dns")];
    let tried = proxy.count("stickyd_connect_errors_total", &labels);
    assert_eq!(proxy.get("/", "").text(), "blue");
    assert_eq!(proxy.count("stickyd_connect_errors_total", &labels), tried, "what is down is not tried");
}

#[test]
fn nothing_but_unknown_names_is_a_503() {
    let proxy = Proxy::start(&format!("[upstream.app]\ninstances = [\"{NOBODY}\"]\n{QUICK}"));
    for _ in 0..3 {
        assert_eq!(proxy.get("/", "").status(), 503);
    }
    proxy.counts("stickyd_instance_up", &[("instance", NOBODY)], 0);
}

#[test]
fn without_checks_an_unknown_name_is_passed_over() {
    let blue = Answering::start("blue");
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{NOBODY}\", \"{blue}\"]\nbalance = \"round_robin\"\nsticky.by = []\n"
    ));
    let began = Instant::now();
    for _ in 0..6 {
        assert_eq!(proxy.get("/", "").text(), "blue");
    }
    proxy.counts_at_least("stickyd_connect_errors_total", &[("instance", NOBODY), ("kind", "dns")], 3);
    // Each of them would have been a lookup, were there not at most one a second.
    let failures = proxy.count("stickyd_dns_failures_total", &[]);
    assert!((1..=began.elapsed().as_secs() + 1).contains(&failures), "{failures} lookups");
}

#[test]
fn checks_and_clients_use_the_same_address() {
    let blue = Answering::start("blue");
    let name = by_name(&blue);
    // The name has an address of each family on most machines; the instance listens on one of them.
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{name}\"]\nresolve = \"1s\"\nresolve_forget = \"1s\"\n{QUICK}"
    ));
    for _ in 0..3 {
        assert_eq!(proxy.get("/", "").text(), "blue");
    }
    let passed = [("instance", name.as_str()), ("result", "passed")];
    proxy.counts_at_least("stickyd_health_checks_total", &passed, 12);
    proxy.counts("stickyd_instance_up", &[("instance", &name)], 1);
    assert_eq!(proxy.get("/", "").text(), "blue");
    assert_eq!(proxy.count("stickyd_dns_failures_total", &[]), 0);
    assert_eq!(proxy.count("stickyd_connect_errors_total", &[]), 0);
}
