//! The loads against the real instance, without a proxy; and against an instance that does wrong, which each load has
//! to notice: a benchmark that takes any answer measures nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use clap::Parser as _;

use crate::instance::Instance;
use crate::load::{self, hold::Kind};
use crate::record::Record;
use crate::{Command, http, websocket};

/// A served instance, stopped when dropped.
struct Served {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start() -> Served {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (tell, told) = mpsc::channel();
        let thread = Some(thread::spawn(move || {
            let instance = Instance::bind(&[free, free]).expect("two free ports");
            tell.send(instance.addresses()).expect("a test that waits");
            instance.serve(&stopped).expect("an instance that serves");
        }));
        let addresses = told.recv().expect("a bound instance");
        Served { addresses, stop, thread }
    }

    fn to(&self) -> String {
        format!("{},{}", self.addresses[0], self.addresses[1])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn load(line: &str) -> Result<Record> {
    let words = std::iter::once("harness").chain(line.split_whitespace());
    match Command::try_parse_from(words).expect("a command line") {
        Command::Echo(options) => load::echo::run(&options),
        Command::Http(options) => load::requests::run(&options),
        Command::Upgrade(options) => load::upgrades::run(&options),
        Command::Idle { hold, touch } => load::hold::run(&hold, Kind::Tunnel { touch }),
        Command::Keepalive(options) => load::hold::run(&options, Kind::KeepAlive),
        Command::Longpoll(options) => load::hold::run(&options, Kind::LongPoll),
        Command::Run(_) | Command::Instance { .. } => panic!("not a load"),
    }
}

#[test]
fn every_closed_loop_runs_without_errors() {
    let served = Served::start();
    let loads = [
        "echo --conns 8 --size 64",
        "echo --conns 2 --size 0",
        "echo --conns 2 --size 7",
        "echo --conns 4 --size 65536",
        "echo --conns 2 --size 1048576",
        "http --conns 4",
        "http --conns 4 --head browser",
        "upgrade --inflight 4",
    ];
    let me = std::process::id();
    for line in loads {
        let line = format!("{line} --warmup 0.05 --seconds 0.3 --to {} --proxy {me}", served.to());
        let record = load(&line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
        assert_eq!(record.get("errors"), Some(0.0), "{line}: {record}");
        assert!(record.get("ops").expect("a count") > 4.0, "{line}: {record}");
        assert!(record.get("cpu_us").expect("a figure") > 0.0, "{line}: {record}");
        assert!(record.get("p50_us") <= record.get("p99_us"), "{line}: {record}");
    }
}

#[test]
fn everything_that_is_held_is_at_the_instance() {
    let served = Served::start();
    for line in
        ["idle --tunnels 70", "idle --conns 40 --touch 20000", "keepalive --conns 50", "longpoll --conns 60"]
    {
        let at = served.addresses[0];
        let line = format!("{line} --hold 0.05 --to {} --instance-at {at}", served.to());
        let record = load(&line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
        assert_eq!(record.get("errors"), Some(0.0), "{line}: {record}");
    }
}

/// Accepts connections for ever and talks to each as `talk` does; ends with the process.
fn wrong(talk: fn(TcpStream) -> std::io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || talk(stream));
        }
    });
    address
}

fn switch(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut input = [0; 4096];
    let _ = stream.read(&mut input)?;
    let accept = websocket::accept(websocket::KEY.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
    stream.write_all(format!("{head}{accept}\r\n\r\n").as_bytes())
}

#[test]
fn an_echo_of_something_else_is_noticed() {
    let address = wrong(|mut stream| {
        switch(&mut stream)?;
        let mut input = [0; 4096];
        loop {
            let _ = stream.read(&mut input)?;
            // Right length, right opcode, another tunnel's bytes.
            stream.write_all(&websocket::frame(websocket::BINARY, &load::payload(77, 64), None))?;
        }
    });
    let error =
        load(&format!("echo --conns 1 --warmup 0 --seconds 0.2 --to {address}")).expect_err("an error");
    assert!(error.to_string().contains("differs"), "{error:#}");
    let record = load(&format!("idle --conns 1 --touch 64 --to {address}"));
    assert!(record.is_err());
}

#[test]
fn a_tunnel_that_starves_and_an_upgrade_that_fails_are_errors() {
    let silent = wrong(|mut stream| {
        switch(&mut stream)?;
        thread::sleep(std::time::Duration::from_secs(2));
        Ok(())
    });
    let error = load(&format!("echo --conns 2 --warmup 0 --seconds 0.2 --to {silent}")).expect_err("no echo");
    assert!(error.to_string().contains("2 errors"), "{error:#}");
    let refusing = wrong(|mut stream| {
        let _ = stream.read(&mut [0; 4096])?;
        stream.write_all(&http::ordinary(1))
    });
    let error = load(&format!("upgrade --inflight 1 --warmup 0 --seconds 0.2 --to {refusing}"));
    assert!(error.expect_err("no upgrade").to_string().contains("no operation was completed"));
    assert!(load(&format!("idle --conns 1 --to {refusing}")).is_err());
}

#[test]
fn a_client_that_is_moved_to_another_instance_is_noticed() {
    let address = wrong(|mut stream| {
        for number in [1, 1, 2] {
            let _ = stream.read(&mut [0; 4096])?;
            stream.write_all(&http::ordinary(number))?;
        }
        Ok(())
    });
    let error =
        load(&format!("http --conns 1 --warmup 0 --seconds 0.2 --to {address}")).expect_err("an error");
    assert!(error.to_string().contains("moved"), "{error:#}");
}
