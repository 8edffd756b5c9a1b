//! Connections from many client addresses, and the sockets the instance listens on. Loopback only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Client addresses in use. Each gives about 28 000 local ports, and enough of them spread over two instances.
const ADDRESSES: usize = 64;

/// The client address number `index`. It varies in the third octet: nginx's `ip_hash` looks at the first three only,
/// and would send every client of 127.0.0.0/24 to one instance.
fn client_address(index: usize) -> Ipv4Addr {
    let octet = u8::try_from(index % ADDRESSES + 1).unwrap_or(1);
    Ipv4Addr::new(127, 0, octet, 1)
}

/// Opens connections: targets and client addresses in turn.
pub(crate) struct Dialer {
    targets: Vec<SocketAddr>,
    next: usize,
}

impl Dialer {
    /// Refuses addresses that are not loopback: this is a load generator.
    pub(crate) fn new(targets: &[SocketAddr]) -> Result<Dialer> {
        if targets.is_empty() {
            bail!("no address to connect to");
        }
        if let Some(far) = targets.iter().find(|target| !target.ip().is_loopback()) {
            bail!("{far} is not a loopback address");
        }
        Ok(Dialer { targets: targets.to_vec(), next: 0 })
    }

    /// A connected, blocking socket with `TCP_NODELAY`. On loopback the connect does not wait for an accept.
    pub(crate) fn dial(&mut self) -> Result<TcpStream> {
        let turn = self.next;
        self.next += 1;
        self.dial_as(turn)
    }

    /// As `dial`, for a client that keeps its address (and, without a proxy, its instance) over reconnects.
    pub(crate) fn dial_as(&self, client: usize) -> Result<TcpStream> {
        let target = self.targets[client % self.targets.len()];
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        if target.is_ipv4() {
            let source = SocketAddr::new(IpAddr::V4(client_address(client)), 0);
            socket.bind(&SockAddr::from(source)).with_context(|| format!("bind {source}"))?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.connect(&SockAddr::from(target)).with_context(|| format!("connect {target}"))?;
        Ok(socket.into())
    }
}

/// A non-blocking listener with the same backlog as every peer has.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address)).with_context(|| format!("bind {address}"))?;
    socket.listen(4096)?;
    // Inherited by accepted sockets.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_load_anything_but_loopback() {
        assert!(Dialer::new(&["192.0.2.1:80".parse().expect("an address")]).is_err());
        assert!(Dialer::new(&[]).is_err());
    }

    #[test]
    fn client_addresses_differ_in_what_nginx_hashes() {
        let networks: std::collections::BTreeSet<[u8; 3]> = (0..ADDRESSES * 2)
            .map(|index| {
                let [a, b, c, _] = client_address(index).octets();
                [a, b, c]
            })
            .collect();
        assert_eq!(networks.len(), ADDRESSES);
    }
}
