use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::config;

/// What an instance saw until the check was over.
struct Seen {
    heard: Vec<Event>,
    /// All that it was sent, over all connections.
    requests: Vec<String>,
}

/// Checks an instance that does with each connection what `serve` says; `health`: keys of the table.
fn check(health: &str, serve: fn(&mut TcpStream, &mut String)) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let instance = thread::Builder::new().spawn(move || {
        let mut requests = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            serve(&mut stream, &mut request);
            let mut rest = Vec::new();
            // The end of the connection, or its reset.
            let ended = stream.read_to_end(&mut rest);
            request.push_str(&String::from_utf8_lossy(&rest));
            if ended.is_err() {
                request.push_str("RESET");
            }
            if request == "stop" {
                return requests;
            }
            requests.push(request);
        }
        requests
    });
    let heard = run(&target(&address.to_string(), health));
    let mut last = TcpStream::connect(address).unwrap();
    last.write_all(b"stop").unwrap();
    drop(last);
    Seen { heard, requests: instance.unwrap().join().unwrap() }
}

fn target(address: &str, health: &str) -> Target {
    let text = format!(
        "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"{address}\"]\nhealth = {{ {health} }}\n"
    );
    let config = config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
    let upstream = Upstream::new(config.upstreams[0].clone(), None, 1);
    Target::of(&upstream, &upstream.instances[0])
}

/// All that is heard of one check.
fn run(target: &Target) -> Vec<Event> {
    let heard = RefCell::new(Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = timer::drive() => {}
            () = probe(target, async |event, _| heard.borrow_mut().push(event)) => {}
        }
    });
    heard.into_inner()
}

/// Reads a head; whether one came.
fn head(stream: &mut TcpStream, into: &mut String) -> bool {
    let mut byte = [0];
    while !into.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        into.push(byte[0] as char);
    }
    into.ends_with("\r\n\r\n")
}

fn say(stream: &mut TcpStream, text: &str) {
    // Who has left does not hear it.
    let _ = stream.write_all(text.as_bytes());
}

fn close(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

const UNKNOWN: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 41\r\n\r\n{\"code\":1,\"message\":\"Session ID unknown\"}";

#[test]
fn a_session_that_does_not_exist_is_asked_for() {
    let seen = check("check = \"auto\"", |stream, request| {
        head(stream, request);
        say(stream, "HTTP/1.1 103 Early Hints\r\n\r\n");
        say(stream, UNKNOWN);
        close(stream);
    });
    assert_eq!(seen.heard, [Event::Passed]);
    assert_eq!(seen.requests.len(), 1, "one connection");
    let request = &seen.requests[0];
    assert!(
        request.starts_with("GET /socket.io/?EIO=4&transport=polling&sid=stickyd-check HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(!request.contains("RESET"), "the whole answer is taken");
}

#[test]
fn what_no_good_answer_is() {
    let unfit = |text: &str| vec![Event::Unfit(text.to_owned())];
    let lost = |text: &str| vec![Event::Lost(text.to_owned())];
    let seen = check("check = \"auto\"", |stream, request| {
        head(stream, request);
        say(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        close(stream);
    });
    assert_eq!(seen.heard, unfit("answered 503"));
    let seen = check("check = \"http\"", |stream, request| {
        head(stream, request);
        say(stream, "hello\r\n\r\n");
        close(stream);
    });
    assert_eq!(seen.heard, unfit("answered, but not with clean HTTP: bad http version"));
    let seen = check("check = \"http\"", |stream, request| {
        head(stream, request);
        close(stream);
    });
    assert_eq!(seen.heard, lost("connection closed without an answer"));
    let seen = check("check = \"http\"", |stream, request| {
        head(stream, request);
        say(stream, "HTTP/1.1 200 O");
        close(stream);
    });
    assert_eq!(seen.heard, lost("connection closed amid an answer"));
    let seen = check("check = \"websocket\"", |stream, request| {
        head(stream, request);
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        close(stream);
    });
    assert_eq!(seen.heard, unfit("answered 200, not 101"));
    let seen = check("check = \"engine_io\"", |stream, request| {
        head(stream, request);
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    assert_eq!(seen.heard, unfit("answered without an open packet"));
}

#[test]
fn nobody_there() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    for word in ["auto", "tcp", "engine_io"] {
        let heard = run(&target(&address, &format!("check = \"{word}\"")));
        assert_eq!(heard, [Event::Lost("connection refused".to_owned())]);
    }
}

#[test]
fn a_connection_is_enough() {
    let seen = check("check = \"tcp\"", |_, _| {});
    assert_eq!(seen.heard, [Event::Passed]);
    assert_eq!(seen.requests, [""]);
}

#[test]
fn late_is_not_never() {
    // What it answers does not matter any more, and nothing is left behind.
    let slow = |stream: &mut TcpStream, request: &mut String| {
        head(stream, request);
        thread::sleep(Duration::from_millis(120));
        say(stream, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
        close(stream);
    };
    let seen = check("check = \"http\", timeout = \"50ms\"", slow);
    assert_eq!(seen.heard.len(), 2);
    assert_eq!(seen.heard[0], Event::Late);
    let Event::Answered(after) = seen.heard[1] else { panic!("{:?}", seen.heard) };
    assert!(after >= Duration::from_millis(120), "{after:?}");

    // Five time-outs, and no more.
    let hangs = |stream: &mut TcpStream, request: &mut String| {
        head(stream, request);
    };
    let began = clock::now();
    let seen = check("check = \"http\", timeout = \"50ms\"", hangs);
    assert_eq!(seen.heard, [Event::Late]);
    assert!(clock::now().since(began) >= Duration::from_millis(250));
    // The connection ends late, without a word: nothing is to be told.
    let ends = |stream: &mut TcpStream, request: &mut String| {
        head(stream, request);
        thread::sleep(Duration::from_millis(100));
        close(stream);
    };
    assert_eq!(check("check = \"http\", timeout = \"50ms\"", ends).heard, [Event::Late]);
}

#[test]
fn a_websocket_is_opened_and_closed() {
    let seen = check("check = \"websocket\", path = \"/ws\"", |stream, request| {
        if !head(stream, request) {
            return;
        }
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = crate::codec::handshake::accept(key.as_bytes());
        let accept = str::from_utf8(&accept).unwrap();
        say(
            stream,
            &format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ),
        );
        let mut frame = [0; 8];
        stream.read_exact(&mut frame).unwrap();
        let [0x88, 0x82, a, b, _, _, high, low] = frame else { panic!("no masked Close: {frame:x?}") };
        assert_eq!(u16::from_be_bytes([high ^ a, low ^ b]), 1000);
        stream.write_all(&[0x88, 2, 0x03, 0xe8]).unwrap();
        close(stream);
    });
    assert_eq!(seen.heard, [Event::Passed]);
    assert!(seen.requests[0].starts_with("GET /ws HTTP/1.1\r\n") && !seen.requests[0].contains("RESET"));
}

const OPEN: &str =
    "0{\"sid\":\"lv_VI97HAXpY6yYWAAAC\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000}";

#[test]
fn a_session_is_opened_and_closed() {
    // Over one connection, chunked as python writes it.
    let seen = check("check = \"engine_io\"", |stream, request| {
        if !head(stream, request) {
            return;
        }
        let (first, second) = OPEN.split_at(20);
        say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in [first, second] {
            say(stream, &format!("{:x}\r\n{part}\r\n", part.len()));
        }
        say(stream, "0\r\n\r\n");
        let mut post = String::new();
        head(stream, &mut post);
        let mut body = [0];
        stream.read_exact(&mut body).unwrap();
        request.push_str(&post);
        request.push(body[0] as char);
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        close(stream);
    });
    assert_eq!(seen.heard, [Event::Passed]);
    assert_eq!(seen.requests.len(), 1);
    let post = "POST /socket.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\n";
    assert!(
        seen.requests[0].contains(post) && seen.requests[0].ends_with("\r\n\r\n1"),
        "{}",
        seen.requests[0]
    );

    // Over a second one, where the first does not serve any more.
    let seen = check("check = \"engine_io\"", |stream, request| {
        head(stream, request);
        if request.starts_with("GET ") {
            say(stream, &format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{OPEN}"));
        }
        close(stream);
    });
    assert_eq!(seen.heard, [Event::Passed]);
    assert_eq!(seen.requests.len(), 2);
    assert!(seen.requests[1].starts_with(post), "{}", seen.requests[1]);
}
