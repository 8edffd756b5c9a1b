//! Engine.IO clients and instances that do everything wrong at once: nothing hangs, no count drifts, no worker panics, and whoever
//! does everything right is served.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use stickyd::tunnel::Reason;

use crate::support::engine_io::{UNKNOWN, answer, get, open_packet, poll, post, start, upgrade};
use crate::support::{Message, Proxy, Socket, noise, ws};

const CLIENTS: u32 = 6;
const ROUNDS: u32 = 60;
const TUNNELS_MAX: u64 = 30;

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
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [blue, green] = listeners.each_ref().map(|listener| {
        listener.set_nonblocking(true).unwrap();
        format!("{{ address = \"{}\", max_tunnels = {TUNNELS_MAX} }}", listener.local_addr().unwrap())
    });
    let proxy = Proxy::start(&format!(
        "workers = 2\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream.app]\ninstances = [{blue}, {green}]\nmax_handshakes = 2\n\
         [timeouts]\nclose_wait = \"100ms\"\nhalf_close = \"300ms\"\nupstream_idle = \"200ms\"\n\
         [upstream.app.rebalance]\nrest = \"1s\"\n"
    ));
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let instances = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let accepted: Vec<_> =
                    listeners.iter().filter_map(|listener| listener.accept().ok()).collect();
                if accepted.is_empty() {
                    thread::sleep(Duration::from_millis(1));
                }
                for (stream, peer) in accepted {
                    stream.set_nonblocking(false).unwrap();
                    scope.spawn(move || instance(Socket::of(stream), Dice(u32::from(peer.port()))));
                }
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let (proxy, served) = (&proxy, &served);
                scope.spawn(move || client(proxy, seed, served))
            })
            .collect();
        let mut orders = Dice(1);
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(15));
            let reasons = [Reason::Command, Reason::Rebalanced, Reason::Shutdown, Reason::Down];
            proxy.close_tunnels(reasons[orders.roll(reasons.len())]);
        }
        let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        for gauge in [
            "stickyd_connections_open",
            "stickyd_requests_open",
            "stickyd_tunnels_open",
            "stickyd_upgrades_in_flight",
            "stickyd_upgrades_queued",
        ] {
            proxy.counts(gauge, &[], 0);
        }
        over.store(true, Ordering::SeqCst);
        instances.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    let opened = proxy.count("stickyd_tunnels_opened_total", &[]);
    assert_eq!(proxy.count("stickyd_tunnels_closed_total", &[]), opened);
    let of = |name: &str, label: &str, value: &str| proxy.count(name, &[(label, value)]);
    let seen = [
        opened,
        served.load(Ordering::SeqCst) as u64,
        of("stickyd_sticky_decisions_total", "by", "sid"),
        of("stickyd_engine_io_unknown_sessions_total", "answered_by", "instance"),
        proxy.count("stickyd_sids_unreadable_total", &[]),
    ];
    assert!(seen.iter().all(|count| *count > 3), "the dice are loaded: {seen:?}");
}

/// One after the other, sessions of one client.
fn client(proxy: &Proxy, seed: u32, served: &AtomicUsize) {
    let mut dice = Dice(seed.wrapping_mul(7_919) + 1);
    let mut cookie = String::new();
    for _ in 0..ROUNDS {
        let fields = format!("X-Forwarded-For: 203.0.113.{}\r\n{cookie}", dice.roll(20));
        let mut socket = proxy.connect();
        if socket.try_send(start(&fields)).is_err() || dice.roll(12) == 0 {
            continue;
        }
        let Ok(got) = socket.try_answer() else { continue };
        if let Some((pair, _)) = got.cookie("stickyd-app") {
            cookie = format!("Cookie: {pair}\r\n");
        }
        if dice.roll(3) == 0 {
            cookie.clear();
        }
        let sid = got.text().strip_prefix("0{\"sid\":\"").and_then(|rest| rest.split('"').next());
        let sid = sid.unwrap_or("invented").to_owned();
        for _ in 0..dice.roll(5) {
            if !act(proxy, &mut socket, &sid, &fields, &mut dice, served) {
                break;
            }
        }
        if dice.roll(4) == 0 {
            socket.reset();
        }
    }
}

/// One request of a session; `false`: the connection is of no use any more.
fn act(
    proxy: &Proxy,
    socket: &mut Socket,
    sid: &str,
    fields: &str,
    dice: &mut Dice,
    served: &AtomicUsize,
) -> bool {
    let request = match dice.roll(8) {
        0..4 => poll(sid, fields),
        4 => post(sid, "4hello"),
        5 => return talk(proxy, upgrade(sid, fields), dice),
        6 => return talk(proxy, ws::handshake("/ws", fields), dice),
        _ => get("/events", fields),
    };
    if socket.try_send(request).is_err() {
        return false;
    }
    // It leaves; or sends the next one before it has read.
    if dice.roll(6) == 0 || (dice.roll(6) == 0 && socket.try_send(poll(sid, fields)).is_err()) {
        return false;
    }
    let Ok(got) = socket.try_answer() else { return false };
    let known: [(u16, &str); 8] = [
        (200, "6"),
        (200, "ok"),
        (200, "4hello"),
        (200, "data: 1\n\n"),
        (400, UNKNOWN),
        (502, "the instance ended the connection\n"),
        (503, "too many handshakes in flight\n"),
        (503, "every instance is full\n"),
    ];
    let told = (got.status(), got.text());
    let rubbish = got.status() == 502;
    assert!(rubbish || known.contains(&told), "{told:?}");
    served.fetch_add(usize::from(told == (200, "6")), Ordering::SeqCst);
    got.field("connection").as_deref() != Some("close")
}

/// A tunnel, or not.
fn talk(proxy: &Proxy, handshake: String, dice: &mut Dice) -> bool {
    let mut socket = proxy.connect();
    if socket.try_send(handshake).is_err() || dice.roll(8) == 0 {
        return true;
    }
    if socket.try_answer().is_ok_and(|got: Message| got.status() == 101) {
        let _ = socket.try_send(ws::Frame::masked(ws::TEXT, noise(dice.roll(200))).bytes());
        match dice.roll(4) {
            0 => drop(socket.try_send(ws::Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes())),
            1 => socket.half_close(),
            2 => drop(socket.rest()),
            _ => {}
        }
    }
    true
}

/// Answers, parks, breaks.
fn instance(mut proxy: Socket, mut dice: Dice) {
    while let Ok(request) = proxy.try_request() {
        let line = request.line().to_owned();
        let roll = dice.roll(16);
        let text = match roll {
            0 => return proxy.reset(),
            1 => return,
            2 => "rubbish\r\n\r\n".to_owned(),
            _ if request.field("upgrade").is_some() => match roll {
                3..6 => answer("", "6"),
                _ => ws::switch(""),
            },
            _ if line.contains("/events") => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
                head.to_owned() + "data: 1\n\n"
            }
            _ if line.starts_with("POST ") => answer("", "ok"),
            _ if line.contains("sid=invented") => answer("", UNKNOWN).replace("200 OK", "400 Bad Request"),
            // Parked: until one side has enough.
            3..7 if line.contains("sid=") => {
                proxy.rest();
                return;
            }
            // Less than it promised.
            7 if line.contains("sid=") => {
                drop(proxy.try_send(answer("", "4hello").replace("hello", "hel")));
                return;
            }
            _ if line.contains("sid=") => answer("", "6"),
            3 => answer("Content-Encoding: gzip\r\n", "6"),
            4 => answer("", "6"),
            _ => {
                let sid = dice.0.to_string();
                answer("Access-Control-Allow-Origin: *\r\n", &open_packet(&sid))
            }
        };
        let switched = text.starts_with("HTTP/1.1 101 ");
        if proxy.try_send(&text).is_err() || text.starts_with("rubbish") || text.contains("close\r\n") {
            return;
        }
        if switched {
            while proxy.has_more() {
                let bytes = proxy.taken();
                if proxy.try_send(bytes).is_err() || dice.roll(8) == 0 {
                    return;
                }
            }
            return;
        }
    }
}
