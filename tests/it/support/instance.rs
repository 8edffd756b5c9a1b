//! Instances: scripted ones that a test drives step by step, and one that answers by itself.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket as Raw, Type};

use super::socket::{hex, tcp_table};
use super::{Message, Socket, eventually, ws};

/// An instance that does what the test says.
#[derive(Debug)]
pub(crate) struct Instance {
    listener: TcpListener,
}

impl Instance {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Instance { listener }
    }

    /// With small buffers in the kernel, so that what it does not read is felt soon.
    pub(crate) fn small() -> Self {
        let instance = Self::start();
        SockRef::from(&instance.listener).set_recv_buffer_size(4096).unwrap();
        instance
    }

    /// With its queue full: whoever connects waits until somebody is accepted. Also those who fill it.
    pub(crate) fn busy() -> (Self, Vec<TcpStream>) {
        let socket = Raw::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener: TcpListener = socket.into();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let at_once = Duration::from_millis(50);
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, at_once) {
            waiting.push(stream);
        }
        (Instance { listener }, waiting)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Socket {
        eventually("a connection to the instance", || self.try_accept())
    }

    /// A connection, if one waits.
    pub(crate) fn try_accept(&self) -> Option<Socket> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                Some(Socket::of(stream))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::InvalidInput) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets nobody in until it [opens](Self::opens): the kernel ignores who connects, and who does tries again after a second.
    pub(crate) fn shuts(&self) {
        // A queue of one that is full.
        SockRef::from(&self.listener).listen(0).unwrap();
        drop(TcpStream::connect(self.address()).unwrap());
    }

    pub(crate) fn opens(&self) {
        SockRef::from(&self.listener).listen(128).unwrap();
        drop(self.accept());
    }

    /// How many connects to it are not answered yet.
    pub(crate) fn connecting(&self) -> usize {
        const SYN_SENT: &str = "02";
        let address = hex(self.address());
        tcp_table().iter().filter(|fields| fields[2] == address && fields[3] == SYN_SENT).count()
    }

    /// From now on it refuses connections. The address stays its own.
    pub(crate) fn refuse(&self) {
        SockRef::from(&self.listener).shutdown(Shutdown::Both).unwrap();
    }

    /// Nobody has connected.
    #[track_caller]
    pub(crate) fn saw_nothing(&self) {
        assert!(self.try_accept().is_none(), "the instance was connected to");
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(out)
    }
}

/// Listeners at 127.0.0.1, 127.0.0.2 and so on, all with the same port: as instances behind one name are.
pub(crate) fn behind_one_name<const N: usize>() -> [TcpListener; N] {
    let found = || {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (2..=u8::try_from(N).unwrap())
            .map(|n| TcpListener::bind(SocketAddr::from(([127, 0, 0, n], port))));
        // Another test may have this port at one of them.
        let all: Vec<_> = std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>().ok()?;
        all.try_into().ok()
    };
    eventually("a port that is free at all addresses", found)
}

/// An address that is taken and refuses connections.
#[derive(Debug)]
pub(crate) struct Refusing(Raw);

impl Refusing {
    pub(crate) fn start() -> Self {
        let socket = Raw::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Refusing(socket)
    }
}

impl fmt::Display for Refusing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.local_addr().unwrap().as_socket().unwrap().fmt(out)
    }
}

/// An instance that answers by itself: every request with its name, and every handshake with a tunnel in which nothing is
/// said; or as it is told to.
#[derive(Debug)]
pub(crate) struct Answering {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<dyn Fn(&Message) -> String + Send + Sync>,
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Answering {
    pub(crate) fn start(name: &str) -> Self {
        Self::with_fields(name, "")
    }

    /// `fields`: whole lines for each answer.
    pub(crate) fn with_fields(name: &str, fields: &str) -> Self {
        let (name, fields) = (name.to_owned(), fields.to_owned());
        Self::speaking(move |request| with_its_name(&name, &fields, request))
    }

    /// `answer` gives the bytes for each request; a 101 begins a tunnel in which nothing is said.
    pub(crate) fn speaking(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// At this address.
    pub(crate) fn on(listener: TcpListener, name: &str) -> Self {
        let name = name.to_owned();
        Self::listening(listener, move |request| with_its_name(&name, "", request))
    }

    fn listening(listener: TcpListener, answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let thread = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Answering { address, shared, thread: Some(thread) }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Ends it: connects are refused from now on.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop; it may have ended already.
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Display for Answering {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let stream = stream.unwrap();
        open.push(stream.try_clone().unwrap());
        let shared = shared.clone();
        // Ends with its connection, which the proxy ends or the line below.
        thread::spawn(move || converse(Socket::of(stream), &shared));
    }
    for stream in open {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn converse(mut proxy: Socket, shared: &Shared) {
    while let Ok(request) = proxy.try_request() {
        let answer = (shared.answer)(&request);
        shared.requests.lock().unwrap().push(request);
        let switched = answer.starts_with("HTTP/1.1 101 ");
        if proxy.try_send(answer).is_err() {
            return;
        }
        if switched {
            proxy.rest();
            // Dropping it would not end it: there is another handle, for the stop.
            return proxy.half_close();
        }
    }
}

fn with_its_name(name: &str, fields: &str, request: &Message) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", name.len());
    match request.field("upgrade") {
        Some(_) => ws::switch(fields),
        None if request.line().starts_with("HEAD ") => head,
        None => head + name,
    }
}
