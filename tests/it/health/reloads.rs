//! Reloads while instances are checked: what goes on unchanged is watched on, its checks in flight included.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState;

use super::{Checked, DOWN, UP, is};
use crate::support::{Proxy, eventually};

/// How soon one that is dead or hangs is found down, as shipped.
const SOON: Duration = Duration::from_secs(4);

/// As shipped, but that checks are believed in any case; `n`: what changes from one to the next.
fn text(instances: &[&Checked; 3], n: u32) -> String {
    let [blue, green, red] = instances;
    format!(
        "[upstream.app]\nsticky.by = []\nhealth.panic_below = \"0%\"\ninstances = [\
         \"{blue}\", {{ address = \"{green}\", weight = {} }}]\n\
         [upstream.other]\nhealth.check = \"auto\"\ninstances = [{{ address = \"{red}\", weight = {} }}]\n\
         [[route]]\nupstream = \"app\"\n",
        n % 2 + 1,
        n % 3 + 1
    )
}

/// Whether `blue` is found down in time after `ills`, while `changes` comes ten times a second, each time with another number.
#[track_caller]
fn is_found_down(ills: impl Fn(&Checked), changes: impl Fn(&Proxy, &[&Checked; 3], u32) + Sync) {
    let all = ["blue", "green", "red"].map(Checked::start);
    let [blue, green, red] = &all;
    let all = [blue, green, red];
    let proxy = Proxy::start(&text(&all, 0));
    for instance in all {
        is(&proxy, instance, UP);
    }
    eventually("first checks", || all.iter().all(|instance| instance.checked() > 0).then_some(()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                changes(&proxy, &all, n);
                thread::sleep(Duration::from_millis(100));
            }
        });
        thread::sleep(Duration::from_millis(500));
        ills(blue);
        let began = Instant::now();
        let name = blue.to_string();
        let is_up = || proxy.count("stickyd_instance_up", &[("instance", &name)]) == 1;
        while is_up() && began.elapsed() < 3 * SOON {
            thread::sleep(Duration::from_millis(10));
        }
        let took = began.elapsed();
        over.store(true, Ordering::SeqCst);
        assert!(took < SOON, "it was found down after {took:?}");
    });
    is(&proxy, blue, DOWN);
    is(&proxy, green, UP);
}

fn reloads(proxy: &Proxy, all: &[&Checked; 3], n: u32) {
    proxy.reload(&text(all, n)).unwrap();
}

fn maintenance(proxy: &Proxy, [_, green, _]: &[&Checked; 3], n: u32) {
    proxy.want(green, if n.is_multiple_of(2) { InstanceState::Ready } else { InstanceState::Maintain });
}

#[test]
fn one_that_hangs_is_found_down_amid_reloads() {
    is_found_down(Checked::hangs, reloads);
}

#[test]
fn one_that_dies_is_found_down_amid_reloads() {
    is_found_down(Checked::dies, reloads);
}

#[test]
fn one_that_hangs_is_found_down_while_another_is_maintained() {
    is_found_down(Checked::hangs, maintenance);
}

/// How many checks it sees within half a second.
fn checks_of(instance: &Checked) -> usize {
    let before = instance.checked();
    thread::sleep(Duration::from_millis(500));
    instance.checked() - before
}

#[test]
fn other_rules_are_followed_at_once() {
    let (blue, green) = (Checked::start("blue"), Checked::start("green"));
    let text = |interval: &str, more: &str, address: &Checked| {
        format!(
            "[upstream.app]\nhealth = {{ interval = \"{interval}\", fast_interval = \"100ms\" }}\n\
             instances = [{{ address = \"{address}\", name = \"one\"{more} }}]\n"
        )
    };
    let proxy = Proxy::start(&text("1h", "", &blue));
    eventually("the first check", || (blue.checked() == 1).then_some(()));
    proxy.reload(&text("100ms", "", &blue)).unwrap();
    eventually("the next checks", || (blue.checked() > 3).then_some(()));
    // What the file wants of an instance is so after the generation is in force.
    for _ in 0..5 {
        proxy.reload(&text("100ms", ", state = \"maintain\"", &blue)).unwrap();
        // One may be on its way.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(checks_of(&blue), 0, "it is in maintenance");
        proxy.reload(&text("100ms", "", &blue)).unwrap();
        assert!(checks_of(&blue) > 0);
    }
    proxy.reload(&text("100ms", "", &green)).unwrap();
    eventually("checks where it is now", || (green.checked() > 3).then_some(()));
    assert_eq!(checks_of(&blue), 0, "it is elsewhere");
    proxy.reload(&text("1h", "", &green)).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(checks_of(&green) <= 1, "it has all the time in the world");
}
