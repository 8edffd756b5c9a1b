//! A Redis, clients of Socket.IO, and requests.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use stickyd::app::instance::Running;
use stickyd::app::shared::{Shared, StoreLink};
use stickyd::app::tasks::Tasks;

use super::{OPERATOR, token};
use crate::support::ws::{self, Frame, TEXT};
use crate::support::{Message, Socket, eventually};

/// A Redis of its own that keeps nothing; killed when dropped.
pub(super) struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Redis { port, child: None };
        redis.start_again();
        redis
    }

    /// At the address that it had.
    pub(super) fn start_again(&mut self) {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir("/")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        eventually("Redis listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn shared(&self) -> Shared {
        Shared::redis(&format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    /// What it answers to a command, as it is on the wire.
    pub(super) fn say(&self, words: &[&str]) -> String {
        let mut socket = Socket::connect(([127, 0, 0, 1], self.port).into());
        socket.send(format!("*{}\r\n", words.len()));
        for word in words {
            socket.send(format!("${}\r\n{word}\r\n", word.len()));
        }
        let first = socket.line();
        let first = first.trim_end();
        match first.split_at(1) {
            ("$", "-1") => "nil".to_owned(),
            ("$", _) => socket.line().trim_end().to_owned(),
            (_, answer) => answer.to_owned(),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a test with what is shared in this process, and with what is shared through a Redis.
pub(super) fn with_both(test: impl Fn(&Shared)) {
    test(&Shared::in_process());
    let redis = Redis::start();
    test(&redis.shared());
}

/// Returns when an instance is ready.
pub(super) fn is_ready(instance: &Running) {
    eventually("the instance is ready", || {
        (get(instance.address(), "/readyz", "").status() == 200).then_some(())
    });
}

/// A client of Socket.IO over WebSocket.
pub(super) struct Client {
    socket: Socket,
    events: VecDeque<(String, Value)>,
    acks: u64,
}

impl Client {
    /// A client of `user`.
    #[track_caller]
    pub(super) fn of(user: &str, address: SocketAddr) -> Self {
        Self::connect(address, &json!({ "token": token(user) })).unwrap()
    }

    /// A client that says this at its handshake; otherwise what it was told.
    pub(super) fn connect(address: SocketAddr, auth: &Value) -> Result<Self, String> {
        let mut socket = Socket::connect(address);
        socket.send(ws::handshake("/socket.io/?EIO=4&transport=websocket", ""));
        assert!(socket.head().starts_with("HTTP/1.1 101 "));
        let mut client = Client { socket, events: VecDeque::new(), acks: 0 };
        assert!(client.packet().starts_with('0'));
        client.send(&format!("40{auth}"));
        let answer = client.packet();
        match answer.split_at(2) {
            ("40", _) => Ok(client),
            (_, problem) => {
                let problem: Value = serde_json::from_str(problem).unwrap();
                Err(problem["message"].as_str().unwrap().to_owned())
            }
        }
    }

    fn send(&mut self, packet: &str) {
        self.socket.send(Frame::masked(TEXT, packet).bytes());
    }

    /// The next packet that is no ping.
    fn packet(&mut self) -> String {
        loop {
            let frame = Frame::read(&mut self.socket);
            let packet = String::from_utf8(frame.payload).unwrap();
            if packet == "2" {
                self.send("3");
            } else {
                return packet;
            }
        }
    }

    /// Says an event, and returns what it is answered.
    #[track_caller]
    pub(super) fn ask(&mut self, event: &str, argument: &Value) -> Value {
        self.acks += 1;
        let id = self.acks;
        self.send(&format!("42{id}{}", json!([event, argument])));
        loop {
            let packet = self.packet();
            if let Some(answer) = packet.strip_prefix(&format!("43{id}")) {
                let answer: Value = serde_json::from_str(answer).unwrap();
                return answer[0].clone();
            }
            self.note(&packet);
        }
    }

    /// The next event.
    #[track_caller]
    pub(super) fn event(&mut self) -> (String, Value) {
        while self.events.is_empty() {
            let packet = self.packet();
            self.note(&packet);
        }
        self.events.pop_front().unwrap()
    }

    /// What it has heard and nobody asked for yet.
    pub(super) fn heard(&mut self) -> Option<(String, Value)> {
        self.events.pop_front()
    }

    /// Nothing was said to it: everything before the answer to a question is here when that is.
    #[track_caller]
    pub(super) fn heard_nothing(&mut self) {
        self.ask("who", &Value::Null);
        assert_eq!(self.events, []);
    }

    fn note(&mut self, packet: &str) {
        let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
        let event: Value = serde_json::from_str(event).unwrap();
        self.events.push_back((event[0].as_str().unwrap().to_owned(), event[1].clone()));
    }
}

/// A request with its answer; `fields`: whole lines.
pub(super) fn call(address: SocketAddr, line: &str, fields: &str, body: &str) -> Message {
    let mut socket = Socket::connect(address);
    socket.send(request(line, fields, body));
    socket.answer()
}

pub(super) fn request(line: &str, fields: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

pub(super) fn get(address: SocketAddr, target: &str, fields: &str) -> Message {
    call(address, &format!("GET {target}"), fields, "")
}

/// The line that says who a user is.
pub(super) fn as_user(user: &str) -> String {
    format!("Authorization: Bearer {}\r\n", token(user))
}

/// The lines of the operator who sends JSON.
pub(super) fn as_operator() -> String {
    format!("Authorization: Bearer {OPERATOR}\r\nContent-Type: application/json\r\n")
}

/// A JSON answer of 200.
#[track_caller]
pub(super) fn json_of(answer: &Message) -> Value {
    assert_eq!(answer.status(), 200, "{}{}", answer.head, answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// A number of `/metrics`.
#[track_caller]
pub(super) fn metric(address: SocketAddr, name: &str) -> u64 {
    let page = get(address, "/metrics", "");
    let name = format!("stickyd_app_{name} ");
    let value = page.text().lines().find_map(|line| line.strip_prefix(&*name));
    value.unwrap_or_else(|| panic!("there is no {name}")).parse().unwrap()
}

/// Runs a test of a store with what is shared in this process, and with what is shared through a Redis.
pub(super) fn with_store(test: impl AsyncFn(StoreLink)) {
    with_both(|shared| with_link(shared, &test));
}

/// Runs a test of a store with an instance's way to what is shared.
pub(super) fn with_link(shared: &Shared, test: impl AsyncFn(StoreLink)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::default();
        let link = shared.connect("test", &tasks);
        let mut begun = link.bus().subscribe(Vec::new());
        begun.is_active().await;
        while !link.bus().is_connected() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        test(link.store().clone()).await;
        tasks.end().await;
    });
}
