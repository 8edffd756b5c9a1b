//! The table of sids under attack: memory has a bound, and sessions of others stay.
//!
//! Smaller than life, because every request of these builds costs half a millisecond; the table's own tests flood it with millions.

use std::thread;

use crate::support::Socket;
use crate::support::engine_io::{EngineIo, poll, sid_of, start};
use crate::support::process::{Home, Process};

/// `limits.sids`, the least that may be configured.
const TABLE: usize = 1000;
const HONEST: usize = 50;
/// Session starts of one flood.
const FLOOD: usize = 2 * TABLE;
/// Requests with sids that nobody ever gave out.
const INVENTED: usize = 4000;
/// Requests that are on their way at a time on one connection.
const PIPELINED: usize = 50;
/// What such a process may grow by, in kilobytes: a thousand sessions are about 200.
const GROWTH_MAX: u64 = 3000;

struct Site {
    process: Process,
    /// Honest sessions.
    sids: Vec<String>,
    _instances: [EngineIo; 2],
}

impl Site {
    fn new() -> Self {
        let instances = [EngineIo::start("blue"), EngineIo::start("green")];
        let [blue, green] = &instances;
        let home = Home::new();
        let file = home.write(
            "config.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.1\"]\n\
                 [upstream.app]\nbalance = \"round_robin\"\ninstances = [\"{blue}\", \"{green}\"]\n\
                 [upstream.app.sticky]\nby = [\"sid\"]\n\
                 [limits]\nsids = {TABLE}\n[metrics]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n"
            ),
        );
        let process = home.start(&["run", "--config", &file]);
        Site { process, sids: Vec::new(), _instances: instances }
    }

    fn count(&mut self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.process.scrape().sum(name, labels) as u64
    }

    fn begin_honest_sessions(&mut self) {
        let mut client = self.process.connect();
        for number in 0..HONEST {
            client.send(start(&format!("X-Forwarded-For: 198.51.100.{number}\r\n")));
            self.sids.push(sid_of(&client.answer()));
        }
        self.honest_sessions_are_served();
    }

    /// Each polls, and is answered by the instance that knows it.
    fn honest_sessions_are_served(&mut self) {
        let mut client = self.process.connect();
        for sid in &self.sids {
            client.send(poll(sid, "X-Forwarded-For: 203.0.113.1\r\n"));
            let got = client.answer();
            assert_eq!((got.status(), got.text()), (200, "6"), "{sid}");
        }
    }

    /// Sends `count` requests over two connections, while the honest sessions poll now and then. `request` is told its number.
    fn flood(&mut self, count: usize, expected: u16, request: impl Fn(usize) -> String + Sync) {
        let mut connections = [self.process.connect(), self.process.connect()];
        let rounds = 4;
        let part = count / rounds / connections.len();
        for round in 0..rounds {
            thread::scope(|scope| {
                for (at, connection) in connections.iter_mut().enumerate() {
                    let first = (round * 2 + at) * part;
                    let request = &request;
                    scope.spawn(move || pipeline(connection, first..first + part, expected, request));
                }
            });
            self.honest_sessions_are_served();
        }
    }
}

fn pipeline(
    connection: &mut Socket,
    numbers: std::ops::Range<usize>,
    expected: u16,
    request: impl Fn(usize) -> String,
) {
    let numbers: Vec<usize> = numbers.collect();
    for batch in numbers.chunks(PIPELINED) {
        let requests: Vec<String> = batch.iter().map(|number| request(*number)).collect();
        connection.send(requests.concat());
        for _ in batch {
            let got = connection.answer();
            assert_eq!(got.status(), expected, "{}", got.head);
        }
    }
}

#[test]
fn honest_sessions_stay_while_others_flood_the_table() {
    let mut site = Site::new();
    site.begin_honest_sessions();
    // One address: the share of the table that it may have is the most that it takes from others.
    site.flood(FLOOD, 200, |_| start("X-Forwarded-For: 192.0.2.1\r\n"));
    assert_eq!(site.count("stickyd_sids", &[]), TABLE as u64);
    let evicted = (HONEST + FLOOD - TABLE) as u64;
    assert_eq!(site.count("stickyd_sids_evicted_total", &[]), evicted);
    let before = site.process.memory();
    // Then as many addresses as there are requests.
    site.flood(FLOOD, 200, |number| {
        start(&format!("X-Forwarded-For: 10.{}.{}.1\r\n", number / 250, number % 250))
    });
    assert_eq!(site.count("stickyd_sids", &[]), TABLE as u64);
    assert_eq!(site.count("stickyd_sids_evicted_total", &[]), evicted + FLOOD as u64);
    let grown = site.process.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} kB");
    assert_eq!(site.count("stickyd_engine_io_unknown_sessions_total", &[]), 0);
}

#[test]
fn invented_sids_cost_nothing() {
    let mut site = Site::new();
    site.begin_honest_sessions();
    let invented = |number: usize| poll(&format!("{number}-{}", "x".repeat(300)), "");
    site.flood(INVENTED / 4, 400, invented);
    let before = site.process.memory();
    site.flood(INVENTED, 400, invented);
    let grown = site.process.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} kB");
    assert_eq!(site.count("stickyd_sids", &[]), HONEST as u64);
    assert_eq!(site.count("stickyd_sids_evicted_total", &[]), 0);
    let unknown = site.count("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "instance")]);
    assert_eq!(unknown, (INVENTED + INVENTED / 4) as u64);
}
