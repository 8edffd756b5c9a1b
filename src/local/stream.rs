//! A connected socket, of whatever kind.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::timer;
use super::tls::Tls;

/// How often a peer is looked at whose end would not be seen, because bytes that nobody reads yet stand before it.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP
    Tcp(TcpStream),
    /// A unix socket; boxed, so that the usual kind needs no room for a tag.
    Unix(Box<UnixStream>),
    /// TLS over one of them.
    Tls(Box<Tls>),
}

impl Stream {
    /// Reads what is there; 0 = the peer has ended its side.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        let read = match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut into),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_read(cx, &mut into),
            Stream::Tls(tls) => return tls.poll_read(cx, into.initialize_unfilled()),
        };
        read.map_ok(|()| into.filled().len())
    }

    /// Writes what the socket takes. After `Pending` whoever writes comes again with the same bytes, perhaps with more behind them:
    /// over TLS they may be sealed already.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, from),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_write(cx, from),
            Stream::Tls(tls) => tls.poll_write(cx, from),
        }
    }

    /// Writes as much as the socket takes right now; what it does not take is lost. For last words.
    pub fn try_write(&mut self, bytes: &[u8]) {
        match self {
            Stream::Tls(tls) => tls.try_write(bytes),
            socket => drop(socket.try_write_some(bytes)),
        }
    }

    /// Writes what the socket itself takes right now; how much.
    pub(super) fn try_write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.try_write(bytes),
            Stream::Unix(unix) => unix.try_write(bytes),
            Stream::Tls(tls) => tls.io().try_write_some(bytes),
        }
    }

    /// Reads what is there right now, from the socket itself.
    pub(super) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.try_read(into),
            Stream::Unix(unix) => unix.try_read(into),
            Stream::Tls(tls) => tls.io().try_read(into),
        }
    }

    /// The socket itself may have something to read.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => tcp.poll_read_ready(cx),
            Stream::Unix(unix) => unix.poll_read_ready(cx),
            Stream::Tls(tls) => tls.io().poll_read_ready(cx),
        }
    }

    /// The address of the other end; `None`: it has none, or is gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(tcp) => tcp.peer_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => tls.io().peer(),
        }
    }

    /// Our address; `None`: it has none.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(tcp) => tcp.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => tls.io().local_address(),
        }
    }

    /// What is said over TLS; `None`: in the clear.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Tls(tls) => Some(tls),
        }
    }

    /// The peer has ended its side, and it cannot be known whether it had said everything: over TLS it would have said so.
    pub fn is_cut(&self) -> bool {
        self.tls().is_some_and(Tls::is_cut)
    }

    /// Ends our side (FIN, and over TLS `close_notify` before it); what the peer sends can still be read.
    pub fn shut_down(&mut self, cx: &mut Context<'_>) {
        // Neither kind ever waits here, and a socket that is already gone needs no FIN.
        let _ = match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_shutdown(cx),
            Stream::Tls(tls) => {
                tls.shut_down(cx);
                return;
            }
        };
    }

    /// Ends both sides now, though it lives on as an object.
    pub fn end(&self) {
        // A socket that is already gone needs no end.
        let _ = match self {
            Stream::Tcp(tcp) => rustix::net::shutdown(tcp, rustix::net::Shutdown::Both),
            Stream::Unix(unix) => rustix::net::shutdown(&**unix, rustix::net::Shutdown::Both),
            Stream::Tls(tls) => {
                tls.end();
                return;
            }
        };
    }

    /// Returns when the peer has ended its side or is gone. It may take [`LOOK_EVERY`] while bytes wait that nobody reads.
    pub async fn left(&self) {
        loop {
            let ready = poll_fn(|cx| self.poll_read_ready(cx));
            if ready.await.is_err() || self.is_read_closed() {
                return;
            }
            timer::sleep(LOOK_EVERY).await;
        }
    }

    /// When dropped the connection is reset instead of ended: the peer must not take what it got for the whole.
    pub fn reset_on_drop(&self) {
        match self {
            // A socket that is already gone cannot be reset.
            Stream::Tcp(tcp) => drop(tcp.set_zero_linger()),
            Stream::Unix(_) => {}
            Stream::Tls(tls) => tls.reset_on_drop(),
        }
    }

    /// The peer neither sent anything since we last looked nor ended its side. Costs a system call only when there is news.
    pub fn is_quiet(&mut self) -> bool {
        if let Stream::Tls(tls) = self {
            return tls.is_quiet();
        }
        matches!(self.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The peer has ended its side or is gone, also when unread bytes hide that from a read.
    pub fn is_read_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [match self {
            Stream::Tcp(tcp) => PollFd::new(tcp, PollFlags::RDHUP),
            Stream::Unix(unix) => PollFd::new(&**unix, PollFlags::RDHUP),
            Stream::Tls(tls) => return tls.io().is_read_closed(),
        }];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_no_larger_than_its_usual_kind() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
