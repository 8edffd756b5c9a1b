//! Clients and instances that do everything wrong at once: nothing hangs, nothing is lost to the count, no worker panics, and
//! who does everything right is served.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ws::{self, BINARY, Frame};
use crate::support::{Proxy, Socket, noise};

/// What a request asks of the instance.
const PATHS: [&str; 9] =
    ["/ok", "/chunked", "/until-close", "/close", "/reset", "/half", "/rubbish", "/early", "/ws"];
const CLIENTS: u32 = 6;
const ROUNDS: u32 = 60;

/// Decisions that are the same in every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize % sides
    }
}

#[test]
fn everything_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let proxy = Proxy::start(&format!(
        "workers = 2\n[upstream.app]\ninstances = [\"{}\"]\n[timeouts]\nclose_wait = \"200ms\"\nhalf_close = \"500ms\"\n\
         upstream_idle = \"200ms\"\n",
        listener.local_addr().unwrap()
    ));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        scope.spawn(|| instance(Socket::of(stream)));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                scope.spawn({
                    let proxy = &proxy;
                    move || client(proxy, seed)
                })
            })
            .collect();
        let orders = scope.spawn(|| {
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(20));
                proxy.close_tunnels(stickyd::tunnel::Reason::Rebalanced);
            }
        });
        let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        orders.join().unwrap();
        proxy.counts("stickyd_connections_open", &[], 0);
        proxy.counts("stickyd_requests_open", &[], 0);
        proxy.counts("stickyd_tunnels_open", &[], 0);
        let last = proxy.get("/ok", "");
        over.store(true, Ordering::SeqCst);
        assert_eq!(last.text(), "fine");
        assert!(results.iter().all(Result::is_ok));
    });
    let opened = proxy.count("stickyd_tunnels_opened_total", &[]);
    assert!(opened > 10, "only {opened} tunnels: the dice are loaded");
    assert_eq!(proxy.count("stickyd_tunnels_closed_total", &[]), opened);
}

fn client(proxy: &Proxy, seed: u32) {
    let mut dice = Dice(seed.wrapping_mul(7_919) + 1);
    for _ in 0..ROUNDS {
        let mut socket = proxy.connect();
        for _ in 0..=dice.roll(3) {
            if !act(&mut socket, &mut dice) {
                break;
            }
        }
        if dice.roll(4) == 0 {
            socket.reset();
        }
    }
}

/// One request of whatever kind; `true`: the connection can be used again.
fn act(socket: &mut Socket, dice: &mut Dice) -> bool {
    let path = PATHS[dice.roll(PATHS.len())];
    let length = dice.roll(3) * 40_000;
    if path == "/ws" {
        return talk(socket, dice);
    }
    let head = format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n");
    let sent = match dice.roll(8) {
        // Half a head, and then it leaves.
        0 => {
            let _ = socket.try_send(&head[..head.len() / 2]);
            false
        }
        1 => socket.try_send(head).and_then(|()| socket.try_send(noise(length / 2))).is_ok() && length == 0,
        2 => socket.try_send(head.replace("Host: app", "Host : app")).is_ok(),
        _ => socket.try_send(head).and_then(|()| socket.try_send(noise(length))).is_ok(),
    };
    if !sent || dice.roll(6) == 0 || path == "/half" {
        return false;
    }
    match socket.try_answer() {
        Ok(answer) if path == "/ok" && answer.status() == 200 => {
            assert_eq!(answer.text(), "fine");
            answer.field("connection").as_deref() != Some("close")
        }
        Ok(answer) => answer.field("connection").as_deref() != Some("close"),
        Err(_) => false,
    }
}

fn talk(socket: &mut Socket, dice: &mut Dice) -> bool {
    if socket.try_send(ws::handshake("/ws", "")).is_err() {
        return false;
    }
    let Ok(answer) = socket.try_answer() else { return false };
    if answer.status() != 101 {
        return answer.field("connection").as_deref() != Some("close");
    }
    for _ in 0..dice.roll(5) {
        let frame = Frame::masked(BINARY, noise(dice.roll(70_000))).bytes();
        let sent = if dice.roll(5) == 0 { &frame[..frame.len() / 2] } else { &frame[..] };
        if socket.try_send(sent).is_err() || sent.len() < frame.len() {
            break;
        }
    }
    match dice.roll(3) {
        0 => drop(socket.try_send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes())),
        1 => socket.half_close(),
        _ => {}
    }
    false
}

/// Does what each request asks for.
fn instance(mut proxy: Socket) {
    while let Ok(head) = proxy.try_head() {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if path != "/early" {
            if !proxy.has_at_least(length) {
                return;
            }
            proxy.exactly(length);
        }
        let answer: &[u8] = match &*path {
            "/ok" => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            "/chunked" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX: y\r\n\r\n"
            }
            "/until-close" => b"HTTP/1.1 200 OK\r\n\r\nfine",
            "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "/rubbish" => b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfine",
            "/early" => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            "/ws" => return echo(proxy),
            "/reset" => return proxy.reset(),
            _ => return,
        };
        if proxy.try_send(answer).is_err() || !matches!(&*path, "/ok" | "/chunked") {
            return;
        }
    }
}

/// Sends back whatever comes, frames or not, until the end.
fn echo(mut proxy: Socket) {
    if proxy.try_send(ws::switch("")).is_err() {
        return;
    }
    while proxy.has_more() {
        let bytes = proxy.taken();
        if proxy.try_send(bytes).is_err() {
            return;
        }
    }
}
