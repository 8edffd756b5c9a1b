//! One end of a connection, raw: bytes out, bytes in, and every way to end it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::message::Which;
use super::{DEADLINE, Message};

/// A connected socket whose every wait ends.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Read and not yet asked for.
    unread: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// How the other side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order: what came is all there is.
    Fin,
    /// Torn down: what came may be a part.
    Reset,
    /// Over TLS: the connection ended, and nobody had said so.
    Cut,
}

impl Socket {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, DEADLINE).expect("the address accepts"))
    }

    pub(crate) fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Socket { stream: Stream::Unix(stream), unread: Vec::new() }
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Socket { stream: Stream::Tcp(stream), unread: Vec::new() }
    }

    /// Of a client over TLS.
    pub(crate) fn of_client(tls: StreamOwned<ClientConnection, TcpStream>) -> Self {
        Socket { stream: Stream::Client(Box::new(tls)), unread: Vec::new() }
    }

    /// Of an instance over TLS.
    pub(crate) fn of_server(tls: StreamOwned<ServerConnection, TcpStream>) -> Self {
        Socket { stream: Stream::Server(Box::new(tls)), unread: Vec::new() }
    }

    /// What was agreed upon over TLS, by a client.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        match &mut self.stream {
            Stream::Client(tls) => &mut tls.conn,
            _ => panic!("no client's TLS"),
        }
    }

    /// What a client over TLS called us.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.stream {
            Stream::Server(tls) => tls.conn.server_name(),
            _ => panic!("no instance's TLS"),
        }
    }

    /// Sends bytes past TLS.
    pub(crate) fn send_in_the_clear(&self, bytes: &[u8]) {
        self.tcp().write_all(bytes).unwrap();
    }

    /// Sends bytes over TLS, and in the same segment a record that nobody can open.
    pub(crate) fn send_with_garbage(&mut self, bytes: &[u8]) {
        let Stream::Client(tls) = &mut self.stream else { panic!("no client's TLS") };
        tls.conn.writer().write_all(bytes).unwrap();
        let mut records = Vec::new();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut records).unwrap();
        }
        records.extend([23, 3, 3, 0, 20]);
        records.extend([7; 20]);
        tls.sock.write_all(&records).unwrap();
    }

    /// What comes until the end, which may be an alert.
    pub(crate) fn rest_or_alert(&mut self) -> (Vec<u8>, Option<io::Error>) {
        loop {
            match self.fill() {
                Ok(0) => return (self.taken(), None),
                Ok(_) => {}
                Err(error) => return (self.taken(), Some(error)),
            }
        }
    }

    /// Says that we end, as TLS does it, and sends nothing more.
    pub(crate) fn say_bye(&mut self) {
        match &mut self.stream {
            Stream::Client(tls) => {
                tls.conn.send_close_notify();
                tls.conn.complete_io(&mut tls.sock).unwrap();
            }
            Stream::Server(tls) => {
                tls.conn.send_close_notify();
                tls.conn.complete_io(&mut tls.sock).unwrap();
            }
            _ => panic!("only TLS has this"),
        }
    }

    /// A second handle, so that one thread can write while another reads.
    pub(crate) fn writer(&self) -> Self {
        let stream = match &self.stream {
            Stream::Tcp(tcp) => Stream::Tcp(tcp.try_clone().unwrap()),
            Stream::Unix(unix) => Stream::Unix(unix.try_clone().unwrap()),
            Stream::Client(_) | Stream::Server(_) => panic!("TLS has one owner"),
        };
        Socket { stream, unread: Vec::new() }
    }

    /// Our address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.tcp().local_addr().unwrap()
    }

    /// The other end's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.tcp().peer_addr().unwrap()
    }

    /// Small buffers in the kernel, so that a reader that stops is felt soon.
    pub(crate) fn shrink(&self) {
        SockRef::from(self.tcp()).set_recv_buffer_size(4096).unwrap();
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(tcp) => tcp,
            Stream::Client(tls) => &tls.sock,
            Stream::Server(tls) => &tls.sock,
            Stream::Unix(_) => panic!("only TCP has this"),
        }
    }

    // Sending

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other side takes what is sent");
    }

    /// For when the other side may be gone already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(tcp) => tcp.write_all(bytes.as_ref()),
            Stream::Unix(unix) => unix.write_all(bytes.as_ref()),
            Stream::Client(tls) => tls.write_all(bytes.as_ref()).and_then(|()| tls.flush()),
            Stream::Server(tls) => tls.write_all(bytes.as_ref()).and_then(|()| tls.flush()),
        }
    }

    /// Sends until nothing more is taken for a moment.
    pub(crate) fn fill_up(&mut self) {
        self.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut tcp = self.tcp();
        while tcp.write(&[0; 10_000]).is_ok() {}
        self.tcp().set_write_timeout(Some(DEADLINE)).unwrap();
    }

    /// The other end of this loopback connection has read all that we sent: the kernel holds nothing for it.
    pub(crate) fn is_all_read(&self) -> bool {
        let (ours, theirs) = (hex(self.local()), hex(self.peer()));
        let table = tcp_table();
        let mut lines = table.iter();
        let line =
            lines.find(|fields| fields[1] == theirs && fields[2] == ours).expect("the other end is there");
        // tx_queue:rx_queue
        line[4].ends_with(":00000000")
    }

    /// Each byte in a segment of its own (as far as the kernel keeps them apart).
    pub(crate) fn send_singly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    // Reading

    /// Up to and with the end of a head.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        self.try_head().unwrap_or_else(|error| panic!("no head: {error}"))
    }

    pub(crate) fn try_head(&mut self) -> Result<String, String> {
        self.through(b"\r\n\r\n")
    }

    /// A head, and not a byte more is read.
    pub(crate) fn head_alone(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.tcp().read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
    }

    /// So many bytes come before the other side ends.
    pub(crate) fn has_at_least(&mut self, count: usize) -> bool {
        while self.unread.len() < count {
            if !matches!(self.fill(), Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// What was read and not yet asked for.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Up to and with CRLF.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|error| panic!("no line: {error}"))
    }

    pub(super) fn try_line(&mut self) -> Result<String, String> {
        self.through(b"\r\n")
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.try_exactly(count).unwrap_or_else(|error| panic!("not {count} bytes: {error}"))
    }

    pub(super) fn try_exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        self.until(|unread| (unread.len() >= count).then_some(()))?;
        Ok(self.take(count))
    }

    /// The next bytes are these.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let got = self.exactly(bytes.len());
        assert!(got == bytes, "expected {}\ngot {}", shown(bytes), shown(&got));
    }

    /// A request with its body.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        self.try_request().unwrap_or_else(|error| panic!("no request: {error}"))
    }

    pub(crate) fn try_request(&mut self) -> Result<Message, String> {
        Message::read(self, Which::Request)
    }

    /// An answer with its body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Message {
        self.try_answer().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) fn try_answer(&mut self) -> Result<Message, String> {
        Message::read(self, Which::Answer)
    }

    /// An answer that has no body whatever its head says.
    #[track_caller]
    pub(crate) fn answer_to_head(&mut self) -> Message {
        Message::read(self, Which::AnswerToHead).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Everything until the other side ends, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            match self.fill() {
                Ok(0) => return (std::mem::take(&mut self.unread), End::Fin),
                Ok(_) => {}
                Err(error) if is_reset(&error) => return (std::mem::take(&mut self.unread), End::Reset),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return (std::mem::take(&mut self.unread), End::Cut);
                }
                Err(error) => panic!("no end came ({error}), only {}", shown(&self.unread)),
            }
        }
    }

    /// Nothing more comes but the end, in order.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let (rest, end) = self.rest();
        assert!((rest.is_empty(), end) == (true, End::Fin), "{end:?} after {}", shown(&rest));
    }

    /// Nothing more comes but an end, of either kind.
    #[track_caller]
    pub(crate) fn is_gone(&mut self) {
        let (rest, end) = self.rest();
        assert!(rest.is_empty(), "{end:?} after {}", shown(&rest));
    }

    /// Nothing comes for `time`: only where silence is what is tested.
    #[track_caller]
    pub(crate) fn is_silent(&mut self, time: Duration) {
        self.patience(time);
        let read = self.fill();
        self.patience(DEADLINE);
        match read {
            Err(error) if is_late(&error) => {}
            Ok(0) => panic!("it ended instead of being silent"),
            Ok(_) => panic!("instead of silence came {}", shown(&self.unread)),
            Err(error) => panic!("instead of silence: {error}"),
        }
    }

    /// Bytes come, and not the end.
    pub(crate) fn has_more(&mut self) -> bool {
        !self.unread.is_empty() || matches!(self.fill(), Ok(1..))
    }

    /// So many bytes are there, or come within a moment.
    pub(crate) fn has_at_once(&mut self, count: usize) -> bool {
        self.patience(Duration::from_millis(20));
        while self.unread.len() < count && matches!(self.fill(), Ok(1..)) {}
        self.patience(DEADLINE);
        self.unread.len() >= count
    }

    /// What `parse` makes of the next bytes, once they are enough; it also tells how many it took.
    #[track_caller]
    pub(crate) fn parsed<T>(&mut self, parse: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        let (parsed, count) = self.until(parse).unwrap_or_else(|error| panic!("{error}"));
        self.take(count);
        parsed
    }

    /// Everything up to and with `end`.
    fn through(&mut self, end: &[u8]) -> Result<String, String> {
        let find = |unread: &[u8]| unread.windows(end.len()).position(|part| part == end);
        let at = self.until(find)?;
        Ok(String::from_utf8_lossy(&self.take(at + end.len())).into_owned())
    }

    /// Reads until `found`; otherwise what came instead.
    fn until<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> Result<T, String> {
        loop {
            if let Some(found) = found(&self.unread) {
                return Ok(found);
            }
            match self.fill() {
                Ok(1..) => {}
                Ok(0) => return Err(format!("it ended after {}", shown(&self.unread))),
                Err(error) if is_late(&error) => {
                    panic!("nothing comes any more after {}", shown(&self.unread))
                }
                Err(error) => return Err(format!("{error} after {}", shown(&self.unread))),
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let before = self.unread.len();
        self.unread.resize(before + 64 * 1024, 0);
        let read = match &mut self.stream {
            Stream::Tcp(tcp) => tcp.read(&mut self.unread[before..]),
            Stream::Unix(unix) => unix.read(&mut self.unread[before..]),
            Stream::Client(tls) => tls.read(&mut self.unread[before..]),
            Stream::Server(tls) => tls.read(&mut self.unread[before..]),
        };
        self.unread.truncate(before + read.as_ref().map_or(0, |count| *count));
        read
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    fn patience(&self, time: Duration) {
        match &self.stream {
            Stream::Unix(unix) => unix.set_read_timeout(Some(time)),
            _ => self.tcp().set_read_timeout(Some(time)),
        }
        .unwrap();
    }

    // Ending

    /// Ends our side; what the other side sends can still be read.
    pub(crate) fn half_close(&self) {
        // The other side may be gone already.
        let _ = match &self.stream {
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
            _ => self.tcp().shutdown(Shutdown::Write),
        };
    }

    /// Tears the connection down.
    pub(crate) fn reset(self) {
        SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Ends both sides, in order.
    pub(crate) fn close(self) {
        drop(self);
    }
}

pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The kernel's TCP sockets, taken apart: number, local address, remote address, state, queues and more.
pub(super) fn tcp_table() -> Vec<Vec<String>> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().map(|line| line.split_ascii_whitespace().map(str::to_owned).collect()).collect()
}

/// An address as in that table.
pub(super) fn hex(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()),
        IpAddr::V6(_) => panic!("only IPv4 is looked up"),
    }
}

/// Bytes for a person: the beginning and how many there are.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(300)];
    format!("{} bytes \"{}\"", bytes.len(), start.escape_ascii())
}
