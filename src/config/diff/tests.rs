use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// An upstream of these `name@host:port`.
fn upstream(instances: &[&str]) -> Upstream {
    let text = "listen = \":80\"\n[upstream.socketio]\ninstances = [\"a:1\"]\n";
    let mut upstream = crate::config::parse(text, "x").unwrap().config.upstreams.remove(0);
    let instance = |text: &&str| {
        let (name, address) = text.split_once('@').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        Instance::plain(name.to_owned(), host.to_owned(), port.parse().unwrap())
    };
    upstream.instances = instances.iter().map(instance).collect();
    upstream
}

#[test]
fn who_goes_on_as_whom() {
    let check = |old: &[&str], new: &[&str], expected: &[Option<usize>]| {
        assert_eq!(pairs(&upstream(old), &upstream(new)), expected, "{old:?} -> {new:?}");
    };
    check(&["a@h:1", "b@h:2"], &["a@h:1", "b@h:2"], &[Some(0), Some(1)]);
    check(&["a@h:1", "b@h:2"], &["b@h:2", "a@h:1"], &[Some(1), Some(0)]);
    // Added, removed, replaced by another.
    check(&["a@h:1"], &["a@h:1", "b@h:2"], &[Some(0), None]);
    check(&["a@h:1", "b@h:2"], &["b@h:2"], &[Some(1)]);
    check(&["a@h:1"], &["b@h:2"], &[None]);
    // Renamed, moved.
    check(&["a@h:1", "b@h:2"], &["c@h:1", "b@h:2"], &[Some(0), Some(1)]);
    check(&["a@H.:1"], &["c@h:1"], &[Some(0)]);
    check(&["a@h:1"], &["a@other:1"], &[Some(0)]);
    check(&["a@h:1"], &["c@h:11"], &[None]);
    // Two swap their names; a ring of three.
    check(&["a@h:1", "b@h:2"], &["b@h:1", "a@h:2"], &[Some(1), Some(0)]);
    check(&["a@h:1", "b@h:2", "c@h:3"], &["c@h:1", "a@h:2", "b@h:3"], &[Some(2), Some(0), Some(1)]);
    // The name of one with the address of another, which is gone: the name wins.
    check(&["a@h:1", "b@h:2"], &["b@h:1"], &[Some(1)]);
    // What one has by name, no other gets by address; what is left by name, another gets.
    check(&["a@h:1"], &["b@h:1", "a@h:2"], &[None, Some(0)]);
    check(&["a@h:1", "b@h:2"], &["b@h:1", "c@h:2"], &[Some(1), None]);
}

/// Instances with names that are unique, and addresses that are.
fn instances() -> impl Strategy<Value = Vec<Instance>> {
    prop::collection::btree_map(0..6_u8, 1..7_u16, 1..6).prop_map(|map| {
        let mut seen = HashSet::new();
        let unique = map.into_iter().filter(|(_, port)| seen.insert(*port));
        unique.map(|(name, port)| Instance::plain(format!("i{name}"), "h".to_owned(), port)).collect()
    })
}

proptest! {
    #[test]
    fn pairs_are_a_matching(old in instances(), new in instances()) {
        let blank = upstream(&[]);
        let old = Upstream { instances: old, ..blank.clone() };
        let new = Upstream { instances: new, ..blank };
        let pairs = pairs(&old, &new);
        prop_assert_eq!(pairs.len(), new.instances.len());
        let mut seen = HashSet::new();
        for (instance, pair) in new.instances.iter().zip(&pairs) {
            let with = |same: &dyn Fn(&Instance) -> bool| old.instances.iter().position(same);
            let named = with(&|old| old.name == instance.name);
            if let Some(index) = *pair {
                prop_assert!(seen.insert(index), "{} comes twice", index);
                let old = &old.instances[index];
                prop_assert!(old.name == instance.name || (named.is_none() && old.port == instance.port));
            } else {
                // One of its name or address there is not, or somebody has it by name.
                prop_assert!(named.is_none());
                let there = with(&|old| old.port == instance.port);
                let is_named = |at: usize| new.instances.iter().any(|new| new.name == old.instances[at].name);
                prop_assert!(there.is_none_or(is_named));
            }
        }
    }
}

fn config(text: &str) -> Config {
    crate::config::parse(text, "x").unwrap_or_else(|report| panic!("{text}\n{report}")).config
}

/// A file with `top` above the first section and `rest` in the upstream's and below.
fn file(top: &str, rest: &str) -> Config {
    config(&text(top, rest))
}

fn text(top: &str, rest: &str) -> String {
    let listen = if top.contains("listen") { "" } else { "listen = \":80\"\n" };
    let instances = if rest.starts_with("instances") { "" } else { "instances = [\"a:1\", \"b:1\"]\n" };
    format!("{listen}{top}\n[upstream.x]\n{instances}{rest}\n")
}

#[test]
fn what_a_person_reads() {
    let check = |old: (&str, &str), new: (&str, &str), expected: &[&str]| {
        let shown = diff(&file(old.0, old.1), &file(new.0, new.1)).to_string();
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "{old:?} -> {new:?}");
    };
    let is_at = |instances: &str| format!("instances = [{instances}]");
    // Instances.
    let both = r#"{ name = "a", address = "h:1" }, { name = "b", address = "h:2" }"#;
    let of = |rest: &str, expected: &[&str]| check(("", &is_at(both)), ("", &is_at(rest)), expected);
    of(both, &[]);
    of(&format!("{both}, \"h:3\""), &["upstream x: instance h:3 added"]);
    of(
        &format!("{both}, {{ name = \"c\", address = \"[::1]:3\" }}"),
        &["upstream x: instance c ([::1]:3) added"],
    );
    of(r#"{ name = "b", address = "h:2" }"#, &["upstream x: instance a (h:1) removed"]);
    of(
        r#"{ name = "c", address = "h:1" }, { name = "b", address = "h:2" }"#,
        &["upstream x: instance c (h:1) renamed from a"],
    );
    of(
        r#"{ name = "b", address = "h:1" }, { name = "a", address = "h:2" }"#,
        &[
            r#"upstream x: instance b (h:1): address "h:2" -> "h:1""#,
            r#"upstream x: instance a (h:2): address "h:1" -> "h:2""#,
            "upstream x: instances in another order",
        ],
    );
    of(
        r#"{ name = "a", address = "h:1", weight = 7, max_tunnels = 9 }, { name = "b", address = "h:2", backup = true, state = "drain" }"#,
        &[
            "upstream x: instance a (h:1): weight 1 -> 7",
            r#"upstream x: instance a (h:1): max_tunnels "off" -> 9"#,
            "upstream x: instance b (h:2): backup false -> true",
            r#"upstream x: instance b (h:2): state "ready" -> "drain""#,
        ],
    );
    // Upstreams and routes.
    let two = "[upstream.y]\ninstances = [\"y:1\"]\nsticky.cookie = \"y\"\n[[route]]\npath = \"/y/*\"\nupstream = \"y\"\n";
    let rest = |upstream: &str| format!("[[route]]\nupstream = \"{upstream}\"");
    let whole = format!("{two}{}", rest("x"));
    check(("", ""), ("", &whole), &["upstream y with 1 instance added", "route */y/* added"]);
    check(("", &whole), ("", ""), &["upstream y with 1 instance removed", "route */y/* removed"]);
    check(("", &whole), ("", &format!("{two}{}", rest("y"))), &[r#"route */*: upstream "x" -> "y""#]);
    let limited = format!("{whole}\nbody = \"1m\"");
    check(("", &whole), ("", &limited), &[r#"route */*: body not set -> "1m""#]);
    // A route that has no limit of its own follows the document's: said once.
    check(("", &whole), ("limits.body = \"3m\"", &whole), &[r#"limits.body "10m" -> "3m""#]);
    let routes = |first: &str, second: &str| {
        format!(
            "[[route]]\npath = \"/{first}\"\nupstream = \"x\"\n[[route]]\npath = \"/{second}\"\nupstream = \"x\"\n[[route]]\nupstream = \"x\""
        )
    };
    check(("", &routes("a", "b")), ("", &routes("b", "a")), &["routes in another order"]);
    // Time-outs: an upstream's own, and those that it has from the document.
    check(("", ""), ("timeouts.connect = \"1s\"", ""), &[r#"timeouts.connect "3s" -> "1s""#]);
    check(
        ("", "timeouts.connect = \"2s\""),
        ("", "timeouts.connect = \"5s\""),
        &[r#"upstream x: timeouts.connect "2s" -> "5s""#],
    );
    check(
        ("", ""),
        ("timeouts.connect = \"1s\"", "timeouts.connect = \"3s\""),
        &[r#"timeouts.connect "3s" -> "1s""#, r#"upstream x: timeouts.connect not set -> "3s""#],
    );
    // What waits for the next start.
    check(
        ("listen = \":80\"", ""),
        ("listen = [{ address = \":80\", backlog = 9 }, \"[::1]:81\"]", ""),
        &[
            "listener :80: backlog 4096 -> 9 (takes effect at the next start)",
            "listener [::1]:81 added (takes effect at the next start)",
        ],
    );
    check(
        ("listen = [\":80\", \"unix:/a b\"]\nworkers = 2", ""),
        ("listen = \":80\"\nworkers = 3", ""),
        &[
            "workers 2 -> 3 (takes effect at the next start)",
            "listener unix:/a b removed (takes effect at the next start)",
        ],
    );
}

#[test]
fn how_clients_and_instances_are_met_changes_at_once() {
    let check = |old: &str, new: &str, expected: &[&str]| {
        let listen = |keys: &str| {
            config(&format!("[[listen]]\naddress = \":443\"\n{keys}\n[upstream.x]\ninstances = [\"a:1\"]\n"))
        };
        let changed = diff(&listen(old), &listen(new));
        assert_eq!(changed.to_string().lines().collect::<Vec<_>>(), expected);
        assert_eq!(changed.restarts().count(), 0);
    };
    let one = r#"tls = { cert = "/c", key = "/k" }"#;
    check(one, one, &[]);
    check("", one, &[r#"listener :443: tls "off" -> { cert = "/c", key = "/k" }"#]);
    check(
        one,
        r#"tls = [{ cert = "/c", key = "/c", client_ca = "/a" }, { cert = "/d", client_ca = "/a" }]"#,
        &[
            r#"listener :443: tls { cert = "/c", key = "/k" } -> [{ cert = "/c", client_ca = "/a" }, { cert = "/d", client_ca = "/a" }]"#,
        ],
    );
    check(
        one,
        r#"redirect = "https""#,
        &[
            r#"listener :443: tls { cert = "/c", key = "/k" } -> "off""#,
            r#"listener :443: redirect "off" -> "https""#,
        ],
    );
    let tls = r#"tls = { ca = "/a", sni = "b", client_cert = "/c", client_key = "/k" }"#;
    let shown = diff(&file("", ""), &file("", tls)).to_string();
    assert_eq!(
        shown,
        r#"upstream x: tls "off" -> { ca = "/a", sni = "b", client_cert = "/c", client_key = "/k" }"#
    );
}

/// A value of each key that is not its default: what comes of it, and whether at once.
const KEYS: &[(&str, &str, &str)] = &[
    ("workers = 77", "workers", "later"),
    ("trusted_proxies = [\"10.0.0.0/8\"]", "trusted_proxies", "now"),
    ("client_ip_header = \"forwarded\"", "client_ip_header", "now"),
    ("health_path = \"/-/ready\"", "health_path", "now"),
    ("upgrade_protocols = [\"raw\"]", "upgrade_protocols", "now"),
    ("limits.sids = 5000", "limits.sids", "later"),
    ("limits.max_connections = 5000", "limits.max_connections", "later"),
    ("limits.header = \"8k\"", "limits.header", "now"),
    ("limits.headers = 64", "limits.headers", "now"),
    ("limits.body = \"off\"", "limits.body", "now"),
    ("limits.connections_per_ip = 9", "limits.connections_per_ip", "now"),
    ("limits.tunnels_per_ip = 9", "limits.tunnels_per_ip", "now"),
    ("limits.upgrades_per_ip = \"5/m\"", "limits.upgrades_per_ip", "now"),
    ("limits.exempt = [\"10.0.0.0/8\"]", "limits.exempt", "now"),
    ("limits.deny = [\"10.0.0.0/8\"]", "limits.deny", "now"),
    ("limits.mode = \"observe\"", "limits.mode", "now"),
    ("limits.message = \"1m\"", "limits.message", "now"),
    ("limits.origins = [\"https://a.example\"]", "limits.origins", "now"),
    ("admin.address = \"off\"", "admin.address", "later"),
    ("metrics.address = \"off\"", "metrics.address", "later"),
    ("log.level = \"warn\"", "log.level", "later"),
    ("log.format = \"json\"", "log.format", "later"),
    ("log.access = \"/a\"", "log.access", "later"),
    ("log.access_format = \"combined\"", "log.access_format", "later"),
    ("reload.watch = false", "reload.watch", "now"),
    ("reload.max_removed = \"9%\"", "reload.max_removed", "now"),
    ("health_path = \"/-/ready\"\nshutdown.ready_delay = \"1s\"", "shutdown.ready_delay", "now"),
    ("shutdown.spread = \"1s\"", "shutdown.spread", "now"),
    ("shutdown.deadline = \"1m\"", "shutdown.deadline", "now"),
    ("upgrade.linger = \"1h\"", "upgrade.linger", "now"),
    ("upgrade.spread = \"1h\"", "upgrade.spread", "now"),
    ("timeouts.first_byte = \"9s\"", "timeouts.first_byte", "now"),
    ("timeouts.tls_handshake = \"9s\"", "timeouts.tls_handshake", "now"),
    ("timeouts.unacked = \"9s\"", "timeouts.unacked", "later"),
    ("timeouts.half_close = \"9s\"", "timeouts.half_close", "now"),
];

/// The same of an upstream.
const KEYS_OF_UPSTREAM: &[(&str, &str)] = &[
    ("balance = \"random\"", "balance"),
    ("tls = {}", "tls"),
    ("send_proxy_protocol = \"v2\"", "send_proxy_protocol"),
    ("resolve = \"5s\"", "resolve"),
    ("resolve_forget = \"1h\"", "resolve_forget"),
    ("expand = true", "expand"),
    ("source = [\"127.0.0.1\"]", "source"),
    ("engine_io_path = \"/a\"", "engine_io_path"),
    ("max_handshakes = 5", "max_handshakes"),
    ("rebalance.max_skew = 1.25", "rebalance.max_skew"),
    ("rebalance.rate = \"9/m\"", "rebalance.rate"),
    ("rebalance.rest = \"1s\"", "rebalance.rest"),
    ("sticky.by = [\"cookie\"]", "sticky.by"),
    ("sticky.cookie = \"c\"", "sticky.cookie"),
    ("sticky.ttl = \"session\"", "sticky.ttl"),
    ("sticky.path = \"/p\"", "sticky.path"),
    ("sticky.domain = \"example.com\"", "sticky.domain"),
    ("sticky.same_site = \"strict\"", "sticky.same_site"),
    ("sticky.secure = true", "sticky.secure"),
    ("sticky.http_only = false", "sticky.http_only"),
    ("sticky.secure = true\nsticky.partitioned = true", "sticky.partitioned"),
    ("sticky.secret_file = \"/etc/secret\"", "sticky.secret_file"),
    ("sticky.on_down = \"fail\"", "sticky.on_down"),
    ("sticky.ip_hash.algorithm = \"nginx\"", "sticky.ip_hash.algorithm"),
    ("sticky.ip_hash.ipv4_prefix = 24", "sticky.ip_hash.ipv4_prefix"),
    ("sticky.ip_hash.bound = 1.25", "sticky.ip_hash.bound"),
    ("health.check = \"tcp\"", "health.check"),
    ("health.check = \"http\"", "health.path"),
    ("health.check = \"http\"\nhealth.expect = \"200, 3xx\"", "health.expect"),
    ("health.interval = \"2s\"", "health.interval"),
    ("health.fast_interval = \"300ms\"", "health.fast_interval"),
    ("health.timeout = \"2s\"", "health.timeout"),
    ("health.rise = 9", "health.rise"),
    ("health.fall = 9", "health.fall"),
    ("health.slow_start = \"0s\"", "health.slow_start"),
    ("health.panic_below = \"9%\"", "health.panic_below"),
    ("timeouts.send = \"9s\"", "timeouts.send"),
];

#[test]
fn every_key_is_named_with_both_values() {
    let plain = file("", "");
    let check = |new: &Config, written: &str, key: &str| {
        let changed = diff(&plain, new);
        let is_it = |change: &&Change| matches!(change.what, What::Key { key: of, .. } if of == key);
        let change = changed.changes.iter().find(is_it).unwrap_or_else(|| panic!("{written}: {changed}"));
        // The last key of the text is the one in question: its value is shown as it is written.
        let value = written.rsplit_once(" = ").unwrap().1;
        let What::Key { old, new, .. } = &change.what else { unreachable!() };
        assert!(key == "health.path" || key == "engine_io_path" || new.as_deref() == Some(value), "{change}");
        assert_ne!(old, new);
        change.clone()
    };
    for (written, key, effect) in KEYS {
        let change = check(&file(written, ""), written, key);
        assert_eq!(change.needs_restart(), *effect == "later", "{change}");
    }
    for (written, key) in KEYS_OF_UPSTREAM {
        let change = check(&file("", written), written, key);
        assert!(!change.needs_restart(), "{change}");
    }
}

#[test]
fn values_fit_into_a_line() {
    let odd = file("log.access = \"/a\\u001bb\\n\\\"\\\\\"", "");
    let shown = diff(&file("", ""), &odd).to_string();
    assert!(shown.starts_with(r#"log.access "auto" -> "/a\u001Bb\u000A\"\\" ("#), "{shown}");
}

#[test]
fn too_much_waits() {
    let names = |names: &str| {
        let one = |name: char| format!("{{ name = \"{name}\", address = \"{name}:1\" }}");
        format!("instances = [{}]", names.chars().map(one).collect::<Vec<_>>().join(", "))
    };
    let check = |old: &str, new: &str, max_removed: u8, expected: Option<&str>| {
        let why = diff(&file("", &names(old)), &file("", &names(new))).removes_too_much(max_removed);
        let expected = expected.map(|what| {
            format!("it removes {what}; `stickyd reload --yes` applies it all the same ([reload] max_removed = \"{max_removed}%\")")
        });
        assert_eq!(why, expected, "{old} -> {new}");
    };
    check("abcd", "ab", 50, None);
    check("abcd", "a", 50, Some("3 of 4 instances of upstream x"));
    check("ab", "a", 50, None);
    check("abc", "abcdefgh", 0, None);
    check("abc", "ab", 0, Some("1 of 3 instances of upstream x"));
    check("abc", "ab", 33, Some("1 of 3 instances of upstream x"));
    check("abc", "ab", 34, None);
    check("abc", "def", 99, Some("3 of 3 instances of upstream x"));
    check("abc", "def", 100, None);

    let two = "[upstream.y]\ninstances = [\"y:1\"]\nsticky.cookie = \"y\"\n[[route]]\npath = \"/y/*\"\nupstream = \"y\"\n\
               [[route]]\nupstream = \"x\"\n";
    let (two, one) = (file("", &format!("{}\n{two}", names("abcd"))), file("", &names("a")));
    let why = diff(&two, &one).removes_too_much(50).unwrap();
    assert!(why.starts_with("it removes 3 of 4 instances of upstream x, upstream y; "), "{why}");
    let why = diff(&two, &one).removes_too_much(100).unwrap();
    assert!(why.starts_with("it removes upstream y; "), "{why}");
    assert_eq!(diff(&one, &two).removes_too_much(0), None);
}

/// Any configuration of some of the keys above, with some instances.
fn some_config() -> impl Strategy<Value = Config> {
    let some = |most| prop::collection::btree_set(0..most, 0..4_usize);
    (some(KEYS.len()), some(KEYS_OF_UPSTREAM.len()), instances()).prop_filter_map(
        "not valid",
        |(top, of_upstream, instances)| {
            let mut seen = HashSet::new();
            let mut lines = |lines: Vec<&'static str>| -> String {
                let lines = lines.into_iter().flat_map(str::lines);
                lines
                    .filter(|line| seen.insert(line.split(" = ").next().unwrap_or(line)))
                    .fold(String::new(), |text, line| text + line + "\n")
            };
            let top = lines(top.into_iter().map(|index| KEYS[index].0).collect());
            let rest = lines(of_upstream.into_iter().map(|index| KEYS_OF_UPSTREAM[index].0).collect());
            // Some do not go together.
            let mut config = crate::config::parse(&text(&top, &rest), "x").ok()?.config;
            config.upstreams[0].instances = instances;
            Some(config)
        },
    )
}

proptest! {
    #[test]
    fn nothing_changed_is_nothing_to_say_and_the_other_way_round(old in some_config(), new in some_config()) {
        prop_assert!(diff(&old, &old).is_empty());
        let there = diff(&old, &new);
        prop_assert_eq!(there.is_empty(), old == new);
        prop_assert_eq!(there.to_string().lines().count(), there.changes.len());
        // The way back takes out what the way there brought in.
        let back = diff(&new, &old);
        let count = |diff: &Diff, what: &What| diff.changes.iter().filter(|change| change.what == *what).count();
        prop_assert_eq!(count(&there, &What::Added), count(&back, &What::Removed));
        prop_assert_eq!(count(&there, &What::Removed), count(&back, &What::Added));
        prop_assert_eq!(there.restarts().count(), back.restarts().count());
    }
}
