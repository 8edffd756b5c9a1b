//! Where a new session goes: states and limits of instances, what they carry, and what becomes of bound clients.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;

use crate::support::engine_io::{
    EngineIo, answer, get, instance_of, open_packet, poll, sid_of, start, upgrade,
};
use crate::support::process::Home;
use crate::support::{Instance, Message, Proxy, Socket, ws};

const COOKIE: &str = "stickyd-app";

fn exchange(client: &mut Socket, request: &str) -> Message {
    client.send(request);
    client.answer()
}

/// Named instances of one upstream with their keys, a secret that outlives a proxy.
struct Park {
    instances: Vec<(&'static str, EngineIo)>,
    _home: Home,
    secret: String,
}

impl Park {
    fn new<const N: usize>(names: [&'static str; N]) -> Self {
        let home = Home::new();
        let secret = home.write("secret", &format!("{}\n", "0123456789abcdef".repeat(3)));
        let instances = names.map(|name| (name, EngineIo::start(name)));
        Park { instances: instances.into(), _home: home, secret }
    }

    /// In front of them; `keys`: more keys of each instance.
    fn proxy(&self, keys: &[&str], sticky: &str) -> Proxy {
        let mut instances = String::new();
        for ((name, instance), keys) in self.instances.iter().zip(keys) {
            write!(instances, "{{ name = \"{name}\", address = \"{instance}\", {keys} }}, ").unwrap();
        }
        Proxy::start(&format!(
            "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [{instances}]\n\
             [upstream.app.sticky]\n{sticky}\nsecret_file = \"{}\"\n",
            self.secret
        ))
    }

    /// A cookie for the instance of this name.
    fn cookie(&self, name: &str) -> String {
        let plain = vec!["weight = 1"; self.instances.len()];
        let proxy = self.proxy(&plain, "by = [\"cookie\"]");
        let mut answers = (0..100).map(|_| proxy.get("/", ""));
        let answer = answers.find(|answer| instance_of(answer) == name).unwrap();
        answer.cookie(COOKIE).unwrap().0
    }
}

#[test]
fn what_the_state_of_an_instance_lets_in() {
    let park = Park::new(["blue", "green"]);
    let cookie = format!("Cookie: {}\r\n", park.cookie("blue"));
    // Where a bound client's requests go (a start, an upgrade, a plain request, a session that is not known), and why elsewhere.
    let check = |state: &str, expected: [&str; 4], reason: &str| {
        let proxy = park.proxy(&[&format!("state = \"{state}\""), "weight = 1"], "");
        let requests =
            [start(&cookie), ws::handshake("/ws", &cookie), get("/", &cookie), poll("nobody", &cookie)];
        let mut moved = 0;
        for (request, expected) in requests.iter().zip(expected) {
            let got = exchange(&mut proxy.connect(), request);
            assert_eq!(instance_of(&got), expected, "{state}: {request}");
            // Who is placed elsewhere is bound there; nobody else hears of it, and no request of a session.
            let bound = expected != "blue" && !request.contains("sid=");
            assert_eq!(got.cookie(COOKIE).is_some(), bound, "{state}: {request}");
            moved += u64::from(expected != "blue");
        }
        proxy.counts("stickyd_sticky_rebinds_total", &[], moved);
        proxy.counts("stickyd_sticky_rebinds_total", &[("reason", reason)], moved);
        // Nobody new, whatever the address.
        for number in 0..20 {
            let address = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
            let to = instance_of(&exchange(&mut proxy.connect(), &start(&address)));
            assert!(state == "ready" || to == "green", "{state} {number}");
        }
    };
    check("ready", ["blue"; 4], "none");
    check("cordon", ["blue"; 4], "none");
    check("drain", ["green", "green", "blue", "blue"], "drain");
    check("maintain", ["green"; 4], "maintenance");
}

#[test]
fn a_backup_serves_when_no_other_can() {
    let mut park = Park::new(["main", "spare"]);
    let proxy = park.proxy(&["max_tunnels = 2", "backup = true"], "");
    let mut starts = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect();
        let got = exchange(&mut client, &start(""));
        starts.push((instance_of(&got), sid_of(&got)));
    }
    let places: Vec<&str> = starts.iter().map(|(place, _)| &**place).collect();
    assert_eq!(places, ["main", "main", "spare", "spare"], "the main one is full");
    assert_eq!(instance_of(&proxy.get("/", "")), "main", "what is no start needs no room");
    park.instances[0].1.instance.stop();
    for _ in 0..3 {
        assert_eq!(instance_of(&proxy.get("/", "")), "spare");
    }
    // The sessions of the backup are its own.
    for (place, sid) in starts {
        let got = exchange(&mut proxy.connect(), &poll(&sid, ""));
        assert_eq!(got.status(), if place == "spare" { 200 } else { 400 });
    }
}

#[test]
fn a_full_instance_passes_its_clients_on() {
    let park = Park::new(["blue", "green"]);
    let cookie = format!("Cookie: {}\r\n", park.cookie("blue"));
    let proxy = park.proxy(&["max_tunnels = 2", "max_tunnels = 1"], "by = [\"sid\", \"cookie\"]");
    let mut open = Vec::new();
    let mut begin = |request: String| {
        let mut client = proxy.connect();
        let got = exchange(&mut client, &request);
        open.push(client);
        got
    };
    let first = begin(start(&cookie));
    assert_eq!(instance_of(&first), "blue");
    assert_eq!(instance_of(&begin(ws::handshake("/ws", &cookie))), "blue");
    let moved = begin(start(&cookie));
    assert_eq!(instance_of(&moved), "green");
    proxy.counts("stickyd_sticky_rebinds_total", &[("reason", "full")], 1);
    assert!(moved.cookie(COOKIE).is_some());
    // Now all are full.
    for (times, request) in (1..).zip([start(&cookie), start(""), ws::handshake("/ws", "")]) {
        let got = begin(request);
        assert_eq!((got.status(), got.field("retry-after").as_deref()), (503, Some("1")));
        assert_eq!((got.text(), got.values("set-cookie").len()), ("every instance is full\n", 0));
        proxy.counts("stickyd_limit_hits_total", &[("limit", "max_tunnels")], times);
    }
    // What needs no room is served, and who is there stays.
    assert_eq!(instance_of(&begin(get("/", &cookie))), "blue");
    assert_eq!(begin(poll(&sid_of(&first), "")).status(), 200);
    // The session counts already: the tunnel takes its place.
    assert_eq!(begin(upgrade(&sid_of(&first), "")).status(), 101);
    assert_eq!(begin(start(&cookie)).status(), 503);
    proxy.counts("stickyd_tunnels_open", &[], 2);
    // Places come back with the end of a tunnel.
    drop(open);
    proxy.counts("stickyd_tunnels_open", &[], 0);
    for _ in 0..2 {
        let mut client = proxy.connect();
        assert_eq!(instance_of(&exchange(&mut client, &start(&cookie))), "blue");
    }
    assert_eq!(proxy.get("/socket.io/?EIO=4&transport=polling", &cookie).status(), 503);
}

/// Its tunnel has ended, its place is taken, and its client goes back to polling.
#[test]
fn an_upgrade_within_a_session_finds_its_instance_full() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [{{ address = \"{instance}\", max_tunnels = 1 }}]\n"
    ));
    let mut client = proxy.connect();
    client.send(start(""));
    let mut far = instance.accept();
    far.request();
    far.send(answer("", &open_packet("abc")));
    client.answer();
    let tunnel = |request: String| {
        let mut client = proxy.connect();
        client.send(request);
        let mut far = instance.accept();
        far.request();
        far.send(ws::switch(""));
        assert_eq!(client.answer().status(), 101);
        (client, far)
    };
    drop(tunnel(upgrade("abc", "")));
    proxy.counts("stickyd_tunnels_open", &[], 0);
    let _other = tunnel(ws::handshake("/ws", ""));
    let mut late = proxy.connect();
    let got = exchange(&mut late, &upgrade("abc", ""));
    assert_eq!((got.status(), got.text()), (503, "every instance is full\n"));
    instance.saw_nothing();
    client.send(poll("abc", ""));
    far.request();
    far.send(answer("", "6"));
    assert_eq!(client.answer().text(), "6");
}

/// The regression: the proxy chose the full instance again and again, for ever, and took all memory.
#[test]
fn an_invented_sid_opens_no_door() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [{{ address = \"{instance}\", max_tunnels = 2 }}]\n"
    ));
    let mut open = Vec::new();
    for number in 0..2 {
        let mut client = proxy.connect();
        client.send(upgrade(&format!("invented-{number}"), ""));
        let mut far = instance.accept();
        far.request();
        far.send(ws::switch(""));
        assert_eq!(client.answer().status(), 101);
        open.push((client, far));
    }
    for number in 2..5 {
        let got = exchange(&mut proxy.connect(), &upgrade(&format!("invented-{number}"), ""));
        assert_eq!(got.status(), 503);
    }
    instance.saw_nothing();
}

#[test]
fn no_instance_ever_gets_more_tunnels_than_it_may() {
    check_never_more("\"off\"");
}

/// There was room when they began to wait for their turn.
#[test]
fn whoever_had_to_wait_for_its_turn_does_not_make_it_one_more() {
    check_never_more("1");
}

/// Many come at once to two instances, over two workers.
fn check_never_more(max_handshakes: &str) {
    const MOST: usize = 5;
    let park = Park::new(["blue", "green"]);
    let proxy = {
        let instances = park.instances.iter().fold(String::new(), |mut text, (name, instance)| {
            write!(text, "{{ name = \"{name}\", address = \"{instance}\", max_tunnels = {MOST} }}, ")
                .unwrap();
            text
        });
        Proxy::start(&format!(
            "workers = 2\n[upstream.app]\nmax_handshakes = {max_handshakes}\ninstances = [{instances}]\n\
             [upstream.app.sticky]\nby = []\n"
        ))
    };
    let tried: Vec<(Socket, u16)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut clients: Vec<_> = (0..15).map(|_| proxy.connect()).collect();
                    for client in &mut clients {
                        client.send(ws::handshake("/ws", ""));
                    }
                    let answered = clients.into_iter().map(|mut client| {
                        let status = client.answer().status();
                        (client, status)
                    });
                    answered.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let opened = tried.iter().filter(|(_, status)| *status == 101).count();
    assert_eq!(tried.iter().filter(|(_, status)| *status == 503).count(), tried.len() - opened);
    // Of those that came for the last place at once, all may have been refused.
    let mut late = Vec::new();
    while late.len() + opened < 2 * MOST {
        let mut client = proxy.connect();
        assert_eq!(exchange(&mut client, &ws::handshake("/ws", "")).status(), 101);
        late.push(client);
    }
    assert_eq!(exchange(&mut proxy.connect(), &ws::handshake("/ws", "")).status(), 503);
    for (name, instance) in &park.instances {
        assert_eq!(instance.instance.requests().len(), MOST, "{name}");
        proxy.counts("stickyd_tunnels_open", &[("instance", name)], MOST as u64);
    }
    drop((tried, late));
    proxy.counts("stickyd_tunnels_open", &[], 0);
    assert_eq!(exchange(&mut proxy.connect(), &ws::handshake("/ws", "")).status(), 101);
}

/// 300 clients behind one address.
#[test]
fn a_bound_spreads_the_clients_of_one_address_and_keeps_each() {
    const CLIENTS: usize = 300;
    let park = Park::new(["a", "b", "c"]);
    let proxy = park.proxy(&["weight = 1"; 3], "ip_hash = { bound = 1.25 }");
    let mut client = proxy.connect();
    let mut begun = Vec::new();
    let mut spread = BTreeMap::<String, usize>::new();
    for number in 1..=CLIENTS {
        let got = exchange(&mut client, &start("X-Forwarded-For: 203.0.113.1\r\n"));
        *spread.entry(instance_of(&got)).or_default() += 1;
        // ceil(1.25 * number / 3)
        let most = (5 * number).div_ceil(12);
        assert!(spread.values().all(|count| *count <= most), "{number}: {spread:?}");
        begun.push((instance_of(&got), sid_of(&got), got.cookie(COOKIE).unwrap().0));
    }
    assert!(spread.len() == 3 && spread.values().max() == Some(&125), "{spread:?}");
    for (instance, sid, cookie) in &begun {
        let address = "X-Forwarded-For: 198.51.100.9\r\n";
        assert_eq!(&instance_of(&exchange(&mut client, &poll(sid, address))), instance);
        let by_cookie = get("/", &format!("{address}Cookie: {cookie}\r\n"));
        assert_eq!(&instance_of(&exchange(&mut client, &by_cookie)), instance);
    }
    // A bound client begins where it is bound, however many are there.
    let crowded = spread.iter().max_by_key(|(_, count)| **count).unwrap().0;
    let (_, _, cookie) = begun.iter().find(|(instance, _, _)| instance == crowded).unwrap();
    let again = exchange(&mut client, &start(&format!("Cookie: {cookie}\r\n")));
    assert_eq!(&instance_of(&again), crowded);
}

/// What counts is what an instance carries: tunnels, sessions that poll, handshakes that are not answered yet.
#[test]
fn the_next_client_goes_where_the_least_is_carried() {
    let instances = [Instance::start(), Instance::start()];
    let [blue, green] = &instances;
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{blue}\", \"{green}\"]\n[upstream.app.sticky]\nby = [\"sid\"]\n"
    ));
    let accept = || {
        let at = |at: usize| instances[at].try_accept().map(|far: Socket| (far, at));
        crate::support::eventually("a connection", || at(0).or_else(|| at(1)))
    };
    let mut carried = [0_usize; 2];
    let mut open = Vec::new();
    for number in 0..30 {
        let mut client = proxy.connect();
        client.send(if number % 3 == 1 { ws::handshake("/ws", "") } else { start("") });
        let (mut far, at) = accept();
        far.request();
        assert!(carried[at] <= carried[1 - at], "{number}: to {at} with {carried:?}");
        carried[at] += 1;
        match number % 3 {
            // A session that polls.
            0 => {
                far.send(answer("Connection: close\r\n", &open_packet(&number.to_string())));
                client.answer();
                far.is_gone();
            }
            // A tunnel.
            1 => {
                far.send(ws::switch(""));
                client.answer();
            }
            // In flight.
            _ => {}
        }
        open.push((client, far));
    }
    assert_eq!(carried, [15, 15]);
}
