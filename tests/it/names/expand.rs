//! `expand`: each address of a name is an instance of its own. Who answers for the names is the test.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use stickyd::Resolver;
use stickyd::config::model::InstanceState;

use super::{NOBODY, QUICK};
use crate::lifecycle::{talks, tunnel};
use crate::support::process::Home;
use crate::support::{Answering, Instance, Message, Proxy, Socket, behind_one_name, eventually, ws};

/// What the resolver says of every name.
#[derive(Clone, Debug)]
enum Says {
    /// `127.0.0.N` for each N.
    These(Vec<u8>),
    /// That it does not work.
    Fails,
    /// Nothing, until it says something else.
    Hangs,
}

/// A resolver that says what the test wants.
#[derive(Clone, Debug)]
struct Zone(Arc<(Mutex<Says>, Condvar, AtomicUsize)>);

impl Zone {
    fn new(says: Says) -> Self {
        Zone(Arc::new((Mutex::new(says), Condvar::new(), AtomicUsize::new(0))))
    }

    fn of(addresses: &[u8]) -> Self {
        Self::new(Says::These(addresses.to_vec()))
    }

    fn says(&self, says: Says) {
        *self.0.0.lock().unwrap() = says;
        self.0.1.notify_all();
    }

    fn has(&self, addresses: &[u8]) {
        self.says(Says::These(addresses.to_vec()));
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.0.2.load(Ordering::SeqCst)
    }

    fn resolver(&self) -> Resolver {
        let zone = self.clone();
        Resolver::new(move |_| {
            let (says, changed, asked) = &*zone.0;
            asked.fetch_add(1, Ordering::SeqCst);
            let says = says.lock().unwrap();
            match &*changed.wait_while(says, |says| matches!(says, Says::Hangs)).unwrap() {
                Says::These(addresses) => Ok(addresses.iter().map(|n| address(*n)).collect()),
                Says::Fails | Says::Hangs => Err(io::Error::other("the resolver is ill")),
            }
        })
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        // Nobody is left hanging.
        if matches!(*self.0.0.lock().unwrap(), Says::Hangs) {
            self.says(Says::Fails);
        }
    }
}

fn address(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// An upstream `app` in which `app:PORT` is expanded; `more`: its keys, then sections.
fn expanding(port: u16, more: &str) -> String {
    format!(
        "[upstream.app]\nexpand = true\nbalance = \"round_robin\"\nsticky.by = []\ninstances = [\"app:{port}\"]\n{more}\n"
    )
}

fn member(port: u16, n: u8) -> String {
    format!("app:{port}@127.0.0.{n}")
}

/// Waits until there are so many instances.
#[track_caller]
fn has(proxy: &Proxy, instances: u64) {
    proxy.counts("stickyd_instance_state", &[("upstream", "app")], instances);
}

#[track_caller]
fn is(proxy: &Proxy, member: &str, state: &str) {
    proxy.counts("stickyd_instance_state", &[("instance", member), ("state", state)], 1);
}

fn switches(instances: [std::net::TcpListener; 3]) -> [Instance; 3] {
    instances.map(Instance::on)
}

/// Where the next tunnels go.
fn goes_to(proxy: &Proxy, all: &[&Instance], count: usize) -> Vec<usize> {
    let mut at: Vec<usize> = (0..count).map(|_| tunnel(proxy, all).2).collect();
    at.sort_unstable();
    at.dedup();
    at
}

/// Who answers the next requests.
fn who_answers(proxy: &Proxy, count: usize) -> Vec<String> {
    let answers: Vec<Message> = (0..count).map(|_| proxy.get("/", "")).collect();
    let mut names: Vec<String> = answers.iter().map(|answer| answer.text().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn addresses_come_and_go_and_the_others_notice_nothing() {
    let all = switches(behind_one_name());
    let port = all[0].address().port();
    let all: [&Instance; 3] = all.each_ref();
    let zone = Zone::of(&[1, 2]);
    let text = expanding(port, "resolve_forget = \"1s\"\ndrain.spread = \"0s\"");
    let proxy = Proxy::resolving(&text, zone.resolver());
    has(&proxy, 2);
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &all)).collect();
    let talk = |tunnels: &mut Vec<(Socket, Socket, usize)>| {
        for (client, far, _) in tunnels {
            talks(client, far);
        }
    };
    assert_eq!(tunnels.iter().map(|tunnel| tunnel.2).collect::<Vec<_>>(), [0, 1, 0, 1]);

    zone.has(&[3, 2, 1]);
    has(&proxy, 3);
    assert_eq!(goes_to(&proxy, &all, 6), [0, 1, 2]);
    talk(&mut tunnels);

    zone.has(&[3, 2]);
    is(&proxy, &member(port, 1), "cordon");
    assert_eq!(goes_to(&proxy, &all, 6), [1, 2]);
    talk(&mut tunnels);

    zone.has(&[1, 2, 3]);
    is(&proxy, &member(port, 1), "ready");
    assert_eq!(goes_to(&proxy, &all, 6), [0, 1, 2]);
    talk(&mut tunnels);

    zone.has(&[2, 3]);
    is(&proxy, &member(port, 1), "cordon");
    let missing = Instant::now();
    for (client, far, at) in &mut tunnels {
        if *at == 0 {
            ws::closed(client, far, 1012);
        }
    }
    assert!(missing.elapsed() > Duration::from_millis(700), "{:?}", missing.elapsed());
    has(&proxy, 2);
    tunnels.retain(|(.., at)| *at != 0);
    talk(&mut tunnels);
    assert_eq!(goes_to(&proxy, &all, 6), [1, 2]);
    assert_eq!(proxy.count("stickyd_config_reloads_total", &[]), 0, "nobody has reloaded anything");
}

#[test]
fn until_the_first_answer_there_is_no_instance() {
    let blue = Answering::start("blue");
    let port = blue.to_string().rsplit(':').next().unwrap().parse().unwrap();
    for sticky in [
        "by = []",
        "by = [\"sid\", \"cookie\", \"ip_hash\"]",
        "by = [\"cookie\"]\non_down = \"fail\"",
        "by = [\"header:x\", \"query:x\"]",
        "by = [\"ip_hash\"]\nip_hash = { algorithm = \"nginx\" }",
        "by = [\"ip_hash\"]\nip_hash = { bound = 1.25 }",
    ] {
        for balance in ["least_tunnels", "round_robin", "random"] {
            let zone = Zone::new(Says::Fails);
            let text = expanding(port, &format!("health.check = \"auto\"\n[upstream.app.sticky]\n{sticky}"))
                .replace("sticky.by = []\n", "")
                .replace("round_robin", balance);
            let proxy = Proxy::resolving(&text, zone.resolver());
            for request in [ws::handshake("/ws?x=1", "x: 1\r\n"), crate::support::engine_io::start("")] {
                let mut client = proxy.connect();
                client.send(request);
                let answer = client.answer();
                assert_eq!(
                    (answer.status(), answer.field("retry-after").as_deref()),
                    (503, Some("1")),
                    "{sticky}"
                );
            }
            assert_eq!(proxy.get("/?x=1", "x: 1\r\n").status(), 503, "{sticky}");
            proxy.counts_at_least("stickyd_dns_failures_total", &[("upstream", "app")], 1);
            proxy.counts("stickyd_upstream_panic", &[("upstream", "app")], 0);
            zone.has(&[1]);
            eventually("an answer", || (proxy.get("/?x=1", "x: 1\r\n").status() == 200).then_some(()));
        }
    }
}

/// Neither a start nor a stop waits for it, nor another upstream, nor an instance of which no name must be known.
#[test]
fn a_resolver_that_hangs_holds_nobody_up() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let zone = Zone::new(Says::Hangs);
    let names: Vec<String> = (0..100).map(|n| format!("\"app-{n}:80\"")).collect();
    let text = expanding(80, "").replace("\"app:80\"", &format!("\"{blue}\", {}", names.join(", ")))
        + &format!(
            "[upstream.other]\ninstances = [\"{green}\"]\n[[route]]\npath = \"/other\"\nupstream = \"other\"\n[[route]]\nupstream = \"app\"\n"
        );
    let began = Instant::now();
    let proxy = Proxy::resolving(&text, zone.resolver());
    assert_eq!(proxy.get("/other", "").text(), "green");
    assert_eq!(who_answers(&proxy, 3), ["blue"]);
    eventually("lookups", || (zone.asked() >= 32).then_some(()));
    proxy.reload(&text.replace("\"round_robin\"", "\"random\"")).unwrap();
    assert_eq!(who_answers(&proxy, 3), ["blue"]);
    assert_eq!(zone.asked(), 32, "so many at a time");
    proxy.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_lookup_that_fails_takes_nothing_away() {
    let [first, second] = behind_one_name();
    let port = first.local_addr().unwrap().port();
    let _all = [Answering::on(first, "one"), Answering::on(second, "two")];
    let zone = Zone::of(&[1, 2]);
    let proxy = Proxy::resolving(&expanding(port, "resolve_forget = \"1s\""), zone.resolver());
    has(&proxy, 2);
    for (says, failures) in [(Says::Fails, 2), (Says::These(vec![]), 2), (Says::Hangs, 0)] {
        let before = (zone.asked(), proxy.count("stickyd_dns_failures_total", &[]));
        zone.says(says);
        // Longer than an address may be missing.
        thread::sleep(Duration::from_millis(1200));
        proxy.counts_at_least("stickyd_dns_failures_total", &[], before.1 + failures);
        assert!(zone.asked() > before.0);
        assert_eq!(who_answers(&proxy, 4), ["one", "two"]);
        is(&proxy, &member(port, 1), "ready");
    }
    zone.has(&[2]);
    is(&proxy, &member(port, 1), "cordon");
}

#[test]
fn whoever_is_bound_to_an_address_that_is_missing_stays() {
    let [first, second] = behind_one_name();
    let port = first.local_addr().unwrap().port();
    let _all = [Answering::on(first, "1"), Answering::on(second, "2")];
    let zone = Zone::of(&[1, 2]);
    let text = expanding(port, "").replace("sticky.by = []", "sticky.by = [\"cookie\"]");
    let proxy = Proxy::resolving(&text, zone.resolver());
    has(&proxy, 2);
    let answer = proxy.get("/", "");
    let at: u8 = answer.text().parse().unwrap();
    let cookie = format!("Cookie: {}\r\n", answer.cookie("stickyd-app").unwrap().0);
    zone.has(&[3 - at]);
    is(&proxy, &member(port, at), "cordon");
    for _ in 0..4 {
        assert_eq!(proxy.get("/", &cookie).text(), at.to_string());
        assert_eq!(proxy.get("/", "").text(), (3 - at).to_string());
    }
}

#[test]
fn what_an_administrator_wants_of_a_member_stays_so() {
    let zone = Zone::of(&[1, 2]);
    let proxy = Proxy::resolving(&expanding(80, ""), zone.resolver());
    has(&proxy, 2);
    let one = member(80, 1);
    for (wants, present, missing) in [
        (InstanceState::Maintain, "maintain", "maintain"),
        (InstanceState::Cordon, "cordon", "cordon"),
        (InstanceState::Ready, "ready", "cordon"),
        (InstanceState::Drain, "drain", "drain"),
    ] {
        proxy.want(&one, wants);
        for _ in 0..2 {
            is(&proxy, &one, present);
            // The other one's state says when the answer was heard.
            zone.has(&[3]);
            is(&proxy, &member(80, 2), "cordon");
            is(&proxy, &one, missing);
            proxy.reload(&expanding(80, "max_handshakes = 7")).unwrap();
            is(&proxy, &one, missing);
            zone.has(&[1, 2]);
            is(&proxy, &member(80, 2), "ready");
        }
    }
    // Wanted while it is missing, so once it is back.
    zone.has(&[2]);
    is(&proxy, &one, "drain");
    proxy.want(&one, InstanceState::Ready);
    is(&proxy, &one, "cordon");
    zone.has(&[1, 2]);
    is(&proxy, &one, "ready");
}

#[test]
fn members_follow_their_name_over_reloads() {
    let all = switches(behind_one_name());
    let port = all[0].address().port();
    let all: [&Instance; 3] = all.each_ref();
    let zone = Zone::of(&[1, 2]);
    let proxy = Proxy::resolving(&expanding(port, ""), zone.resolver());
    has(&proxy, 2);
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(&proxy, &all)).collect();
    // From now on nothing is heard.
    zone.says(Says::Hangs);
    for more in [", weight = 3", ", name = \"blue\"", ", name = \"green\", max_tunnels = 9", ""] {
        let instance = format!("{{ address = \"app:{port}\"{more} }}");
        let text = expanding(port, "").replace(&format!("\"app:{port}\""), &instance);
        let difference = proxy.reload(&text).unwrap();
        assert!(!difference.contains("added") && !difference.contains("127.0.0."), "{difference}");
        has(&proxy, 2);
        assert_eq!(goes_to(&proxy, &all, 8), [0, 1]);
        for (client, far, _) in &mut tunnels {
            talks(client, far);
        }
    }
    // What the file wants of the name it wants of each.
    let drains = format!("{{ address = \"app:{port}\", state = \"drain\" }}");
    let text = expanding(port, "drain.spread = \"0s\"").replace(&format!("\"app:{port}\""), &drains);
    proxy.reload(&text).unwrap();
    is(&proxy, &member(port, 1), "drain");
    is(&proxy, &member(port, 2), "drain");
    for (client, far, _) in &mut tunnels {
        ws::expect_close(client, 1012, false);
        ws::expect_close(far, 1012, true);
    }
}

#[test]
fn what_a_reload_expands_is_looked_up_at_once() {
    let [first, second] = behind_one_name();
    let port = first.local_addr().unwrap().port();
    let _all = [Answering::on(first, "one"), Answering::on(second, "two")];
    let zone = Zone::of(&[1, 2]);
    let hourly = "resolve = \"1h\"";
    let text = expanding(port, hourly);
    let not = text.replace("expand = true", "expand = false").replace("\"app:", "\"127.0.0.1:");
    let proxy = Proxy::resolving(&not, zone.resolver());
    assert_eq!(who_answers(&proxy, 4), ["one"]);
    assert_eq!(zone.asked(), 0);
    proxy.reload(&text).unwrap();
    has(&proxy, 2);
    assert_eq!(who_answers(&proxy, 4), ["one", "two"]);
    assert_eq!(zone.asked(), 1, "as often as the file says");
    // Two ports of one name are one lookup, and a name that another upstream has too is another's.
    let twice = text.replace("\"app:", &format!("\"app:{}\", \"app:", port - 1));
    proxy.reload(&twice).unwrap();
    has(&proxy, 4);
    assert_eq!(zone.asked(), 1);
    // A word on `resolve` is heard at once.
    proxy.reload(&twice.replace(hourly, "resolve = \"1s\"")).unwrap();
    eventually("lookups", || (zone.asked() > 2).then_some(()));
    proxy.reload(&not).unwrap();
    eventually("the end of the others", || (proxy.count("stickyd_instance_state", &[]) == 1).then_some(()));
    let asked = zone.asked();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(zone.asked(), asked);
}

/// Whoever writes the zone does not decide how much memory is used here.
#[test]
fn there_is_room_for_so_many() {
    let addresses = |count: u32| (0..count).map(|n| IpAddr::from((0x7f01_0000 + n).to_be_bytes()));
    let resolver = Resolver::new(move |_| Ok(addresses(5000).collect()));
    let text = expanding(80, "").replace("[\"app:80\"]", "[\"10.0.0.1:80\", \"app:80\", \"app:81\"]");
    let proxy = Proxy::resolving(&text, resolver);
    has(&proxy, 999);
    proxy.reload(&text.replace("\"10.0.0.1:80\", ", "")).unwrap();
    has(&proxy, 1000);
}

/// The system's own resolver, by a process of its own; and what a command wants of a member outlives it.
#[test]
fn a_name_that_the_system_knows() {
    let blue = Answering::start("blue");
    let name = super::by_name(&blue);
    let home = Home::new();
    let file = home.write(
        "config.toml",
        &format!(
            "listen = \"127.0.0.1:0\"\nworkers = 1\n[upstream.app]\nexpand = true\ninstances = [\"{name}\", \"{NOBODY}\"]\n{QUICK}\
             [metrics]\naddress = \"off\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
        ),
    );
    let mut process = home.start(&["run", "--config", &file]);
    process.says(&["INFO", "a name has other addresses", "localhost", "127.0.0.1"]);
    process.says(&["INFO", "instance is up", &format!("{name}@127.0.0.1")]);
    process.says(&["WARN", "a name cannot be looked up: it has no instances yet", "x.invalid"]);
    let mut client = process.connect();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer().text(), "blue");

    let member = format!("app/{name}@127.0.0.1");
    // What is said, and whether a command from before the start is recalled.
    for (state, recalled) in [("cordon", false), ("cordon", true), ("resume", true), ("resume", false)] {
        process.says(&["INFO", "a name has other addresses", "127.0.0.1"]);
        let force = (state != "resume").then_some("--force");
        let (code, text) = home.run(&[&[state, &member][..], force.as_slice()].concat());
        assert_eq!((code, text.contains(&member)), (0, true), "{text}");
        let (_, plan) = home.run(&["reload", "--dry-run"]);
        assert!(!plan.contains("drained"), "{plan}");
        process.terminate();
        assert!(process.end().success());
        assert_eq!(process.said("wanted so before the restart"), usize::from(recalled), "before {state}");
        process = home.start(&["run", "--config", &file]);
        process.address();
    }
}
