//! An instance that answers `/a` with whatever it was told, byte for byte, and everything else with "second".

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::Socket;

const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";

/// It runs as long as its process: nothing but this test connects to it.
#[derive(Debug)]
pub(super) struct Scripted {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    answer: Vec<u8>,
    /// It ends its connection behind the answer.
    ends: bool,
    /// What is behind the head of the answer comes a moment later.
    halts: bool,
    /// It ends every connection a moment after an answer, for who would wait for more.
    impatient: bool,
    connections: usize,
    /// The connection that served `/a` last, and the one that served another one since.
    first: Option<usize>,
    next: Option<usize>,
}

impl Scripted {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::<Mutex<Script>>::default();
        let shared = script.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = shared.clone();
                thread::spawn(move || serve(stream, &script));
            }
        });
        Scripted { address, script }
    }

    /// What `/a` is answered with from now on.
    pub(super) fn answers(&self, answer: &[u8], ends: bool) {
        let mut script = self.script.lock().unwrap();
        let (impatient, connections) = (script.impatient, script.connections);
        *script = Script { answer: answer.to_vec(), ends, impatient, connections, ..Script::default() };
    }

    /// The same, in two pieces.
    pub(super) fn answers_slowly(&self, answer: &[u8]) {
        self.answers(answer, false);
        self.script.lock().unwrap().halts = true;
    }

    pub(super) fn is_impatient(&self) {
        self.script.lock().unwrap().impatient = true;
    }

    /// The connection that brought `/a` brought the next one too.
    pub(super) fn served_both(&self) -> bool {
        let script = self.script.lock().unwrap();
        script.first.is_some() && script.first == script.next
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

fn serve(stream: TcpStream, script: &Mutex<Script>) {
    let mut socket = Socket::of(stream);
    let number = {
        let mut script = script.lock().unwrap();
        script.connections += 1;
        script.connections
    };
    while let Ok(head) = socket.try_head() {
        let is_first = head.split(' ').nth(1) == Some("/a");
        let (mut answer, ends, halts, impatient) = {
            let mut script = script.lock().unwrap();
            let of_which = if is_first { &mut script.first } else { &mut script.next };
            *of_which = Some(number);
            let answer = if is_first { script.answer.clone() } else { SECOND.into() };
            (answer, script.ends && is_first, script.halts && is_first, script.impatient)
        };
        if halts {
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
            let _ = socket.try_send(answer.drain(..head).collect::<Vec<u8>>());
            thread::sleep(Duration::from_millis(50));
        }
        if socket.try_send(answer).is_err() || ends {
            return;
        }
        if impatient {
            let mut later = socket.writer();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(150));
                later.half_close();
                later.rest();
            });
        }
    }
}
