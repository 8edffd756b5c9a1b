//! Clients are moved to instances that were added, a few a second, those that are idle for longest first.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState::{Drain, Ready};

use super::talks;
use crate::support::{Instance, Proxy, Socket, eventually, ws};

/// Whoever comes goes where there are fewest tunnels.
const BY_LOAD: &str = "sticky.by = []\nbalance = \"least_tunnels\"";

/// An upstream of these, with these keys of `rebalance`. Clients are known by the addresses that they claim.
fn app(instances: &[&dyn Display], rebalance: &str) -> String {
    app_by(BY_LOAD, instances, rebalance)
}

fn app_by(sticky: &str, instances: &[&dyn Display], rebalance: &str) -> String {
    let instances: Vec<String> = instances.iter().map(ToString::to_string).collect();
    let instances: Vec<String> = instances
        .iter()
        .map(|one| if one.starts_with('{') { one.clone() } else { format!("\"{one}\"") })
        .collect();
    format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\nworkers = 2\n[upstream.app]\n{sticky}\n\
         drain.spread = \"4m\"\nrebalance = {{ {rebalance} }}\ninstances = [{}]\n",
        instances.join(", ")
    )
}

/// One of this weight.
fn weighing(instance: &Instance, weight: u32) -> String {
    format!("{{ address = \"{instance}\", weight = {weight} }}")
}

/// A client with a tunnel.
struct Client {
    number: u8,
    near: Socket,
    far: Socket,
    /// The number of its instance.
    at: usize,
    /// How often it was told to go.
    moves: u32,
}

impl Client {
    fn connect(proxy: &Proxy, instances: &[Instance], number: u8) -> Self {
        let mut near = proxy.connect();
        near.send(ws::handshake("/ws", &format!("X-Forwarded-For: 203.0.113.{number}\r\n")));
        let (mut far, at) = eventually("a connection", || {
            instances.iter().enumerate().find_map(|(at, instance)| Some((instance.try_accept()?, at)))
        });
        far.request();
        far.send(ws::switch(""));
        assert!(near.head().starts_with("HTTP/1.1 101 "));
        Client { number, near, far, at, moves: 0 }
    }

    fn is_told(&mut self) -> bool {
        self.near.has_at_once(4)
    }

    /// Says goodbye from both ends, and comes again.
    fn comes_again(&mut self, proxy: &Proxy, instances: &[Instance]) {
        ws::closed(&mut self.near, &mut self.far, 1012);
        self.near.ends();
        self.far.ends();
        let (was, moves) = (self.at, self.moves + 1);
        *self = Client { moves, ..Client::connect(proxy, instances, self.number) };
        assert_ne!(self.at, was, "it came back to where it had been");
    }
}

/// A proxy before three instances, of which the first two have had all clients so far, an equal number each.
struct Stage {
    instances: [Instance; 3],
    proxy: Proxy,
    clients: Vec<Client>,
}

impl Stage {
    /// The third is not in the file yet.
    fn with(rebalance: &str, clients: u8) -> Self {
        let instances = [Instance::start(), Instance::start(), Instance::start()];
        let proxy = Proxy::start(&app(&[&instances[0], &instances[1]], rebalance));
        let mut stage = Stage { instances, proxy, clients: vec![] };
        stage.come(0..clients);
        let half = usize::from(clients / 2);
        assert_eq!(stage.counts(), [half, half, 0]);
        stage
    }

    fn come(&mut self, numbers: Range<u8>) {
        for number in numbers {
            // Loads are what placement goes by.
            self.proxy.counts("stickyd_tunnels_open", &[], self.clients.len() as u64);
            self.clients.push(Client::connect(&self.proxy, &self.instances, number));
        }
    }

    fn grows(&self, rebalance: &str) {
        let [blue, green, red] = &self.instances;
        self.proxy.reload(&app(&[blue, green, red], rebalance)).unwrap();
    }

    /// Tunnels at each instance.
    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.clients.iter().filter(|client| client.at == at).count())
    }

    fn moved(&self) -> u64 {
        self.proxy.count("stickyd_tunnels_closed_total", &[("reason", "rebalanced"), ("code", "1012")])
    }

    fn moves(&self) -> u32 {
        self.clients.iter().map(|client| client.moves).sum()
    }

    /// Whoever is told to goes, until so many have.
    fn follow(&mut self, moves: u32) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.moves() < moves {
            assert!(Instant::now() < deadline, "{:?}", self.counts());
            for client in &mut self.clients {
                if client.is_told() {
                    client.comes_again(&self.proxy, &self.instances);
                }
            }
        }
    }

    /// There is another look, and nobody is told of anything.
    #[track_caller]
    fn nobody_moves(&mut self) {
        let before = self.moved();
        std::thread::sleep(Duration::from_millis(1300));
        assert_eq!(self.moved(), before);
        for client in &mut self.clients {
            talks(&mut client.near, &mut client.far);
        }
    }
}

#[test]
fn a_new_instance_gets_its_share_and_then_nobody_moves() {
    const KEYS: &str = "max_skew = 1.25, rate = \"50/s\"";
    let mut stage = Stage::with(KEYS, 12);
    stage.grows(KEYS);
    // A fair share is 4, of which 1.25 times is 5.
    stage.follow(2);
    assert_eq!(stage.counts(), [5, 5, 2]);
    stage.nobody_moves();
    assert_eq!(stage.moved(), 2);
}

#[test]
fn those_that_are_idle_for_longest_go_first_whichever_worker_has_them() {
    let mut stage = Stage::with("", 24);
    let mut expected = BTreeSet::new();
    for at in [0, 1] {
        let there = stage.clients.iter().filter(|client| client.at == at).map(|client| client.number);
        // Neither the first nor the last to come.
        expected.extend(there.skip(4).take(2));
    }
    for client in &mut stage.clients {
        if !expected.contains(&client.number) {
            talks(&mut client.near, &mut client.far);
        }
    }
    stage.grows("max_skew = 1.25");
    stage.follow(4);
    let moved: BTreeSet<u8> =
        stage.clients.iter().filter(|client| client.moves > 0).map(|client| client.number).collect();
    assert_eq!(moved, expected);
}

#[test]
fn it_keeps_to_its_rate() {
    let mut stage = Stage::with("", 12);
    stage.grows("max_skew = 1.01, rate = \"1/s\"");
    stage.follow(1);
    let first = Instant::now();
    stage.follow(2);
    let took = first.elapsed();
    assert!((600..4000).contains(&took.as_millis()), "{took:?}");
}

/// The third instance is to carry less from now on: of those that it has, who had been moved there stays, though it is idle for
/// longest.
#[test]
fn nobody_is_moved_twice_within_its_rest() {
    const KEYS: &str = "max_skew = 1.01, rate = \"50/s\"";
    let mut stage = Stage::with(KEYS, 12);
    stage.grows(KEYS);
    stage.follow(2);
    let [blue, green, red] = &stage.instances;
    let all = [weighing(blue, 1), weighing(green, 1), weighing(red, 9)];
    stage.proxy.reload(&app(&[&all[0], &all[1], &all[2]], "max_skew = \"off\"")).unwrap();
    let mut number = 100;
    while stage.counts()[2] < 6 {
        stage.come(number..number + 1);
        number += 1;
    }
    // Two were moved there.
    let fresh = stage.clients.iter().filter(|client| client.at == 2 && client.moves == 0).count();
    assert_eq!(fresh, 4);
    let [blue, green, red] = &stage.instances;
    let all = [weighing(blue, 50), weighing(green, 50), weighing(red, 1)];
    stage.proxy.reload(&app(&[&all[0], &all[1], &all[2]], KEYS)).unwrap();
    stage.follow(2 + fresh as u32);
    assert!(stage.clients.iter().all(|client| client.moves < 2));
}

#[test]
fn nobody_is_moved_unless_it_is_asked_for() {
    let mut stage = Stage::with("", 12);
    stage.grows("rate = \"50/s\"");
    stage.nobody_moves();
}

#[test]
fn a_drain_goes_first() {
    const KEYS: &str = "max_skew = 1.25, rate = \"50/s\"";
    let mut stage = Stage::with(KEYS, 12);
    stage.proxy.want(&stage.instances[1], Drain);
    stage.grows(KEYS);
    stage.nobody_moves();
    stage.proxy.want(&stage.instances[1], Ready);
    stage.follow(2);
}

/// As the README has it: clients that keep no cookie go by their address, past instances that are full.
#[test]
fn a_bound_hash_finds_those_that_have_room() {
    const STICKY: &str = "sticky.ip_hash.bound = 1.25";
    const KEYS: &str = "max_skew = 1.25, rate = \"50/s\"";
    let instances = [Instance::start(), Instance::start(), Instance::start()];
    let [blue, green, _] = &instances;
    let proxy = Proxy::start(&app_by(STICKY, &[blue, green], KEYS));
    let mut stage = Stage { instances, proxy, clients: vec![] };
    stage.come(0..24);
    let [blue, green, red] = &stage.instances;
    stage.proxy.reload(&app_by(STICKY, &[blue, green, red], KEYS)).unwrap();
    // A fair share is 8, of which 1.25 times is 10.
    let beyond = |stage: &Stage| stage.counts().iter().map(|count| count.saturating_sub(10)).sum::<usize>();
    assert!(beyond(&stage) >= 4);
    let deadline = Instant::now() + Duration::from_secs(15);
    while beyond(&stage) > 0 {
        assert!(Instant::now() < deadline, "{:?}", stage.counts());
        stage.follow(stage.moves() + 1);
    }
    assert!(stage.counts()[2] >= 4);
    assert!(stage.clients.iter().all(|client| client.moves < 2));
}
