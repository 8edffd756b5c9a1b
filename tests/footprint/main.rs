//! What things cost at rest and per message, in allocations: gates that depend on no clock and no neighbour.
//!
//! A binary of its own, because it counts every allocation of the process: the proxy is the only thing in it that allocates
//! while a gate counts. Numbers are requested bytes; what the allocator and the kernel add is measured by `benches/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod tls;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use stickyd::{Running, Surroundings};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of each kind; enough that what exists once does not show.
const MANY: usize = 200;

struct Setup {
    running: Running,
    proxy: SocketAddr,
    instance: TcpListener,
}

/// `more`: sections of the configuration.
fn setup(more: &str) -> Setup {
    setup_at("listen = \"127.0.0.1:0\"\n", more)
}

fn setup_at(listen: &str, more: &str) -> Setup {
    let instance = TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!(
        "{listen}workers = 1\n[upstream.app]\ninstances = [\"{}\"]\nhealth.check = \"off\"\n[metrics]\naddress = \"off\"\n\
         [log]\naccess = \"off\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n{more}",
        instance.local_addr().unwrap()
    );
    let config = stickyd::config::parse(&toml, "test").unwrap_or_else(|report| panic!("{report}")).config;
    let running = stickyd::start(config, &Surroundings::default(), None).unwrap();
    let proxy = running.listeners()[0].1.unwrap();
    Setup { running, proxy, instance }
}

impl Setup {
    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.proxy).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn accept(&self) -> TcpStream {
        let instance = self.instance.accept().unwrap().0;
        instance.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        instance.set_nodelay(true).unwrap();
        instance
    }

    /// Bytes that each of [`MANY`] things holds at rest, which `make` makes so many of at a time.
    fn held_by_many<T>(&self, make: impl Fn(&Self) -> T) -> usize {
        let warm = make(self);
        settle();
        let region = Region::new(ALLOCATOR);
        let things = make(self);
        settle();
        let change = region.change();
        drop((warm, things));
        (change.bytes_allocated - change.bytes_deallocated) / MANY
    }

    /// Bytes that each of [`MANY`] things made by `make` holds at rest. The vector is part of no count.
    fn held<T>(&self, make: impl Fn(&Self) -> T) -> usize {
        // What exists once (buffers, tables, the first turn of everything) exists after this.
        let warm: Vec<T> = (0..MANY).map(|_| make(self)).collect();
        let mut things = Vec::with_capacity(MANY);
        settle();
        let region = Region::new(ALLOCATOR);
        for _ in 0..MANY {
            things.push(make(self));
        }
        settle();
        let change = region.change();
        drop(warm);
        (change.bytes_allocated - change.bytes_deallocated) / MANY
    }
}

/// Waits until the proxy does nothing any more: until two looks find the same.
fn settle() {
    loop {
        let region = Region::new(ALLOCATOR);
        std::thread::sleep(Duration::from_millis(50));
        if region.change().allocations == 0 {
            return;
        }
    }
}

/// Reads up to the empty line of a head.
fn head(stream: &mut impl Read) {
    let mut last = [0; 4];
    while &last != b"\r\n\r\n" {
        last.rotate_left(1);
        stream.read_exact(&mut last[3..]).unwrap();
    }
}

const UPGRADE: &[u8] =
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn tunnel(setup: &Setup) -> (TcpStream, TcpStream) {
    let mut client = setup.connect();
    client.write_all(UPGRADE).unwrap();
    let mut instance = setup.accept();
    head(&mut instance);
    instance.write_all(SWITCH).unwrap();
    head(&mut client);
    (client, instance)
}

/// With all that is known of its session.
fn poll(setup: &Setup) -> (TcpStream, TcpStream) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let sid = format!("lv_VI97HAXpY6y{:06}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut client = setup.connect();
    client.write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    let mut instance = setup.accept();
    head(&mut instance);
    let packet = format!("0{{\"sid\":\"{sid}\",\"pingInterval\":25000,\"pingTimeout\":20000}}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: {}\r\n\r\n",
        packet.len()
    );
    instance.write_all((answer + &packet).as_bytes()).unwrap();
    head(&mut client);
    client.read_exact(&mut vec![0; packet.len()]).unwrap();
    let poll = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: app\r\n\r\n");
    client.write_all(poll.as_bytes()).unwrap();
    let mut instance = setup.accept();
    head(&mut instance);
    (client, instance)
}

fn kept(setup: &Setup) -> TcpStream {
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let mut client = setup.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    let mut instance = setup.accept();
    head(&mut instance);
    instance.write_all(ANSWER).unwrap();
    head(&mut client);
    client
}

/// One test, because the gates count the whole process and would count each other.
#[test]
fn footprint() {
    let pinging = setup("[timeouts]\nping = \"1h\"\n");
    let setup = setup("");
    let mut failed = Vec::new();
    let mut gate = |what: &str, measured: usize, allowed: usize| {
        println!("{what}: {measured} (at most {allowed})");
        if measured > allowed {
            failed.push(format!("{what}: {measured}, at most {allowed}"));
        }
    };

    // From one run to the next they differ by some 20 bytes: a gate nearer than that would fail by chance.
    gate("bytes of an idle tunnel", setup.held(tunnel), 1_200);
    // What its pings need stands in a box of its own.
    gate("bytes of an idle tunnel whose client is pinged", pinging.held(tunnel), 1_300);
    // Of which some 105 are its session's in the table. What the tunnels before it give back meanwhile, as they end, counts in its
    // favour, some 30 bytes more or less by what else changes.
    gate("bytes of a pending long-poll", setup.held(poll), 2_090);
    gate("bytes of an idle keep-alive connection", setup.held(kept), 800);

    let secure = tls::setup();
    gate(
        "bytes of an idle wss tunnel",
        secure.setup.held_by_many(|setup| tls::tunnels(setup, &secure)),
        3_700,
    );

    let (mut client, mut instance) = tunnel(&setup);
    let mut frame = vec![0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4];
    frame.resize(8 + 256, 7);
    let mut got = vec![0; frame.len()];
    let mut pass = |messages: usize| {
        for _ in 0..messages {
            client.write_all(&frame).unwrap();
            instance.read_exact(&mut got).unwrap();
            instance.write_all(&frame).unwrap();
            client.read_exact(&mut got).unwrap();
        }
    };
    pass(10);
    settle();
    let region = Region::new(ALLOCATOR);
    pass(1_000);
    // Not one in a hundred: a timer's slot may come up meanwhile.
    gate("allocations of 2000 forwarded messages", region.change().allocations, 20);

    setup.running.stop();
    pinging.running.stop();
    secure.setup.running.stop();
    assert!(failed.is_empty(), "{failed:#?}");
}
