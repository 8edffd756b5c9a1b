//! Another configuration comes into force.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{talks, tunnel, upstream};
use crate::support::process::Home;
use crate::support::{Answering, Instance, Proxy, eventually, ws};

#[test]
fn instances_come_and_go_and_the_others_notice_nothing() {
    let (blue, green, red) = (Instance::start(), Instance::start(), Instance::start());
    let all = [&blue, &green, &red];
    let more = "drain.spread = \"0s\"";
    let proxy = Proxy::start(&upstream(&[&blue, &green], more));
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &all)).collect();
    let opened = proxy.count("stickyd_tunnels_opened_total", &[]);
    let difference = proxy.reload(&upstream(&[&green, &red], more)).unwrap();
    assert!(difference.contains(&format!("instance {red} added")), "{difference}");
    assert!(difference.contains(&format!("instance {blue} removed")), "{difference}");
    for (client, far, at) in &mut tunnels {
        if *at == 0 {
            ws::closed(client, far, 1012);
        } else {
            talks(client, far);
        }
    }
    // It is counted until it has left.
    let gone = blue.address().to_string();
    eventually("it is forgotten", || {
        (proxy.count("stickyd_tunnels_opened_total", &[("instance", &gone)]) == 0).then_some(())
    });
    assert_eq!(proxy.count("stickyd_tunnels_opened_total", &[]), opened - 2);
    let at: Vec<_> = (0..4).map(|_| tunnel(&proxy, &all).2).collect();
    assert!(!at.contains(&0) && at.contains(&2), "{at:?}");
    proxy.counts("stickyd_config_reloads_total", &[("result", "done")], 1);
}

#[test]
fn what_belongs_to_an_instance_follows_its_name_and_its_address() {
    let (blue, green) = (Instance::start(), Instance::start());
    let named = |name: &str, weight: u32| {
        format!(
            "[upstream.app]\nsticky.by = []\nbalance = \"round_robin\"\ninstances = [\
             {{ address = \"{blue}\", name = \"{name}\", weight = {weight} }}, \"{green}\"]\n"
        )
    };
    let proxy = Proxy::start(&named("one", 1));
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    for (name, weight) in [("one", 5), ("two", 5), ("three", 1)] {
        proxy.reload(&named(name, weight)).unwrap();
        proxy.counts("stickyd_tunnels_open", &[("instance", name)], 2);
        proxy.counts("stickyd_tunnels_open", &[], 4);
    }
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
}

/// Named again before it has left: it is the same one, and what is left of it stays.
#[test]
fn an_instance_that_comes_back_is_the_same_one() {
    let (blue, green) = (Instance::start(), Instance::start());
    let more = "drain = { grace = \"1h\", deadline = \"2h\" }";
    let proxy = Proxy::start(&upstream(&[&blue, &green], more));
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &[&blue, &green])).collect();
    for _ in 0..3 {
        proxy.reload(&upstream(&[&green], more)).unwrap();
        assert!((0..3).all(|_| tunnel(&proxy, &[&blue, &green]).2 == 1));
        proxy.counts("stickyd_tunnels_open", &[("instance", &blue.address().to_string())], 2);
        proxy.reload(&upstream(&[&blue, &green], more)).unwrap();
        assert!((0..3).any(|_| tunnel(&proxy, &[&blue, &green]).2 == 0));
    }
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
}

/// An exchange that began before the reload gives its connection back after it: that one leads to the old address.
#[test]
fn an_instance_that_has_moved_is_not_asked_at_its_old_address() {
    let (old, new) = (Instance::start(), Answering::start("new"));
    let at = |address: &dyn Display| {
        format!(
            "[upstream.app]\nsticky.by = []\ninstances = [{{ address = \"{address}\", name = \"one\" }}]\n"
        )
    };
    let proxy = Proxy::start(&at(&old));
    let get = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
    let mut client = proxy.connect();
    client.send(get);
    let mut far = old.accept();
    far.request();
    proxy.reload(&at(&new)).unwrap();
    let mut another = proxy.connect();
    another.send(get);
    assert_eq!(another.answer().text(), "new");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
    assert_eq!(client.answer().text(), "old");
    // Both connections wait in the pool now, and the old one was used last.
    client.send(get);
    assert_eq!(client.answer().text(), "new");
    another.send(get);
    assert_eq!(another.answer().text(), "new");
    assert_eq!(new.connections(), 1, "the other is used again");
    far.ends();
}

/// What waits there is of no use to anybody.
#[test]
fn idle_connections_to_an_address_of_yesterday_are_closed() {
    let (old, new) = (Instance::start(), Answering::start("new"));
    let at = |address: &dyn Display| {
        format!(
            "[upstream.app]\nsticky.by = []\ninstances = [{{ address = \"{address}\", name = \"one\" }}]\n\
             timeouts.upstream_idle = \"1h\"\n"
        )
    };
    let proxy = Proxy::start(&at(&old));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = old.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
    assert_eq!(client.answer().text(), "old");
    far.is_silent(Duration::from_millis(1500));
    proxy.reload(&at(&new)).unwrap();
    far.ends();
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let blue = Answering::start("blue");
    let text = upstream(&[&blue], "");
    let proxy = Proxy::start(&text);
    let bad = text
        .replace("sticky.by = []", "sticky = { by = [\"cookie\"], secret_file = \"/nonexistent/secret\" }");
    for times in 1..3 {
        let why = proxy.reload(&bad).unwrap_err();
        assert!(why.contains("/nonexistent/secret"), "{why}");
        proxy.counts("stickyd_config_reloads_total", &[("result", "refused")], times);
        proxy.counts("stickyd_config_last_reload_successful", &[], 0);
    }
    assert!(proxy.get("/", "").values("set-cookie").is_empty());
    proxy.reload(&text).unwrap();
    proxy.counts("stickyd_config_last_reload_successful", &[], 1);
}

/// A file that was cut off may be valid still.
#[test]
fn what_removes_too_much_waits_until_somebody_asks_for_it() {
    let all: Vec<_> = ["a", "b", "c"].map(Answering::start).into();
    let instances: Vec<&dyn std::fmt::Display> = all.iter().map(|one| one as _).collect();
    let proxy = Proxy::start(&upstream(&instances, ""));
    let less = upstream(&instances[..1], "");
    let why = proxy.reload_watched(&less).unwrap_err();
    assert!(why.contains("reload"), "{why}");
    assert_eq!(proxy.count("stickyd_instance_up", &[]), 3);
    proxy.reload_watched(&upstream(&instances[..2], "")).unwrap();
    proxy.reload(&less).unwrap();
    assert_eq!(proxy.count("stickyd_instance_up", &[]), 1);
}

/// An upstream that the file no longer names: its tunnels end like those of an instance that it does not.
#[test]
fn an_upstream_goes() {
    let (blue, green) = (Instance::start(), Answering::start("green"));
    let both = format!(
        "[upstream.app]\nsticky.by = []\ndrain.spread = \"0s\"\ninstances = [\"{blue}\"]\n\
         [upstream.other]\nsticky.by = []\ninstances = [\"{green}\"]\n\
         [[route]]\npath = \"/ws\"\nupstream = \"app\"\n[[route]]\nupstream = \"other\"\n"
    );
    let proxy = Proxy::start(&both);
    let (mut client, mut far, _) = tunnel(&proxy, &[&blue]);
    let one = format!("[upstream.other]\nsticky.by = []\ninstances = [\"{green}\"]\n");
    proxy.reload(&one).unwrap();
    ws::expect_close(&mut client, 1012, false);
    ws::expect_close(&mut far, 1012, true);
    drop((client, far));
    proxy.counts("stickyd_tunnels_opened_total", &[("upstream", "app")], 0);
    assert_eq!(proxy.get("/ws", "").text(), "green");
}

#[test]
fn a_thousand_reloads_under_tunnels() {
    let all: Vec<_> = (0..4).map(|_| Instance::start()).collect();
    let kept: Vec<&Instance> = all[..2].iter().collect();
    let text = |n: usize| {
        let extra = if n.is_multiple_of(2) { &all[2] } else { &all[3] };
        format!(
            "[upstream.app]\nbalance = \"round_robin\"\nsticky.by = []\ninstances = [\
             {{ address = \"{}\", name = \"name-{}\", weight = {} }}, \"{}\", \"{extra}\"]\n",
            all[0],
            n % 7,
            n % 5 + 1,
            all[1]
        )
    };
    let proxy = Proxy::start(&text(0).replace(&format!(", \"{}\"", all[2]), ""));
    let mut tunnels: Vec<_> = (0..40).map(|_| tunnel(&proxy, &kept)).collect();
    for n in 0..1000 {
        proxy.reload(&text(n)).unwrap();
        if n.is_multiple_of(50) {
            let (client, far, _) = &mut tunnels[n / 50];
            talks(client, far);
        }
    }
    for (client, far, _) in &mut tunnels {
        talks(client, far);
    }
    proxy.counts("stickyd_tunnels_open", &[], 40);
    proxy.counts("stickyd_config_reloads_total", &[("result", "done")], 1000);
}

fn toml(instance: &Answering) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nworkers = 1\n[metrics]\naddress = \"off\"\n[log]\naccess = \"off\"\n[reload]\nmax_removed = \"100%\"\n{}",
        upstream(&[instance], "health.check = \"off\"")
    )
}

#[test]
fn a_changed_file_is_picked_up_however_it_was_written() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let home = Home::new();
    let one = home.write("one.toml", &toml(&blue));
    let path = home.path("config.toml");
    symlink(&one, &path).unwrap();
    let mut process = home.start(&["run", "--config", &path]);
    let mut client = process.connect();
    let mut answers = |expected: &str| {
        eventually(expected, || {
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            (client.answer().text() == expected).then_some(())
        });
    };
    answers("blue");
    // A symlink that is swapped, as Kubernetes does.
    let two = home.write("two.toml", &toml(&green));
    symlink(&two, home.path("next")).unwrap();
    fs::rename(home.path("next"), &path).unwrap();
    answers("green");
    // In place.
    fs::write(&two, toml(&blue)).unwrap();
    answers("blue");
    // A mistake changes nothing, and the next good one does.
    fs::write(&two, "listen = \"").unwrap();
    process.says(&["the configuration is refused, what runs stays"]);
    answers("blue");
    fs::write(&two, toml(&green)).unwrap();
    answers("green");
}
