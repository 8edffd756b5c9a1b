//! Clients are moved to instances that were added, a few a second, those that are idle for longest first.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::{Duration, Instant};

use stickyd::config::model::InstanceState::{Drain, Ready};

use super::{talks, upstream};
use crate::support::{Instance, Proxy, Socket, eventually, ws};

/// These, clients by turn, and these keys of `rebalance`.
fn app(instances: &[&dyn Display], rebalance: &str) -> String {
    // Who comes next is known when each has its turn, and clients are told apart by addresses that they claim.
    format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n{}",
        upstream(instances, &format!("balance = \"round_robin\"\nsticky.by = []\nrebalance = {{ {rebalance} }}"))
            .replacen("balance = \"round_robin\"\nsticky.by = []\n", "", 1)
    )
}

/// A client with a tunnel.
struct Client {
    number: u8,
    near: Socket,
    far: Socket,
    /// The number of its instance.
    at: usize,
}

impl Client {
    fn connect(proxy: &Proxy, instances: &[&Instance], number: u8) -> Self {
        let mut near = proxy.connect();
        near.send(ws::handshake("/ws", &format!("X-Forwarded-For: 203.0.113.{number}\r\n")));
        let (mut far, at) = eventually("a connection", || {
            instances.iter().enumerate().find_map(|(at, instance)| Some((instance.try_accept()?, at)))
        });
        far.request();
        far.send(ws::switch(""));
        assert!(near.head().starts_with("HTTP/1.1 101 "));
        Client { number, near, far, at }
    }

    fn talks(&mut self) {
        talks(&mut self.near, &mut self.far);
    }

    fn is_told(&mut self) -> bool {
        self.near.has_at_once(4)
    }

    /// Says goodbye from both ends, which are told so.
    fn leaves(&mut self) {
        for (end, is_client) in [(&mut self.near, true), (&mut self.far, false)] {
            ws::expect_close(end, 1012, !is_client);
            end.send(ws::Frame::of(is_client, ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
        }
        self.near.ends();
        self.far.ends();
    }
}

fn clients(proxy: &Proxy, instances: &[&Instance], numbers: std::ops::Range<u8>) -> Vec<Client> {
    numbers.map(|number| Client::connect(proxy, instances, number)).collect()
}

/// Where those that are told come to.
fn follow(proxy: &Proxy, instances: &[&Instance], clients: &mut [Client], until: impl Fn(&[Client]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !until(clients) {
        assert!(Instant::now() < deadline, "{:?}", counts(clients));
        for client in &mut *clients {
            if client.is_told() {
                client.leaves();
                *client = Client::connect(proxy, instances, client.number);
            }
        }
    }
}

/// Tunnels at each instance.
fn counts(clients: &[Client]) -> [usize; 3] {
    [0, 1, 2].map(|at| clients.iter().filter(|client| client.at == at).count())
}

/// Two instances with twelve tunnels each, and a third that has come.
struct Stage {
    instances: [Instance; 3],
    proxy: Proxy,
    clients: Vec<Client>,
}

impl Stage {
    fn with(rebalance: &str) -> Self {
        let instances = [Instance::start(), Instance::start(), Instance::start()];
        let [blue, green, _] = &instances;
        let proxy = Proxy::start(&app(&[blue, green], rebalance));
        let clients = clients(&proxy, &[blue, green], 0..24);
        assert_eq!(counts(&clients), [12, 12, 0]);
        Stage { instances, proxy, clients }
    }

    fn grows(&self, rebalance: &str) {
        let [blue, green, red] = &self.instances;
        self.proxy.reload(&app(&[blue, green, red], rebalance)).unwrap();
    }

    fn follow(&mut self, until: impl Fn(&[Client]) -> bool) {
        let Stage { instances: [blue, green, red], proxy, clients } = self;
        follow(proxy, &[blue, green, red], clients, until);
    }

    fn moved(&self) -> u64 {
        self.proxy.count("stickyd_tunnels_closed_total", &[("reason", "rebalanced")])
    }

    /// Waits until there has been a look more, and another: nothing is closed by them.
    fn nothing_moves(&mut self) {
        std::thread::sleep(Duration::from_millis(2200));
        assert!(self.clients.iter_mut().all(|client| !client.is_told()), "somebody is told");
        self.clients.iter_mut().for_each(Client::talks);
    }
}
