//! An instance that is well or ill as the test says, apart for checks and for clients.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::support::engine_io::{answer, open_packet};
use crate::support::ws;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers with its name, a session start with a session, a handshake with a tunnel that echoes.
    Well,
    /// Answers 500.
    Fails,
    /// Answers after so many milliseconds, well.
    Slowly(u64),
    /// Says nothing.
    Hangs,
    /// Ends the connection.
    Closes,
    Resets,
}

#[derive(Debug)]
pub(crate) struct Checked {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _keeps_the_port: Socket,
}

#[derive(Debug)]
struct Shared {
    name: String,
    listener: TcpListener,
    state: Mutex<State>,
    checks: AtomicUsize,
    requests: AtomicUsize,
    connections: AtomicUsize,
    serving: AtomicUsize,
}

#[derive(Debug)]
struct State {
    stopped: bool,
    checks: Does,
    clients: Does,
    open: Vec<TcpStream>,
}

impl Checked {
    /// It is well.
    pub(crate) fn start(name: &str) -> Self {
        let listener = socket(([127, 0, 0, 1], 0).into());
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // The kernel forgets a port that it has chosen itself when a socket stops listening: the second one asks for it.
        let (keeps_the_port, listener) = (listener, socket(address));
        listener.listen(128).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener: TcpListener = listener.into();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            listener,
            state: Mutex::new(State {
                stopped: false,
                checks: Does::Well,
                clients: Does::Well,
                open: Vec::new(),
            }),
            checks: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
        });
        let thread = thread::spawn({
            let shared = shared.clone();
            move || shared.accept()
        });
        Checked { address, shared, thread: Some(thread), _keeps_the_port: keeps_the_port }
    }

    /// What it does with checks that come from now on.
    pub(crate) fn checks(&self, does: Does) {
        self.shared.state.lock().unwrap().checks = does;
    }

    /// What it does with clients that come from now on.
    pub(crate) fn clients(&self, does: Does) {
        self.shared.state.lock().unwrap().clients = does;
    }

    /// As when its process is stopped: nothing is said any more, to nobody.
    pub(crate) fn hangs(&self) {
        self.checks(Does::Hangs);
        self.clients(Does::Hangs);
    }

    pub(crate) fn is_well(&self) {
        self.checks(Does::Well);
        self.clients(Does::Well);
    }

    /// As when its process is killed: connections end, and nobody can connect.
    pub(crate) fn dies(&self) {
        SockRef::from(&self.shared.listener).shutdown(Shutdown::Both).unwrap();
        self.cut();
    }

    /// It listens again, at the same address.
    pub(crate) fn comes_back(&self) {
        SockRef::from(&self.shared.listener).listen(128).unwrap();
    }

    /// Checks that it saw.
    pub(crate) fn checked(&self) -> usize {
        self.shared.checks.load(Ordering::SeqCst)
    }

    /// Requests of clients that it saw.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections that it saw.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn serving(&self) -> usize {
        self.shared.serving.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        for stream in self.shared.state.lock().unwrap().open.drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().stopped = true;
        self.cut();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.cut();
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

impl Shared {
    fn accept(self: &Arc<Self>) {
        while !self.state.lock().unwrap().stopped {
            let Ok((stream, _)) = self.listener.accept() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            self.connections.fetch_add(1, Ordering::SeqCst);
            self.state.lock().unwrap().open.push(stream.try_clone().unwrap());
            let shared = self.clone();
            // Ends with its connection.
            thread::spawn(move || {
                shared.serving.fetch_add(1, Ordering::SeqCst);
                while shared.serve(&stream) {}
                shared.serving.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Serves one request; whether another may come.
    fn serve(&self, mut stream: &TcpStream) -> bool {
        let mut head = String::new();
        let mut byte = [0];
        while !head.ends_with("\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0] as char),
                _ => return false,
            }
        }
        let check = head.contains("\r\nUser-Agent: stickyd-check\r\n");
        let counter = if check { &self.checks } else { &self.requests };
        counter.fetch_add(1, Ordering::SeqCst);
        let does = {
            let state = self.state.lock().unwrap();
            if check { state.checks } else { state.clients }
        };
        let mut close = check;
        let answer = match does {
            Does::Well => self.answer(&head),
            Does::Slowly(ms) => {
                thread::sleep(Duration::from_millis(ms));
                self.answer(&head)
            }
            Does::Fails => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Does::Hangs => {
                // Until it is cut.
                while matches!(stream.read(&mut byte), Ok(1)) {}
                return false;
            }
            Does::Closes => {
                close = true;
                String::new()
            }
            Does::Resets => {
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
                self.state
                    .lock()
                    .unwrap()
                    .open
                    .retain(|other| other.peer_addr().ok() != stream.peer_addr().ok());
                return false;
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return false;
        }
        if answer.starts_with("HTTP/1.1 101") {
            // Frames come back as they are: the proxy takes no notice of masks.
            while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
            return false;
        }
        if close {
            let _ = stream.shutdown(Shutdown::Write);
        }
        !close
    }

    fn answer(&self, head: &str) -> String {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let lower = head.to_ascii_lowercase();
        if lower.contains("\r\nupgrade: websocket\r\n") {
            return ws::switch("");
        }
        let polling = target.starts_with("/socket.io/") && target.contains("transport=polling");
        if polling && target.contains("sid=stickyd-check") {
            return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        if polling && !target.contains("sid=") {
            return answer("", &open_packet(&format!("{}-sid", self.name)));
        }
        answer("", &self.name)
    }
}
