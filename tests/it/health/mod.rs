//! Instances that are checked: what becomes of them, and what of their clients.

mod believed;
mod clients;
mod instance;
mod life;
mod reloads;
mod states;

use std::fmt::Display;

use crate::support::{Message, Proxy};

pub(crate) use instance::{Checked, Does};

/// Checks as fast as they go, believed in any case. An answer has time: this machine is busy.
pub(crate) const FAST: &str = "interval = \"100ms\", fast_interval = \"100ms\", timeout = \"2s\", slow_start = \"0s\", panic_below = \"0%\"";

/// A proxy before these instances, which gives out turns. `health`: keys of that table; `more`: lines of the upstream, sections.
fn before(instances: &[&dyn Display], health: &str, more: &str) -> Proxy {
    let instances: Vec<String> = instances.iter().map(|instance| format!("\"{instance}\"")).collect();
    Proxy::start(&format!(
        "[upstream.app]\nbalance = \"round_robin\"\ninstances = [{}]\nhealth = {{ {health} }}\n{more}\n",
        instances.join(", ")
    ))
}

const NOT_STICKY: &str = "sticky.by = []";

/// Waits until the instance is as `stickyd_instance_up` and `stickyd_instance_degraded` say together: `1 0`, `0 1`, `0 0`.
#[track_caller]
pub(crate) fn is(proxy: &Proxy, instance: &Checked, state: (u64, u64)) {
    let name = instance.to_string();
    let labels = [("instance", name.as_str())];
    proxy.counts("stickyd_instance_degraded", &labels, state.1);
    proxy.counts("stickyd_instance_up", &labels, state.0);
}

pub(crate) const UP: (u64, u64) = (1, 0);
pub(crate) const DEGRADED: (u64, u64) = (0, 1);
pub(crate) const DOWN: (u64, u64) = (0, 0);

/// Checks of an instance that came to this, so far.
fn checks(proxy: &Proxy, instance: &Checked, result: &str) -> u64 {
    proxy.count("stickyd_health_checks_total", &[("instance", &instance.to_string()), ("result", result)])
}

/// Waits until so many more checks of an instance came to this.
fn more_checks(proxy: &Proxy, instance: &Checked, result: &str, more: u64) {
    let least = checks(proxy, instance, result) + more;
    let name = instance.to_string();
    proxy.counts_at_least("stickyd_health_checks_total", &[("instance", &name), ("result", result)], least);
}

/// Who answers `count` requests, each of a client of its own.
fn who_answers(proxy: &Proxy, count: usize) -> Vec<String> {
    let answers = (0..count).map(|_| proxy.get("/", ""));
    let mut names: Vec<String> = answers.map(|answer: Message| answer.text().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
