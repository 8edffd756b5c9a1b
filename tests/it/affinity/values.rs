//! `header:` and `query:` keys, and what `on_down` does with whoever is bound to an instance that is down.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::{NAME, get, proxy};
use crate::support::engine_io::{EngineIo, get as head, instance_of, poll, sid_of, start};
use crate::support::{Answering, Message, Proxy, Socket};

/// Which instance answers, over a connection of its own.
fn place(proxy: &Proxy, target: &str, fields: &str) -> String {
    let got = proxy.get(target, fields);
    assert_eq!((got.status(), got.values("set-cookie").len()), (200, 0), "{target} {fields}");
    got.text().to_owned()
}

#[test]
fn a_value_goes_to_one_instance_whoever_says_it() {
    let instances = ["a", "b", "c"].map(Answering::start);
    let all: Vec<&dyn Display> = instances.iter().map(|instance| instance as &dyn Display).collect();
    let reversed: Vec<&dyn Display> = all.iter().rev().copied().collect();
    let sticky = "by = [\"header:X-User\", \"query:user[id]\"]";
    let (one, other) = (proxy("", &all, sticky), proxy("", &reversed, sticky));
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let header = |proxy: &Proxy| place(proxy, "/", &format!("x-USER:  user-{user} \r\n"));
        let query = |proxy: &Proxy| place(proxy, &format!("/?a=b&user%5Bid%5D=user-{user}&user[id]=x"), "");
        let place = header(&one);
        for again in [header(&one), header(&other), query(&one), query(&other)] {
            assert_eq!(again, place, "{user}");
        }
        seen.insert(place);
    }
    assert_eq!(seen.len(), 3);
    one.counts("stickyd_sticky_decisions_total", &[("by", "header")], 80);
    one.counts("stickyd_sticky_decisions_total", &[("by", "query")], 40);
}

#[test]
fn a_value_that_is_empty_or_missing_leaves_it_to_the_next_key() {
    let instances = ["a", "b", "c"].map(Answering::start);
    let all: Vec<&dyn Display> = instances.iter().map(|instance| instance as &dyn Display).collect();
    let proxy = proxy("", &all, "by = [\"query:user\", \"header:x-user\", \"ip_hash\"]");
    let by_address = place(&proxy, "/", "");
    let mut by = [0, 0, 1];
    let mut check = |target: &str, fields: &str, key: usize| {
        let to = place(&proxy, target, fields);
        assert!(key < 2 || to == by_address, "{target} {fields}");
        by[key] += 1;
        for (label, count) in ["query", "header", "ip_hash"].into_iter().zip(by) {
            proxy.counts("stickyd_sticky_decisions_total", &[("by", label)], count);
        }
    };
    check("/?user=anna", "X-User: bert\r\n", 0);
    check("/?user=", "X-User: bert\r\n", 1);
    check("/?user=+%20", "X-User: bert\r\n", 1);
    check("/?users=anna&xuser=anna", "X-User: bert\r\n", 1);
    check("/?user=&user=anna", "", 2);
    check("/?user", "X-User:\r\n", 2);
    check("/?user=%20", "X-User: \t \r\n", 2);
    check("/user=anna", "X_User: bert\r\n", 2);
}

/// A client whose instance has died.
struct Bereft {
    proxy: Proxy,
    /// To a plain request and to a session start.
    answers: [Message; 2],
    dead: String,
    _instances: [EngineIo; 2],
}

impl Bereft {
    /// One that says `fields`, and what it is answered.
    fn of(sticky: &str, fields: &str) -> Self {
        let mut instances = ["blue", "green"].map(EngineIo::start);
        let [blue, green] = &instances;
        let proxy = proxy("", &[blue, green], sticky);
        let ask = |request: String| {
            let mut client = proxy.connect();
            client.send(request);
            client.answer()
        };
        let first = ask(head("/", fields));
        let cookie = first.cookie(NAME).map_or(String::new(), |(cookie, _)| format!("Cookie: {cookie}\r\n"));
        let dead = instance_of(&first);
        instances[usize::from(dead == "green")].instance.stop();
        let fields = format!("{fields}{cookie}");
        let answers = [ask(head("/", &fields)), ask(start(&fields))];
        Bereft { proxy, answers, dead, _instances: instances }
    }
}

#[test]
fn whoever_is_bound_to_a_dead_instance_is_bound_anew_or_told_to_wait() {
    let table = [
        ("\"cookie\"", ""),
        ("\"ip_hash\"", ""),
        ("\"sid\", \"cookie\", \"ip_hash\"", ""),
        ("\"header:x-user\", \"cookie\"", "X-User: anna\r\n"),
    ];
    for (by, fields) in table {
        let Bereft { proxy, answers, .. } = Bereft::of(&format!("by = [{by}]\non_down = \"fail\""), fields);
        for got in answers {
            assert_eq!((got.status(), got.field("retry-after").as_deref()), (503, Some("1")), "{by}");
            assert_eq!(
                (got.text(), got.values("set-cookie").len()),
                ("the instance of this client is down\n", 0)
            );
        }
        proxy.counts("stickyd_sticky_rebinds_total", &[], 0);

        let Bereft { proxy, answers, dead, _instances } =
            Bereft::of(&format!("by = [{by}]\non_down = \"rebind\""), fields);
        for got in &answers {
            assert_eq!(got.status(), 200, "{by}");
            assert_ne!(instance_of(got), dead, "{by}");
            assert_eq!(got.cookie(NAME).is_some(), by.contains("cookie"), "{by}");
        }
        let rebound = by.contains("cookie") && !by.contains("header");
        proxy.counts("stickyd_sticky_rebinds_total", &[("reason", "down")], if rebound { 2 } else { 0 });
        // The new binding holds.
        if let Some((new, _)) = answers[0].cookie(NAME) {
            let got = proxy.get("/", &format!("{fields}Cookie: {new}\r\n"));
            assert_eq!((got.status(), got.cookie(NAME)), (200, None), "{by}");
        }
    }
}

/// Others are none of the dead instance's clients.
#[test]
fn whoever_is_bound_elsewhere_does_not_notice() {
    let mut instances = ["blue", "green"].map(EngineIo::start);
    let [blue, green] = &instances;
    let proxy = proxy("trusted_proxies = [\"127.0.0.1\"]", &[blue, green], "on_down = \"fail\"");
    let mut clients = Vec::new();
    for number in 0..30 {
        let fields = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let mut client: Socket = proxy.connect();
        client.send(start(&fields));
        let got = client.answer();
        clients.push((fields, instance_of(&got), sid_of(&got), got.cookie(NAME).unwrap().0));
    }
    instances[0].instance.stop();
    let mut dead = 0;
    for (fields, instance, sid, cookie) in clients {
        let ask = |request: &str| {
            let mut client = proxy.connect();
            client.send(request);
            client.answer().status()
        };
        let is_dead = instance == "blue";
        dead += u64::from(is_dead);
        assert_eq!(get(&proxy, &cookie).status(), if is_dead { 503 } else { 200 });
        assert_eq!(proxy.get("/", &fields).status(), if is_dead { 503 } else { 200 });
        // A session that is gone is gone, whatever shall become of its client.
        assert_eq!(ask(&poll(&sid, &fields)), if is_dead { 400 } else { 200 });
    }
    assert!((1..30).contains(&dead));
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "proxy")], dead);
}
