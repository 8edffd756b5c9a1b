//! Reads a header of the PROXY protocol off a connection, and nothing of what follows it.
//!
//! What has come is looked at where it lies (`MSG_PEEK`), and only the header is taken: so whatever follows, HTTP or TLS, reads
//! from the socket as if there had been none.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::proxy_protocol::{self, HEADER_MAX, Parsed};
use crate::local::stream::Stream;

/// The client that the header names; `None`: it names none, or there is no header and it is not `required`.
///
/// # Errors
/// The connection is of no use; why. How long that takes is the caller's business.
pub(super) async fn take(stream: &mut Stream, required: bool) -> Result<Option<SocketAddr>, &'static str> {
    const ENDED: &str = "the connection ended before the header of the PROXY protocol";
    let mut seen = 0;
    let mut bytes = [0; HEADER_MAX];
    loop {
        let count = peek(stream, &mut bytes, seen).await.map_err(|_| ENDED)?;
        match proxy_protocol::parse(&bytes[..count]) {
            Ok(Parsed::Header { len, source }) => {
                consume(stream, &mut bytes[..len]).await.map_err(|_| ENDED)?;
                return Ok(source);
            }
            Ok(Parsed::Partial) if count == seen => return Err(ENDED),
            Ok(Parsed::Partial) => seen = count,
            Ok(Parsed::Other) if required => return Err("there is no header of the PROXY protocol"),
            Ok(Parsed::Other) => return Ok(None),
            Err(bad) => return Err(bad.reason()),
        }
    }
}

/// What has come so far, as soon as it is more than `seen`. The same as `seen`: the peer has ended its side.
async fn peek(stream: &Stream, into: &mut [u8], seen: usize) -> io::Result<usize> {
    let mut look = |socket: rustix::fd::BorrowedFd<'_>| {
        let (count, _) = rustix::net::recv(socket, &mut *into, RecvFlags::PEEK)?;
        // What was seen before is no news. As "would block" it makes the runtime wait for the next event; new bytes are one.
        if count > seen || count == 0 || stream.is_read_closed() {
            Ok(count)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    };
    match stream {
        Stream::Tcp(tcp) => tcp.async_io(Interest::READABLE, || look(tcp.as_fd())).await,
        Stream::Unix(unix) => unix.async_io(Interest::READABLE, || look(unix.as_fd())).await,
        // The header comes before.
        Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Takes bytes that are there.
async fn consume(stream: &mut Stream, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        let read = poll_fn(|cx| stream.poll_read(cx, into)).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into = &mut into[read..];
    }
    Ok(())
}
