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

/// How often a peer is looked at whose end would not be seen, because bytes that nobody reads yet stand before it.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP
    Tcp(TcpStream),
    /// A unix socket; boxed, so that the usual kind needs no room for a tag.
    Unix(Box<UnixStream>),
}

impl Stream {
    /// Reads what is there; 0 = the peer has ended its side.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        let read = match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut into),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_read(cx, &mut into),
        };
        read.map_ok(|()| into.filled().len())
    }

    /// Writes what the socket takes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, from),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_write(cx, from),
        }
    }

    /// Writes as much as the socket takes right now; what it does not take is lost. For last words.
    pub fn try_write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Stream::Tcp(tcp) => tcp.try_write(bytes),
            Stream::Unix(unix) => unix.try_write(bytes),
        };
    }

    /// Our address; `None`: it has none.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(tcp) => tcp.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Ends our side (FIN); what the peer sends can still be read.
    pub fn shut_down(&mut self, cx: &mut Context<'_>) {
        // Neither kind ever waits here, and a socket that is already gone needs no FIN.
        let _ = match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(&mut **unix).poll_shutdown(cx),
        };
    }

    /// Ends both sides now, though it lives on as an object.
    pub fn end(&self) {
        // A socket that is already gone needs no end.
        let _ = match self {
            Stream::Tcp(tcp) => rustix::net::shutdown(tcp, rustix::net::Shutdown::Both),
            Stream::Unix(unix) => rustix::net::shutdown(&**unix, rustix::net::Shutdown::Both),
        };
    }

    /// Returns when the peer has ended its side or is gone. It may take [`LOOK_EVERY`] while bytes wait that nobody reads.
    pub async fn left(&self) {
        loop {
            let ready = poll_fn(|cx| match self {
                Stream::Tcp(tcp) => tcp.poll_read_ready(cx),
                Stream::Unix(unix) => unix.poll_read_ready(cx),
            });
            if ready.await.is_err() || self.is_read_closed() {
                return;
            }
            timer::sleep(LOOK_EVERY).await;
        }
    }

    /// When dropped the connection is reset instead of ended: the peer must not take what it got for the whole.
    pub fn reset_on_drop(&self) {
        if let Stream::Tcp(tcp) = self {
            // A socket that is already gone cannot be reset.
            let _ = tcp.set_zero_linger();
        }
    }

    /// The peer neither sent anything since we last looked nor ended its side. Costs a system call only when there is news.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Stream::Tcp(tcp) => tcp.try_read(&mut byte),
            Stream::Unix(unix) => unix.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The peer has ended its side or is gone, also when unread bytes hide that from a read.
    pub fn is_read_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [match self {
            Stream::Tcp(tcp) => PollFd::new(tcp, PollFlags::RDHUP),
            Stream::Unix(unix) => PollFd::new(&**unix, PollFlags::RDHUP),
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
