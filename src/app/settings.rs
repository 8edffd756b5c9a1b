//! What one instance is told: addresses, names, limits. Every limit with its unit, its default and its reason.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What one instance is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. Port 0: any free one.
    pub listen: SocketAddr,
    /// The instance's name: what `who()` answers, and what logs say.
    pub name: String,
    /// Namespaces of Socket.IO beside `/`; each begins with `/`.
    pub namespaces: Vec<String>,
    /// Origins that a browser may call from: none, `*`, or those.
    pub cors: Vec<String>,
    /// Takes `auth: { userId }` for true. For a demonstration only: anybody can be anybody.
    pub insecure_demo: bool,
    /// Between two pings of Engine.IO. Default 25 s, as Node.
    pub ping_interval: Duration,
    /// Until a ping must be answered. Default 20 s, as Node.
    pub ping_timeout: Duration,
    /// Bytes of one message from a client at most. Default 1 000 000, as Node; socketioxide's own is a tenth of it.
    pub payload_bytes_max: u64,
    /// Messages that wait for one client at most; what comes then is dropped for it, and counted. Default 4096: a burst between
    /// two polls. Node has no such bound, and a client that does not read takes all its memory.
    pub waiting_messages_max: usize,
    /// Rooms that one client may be in. Default 256.
    pub rooms_max: usize,
    /// Bytes of a room's or event's name that a client gives. Default 256.
    pub name_bytes_max: usize,
    /// Over this time sockets are closed when the instance stops, so that not all clients come back at once. Default 5 s.
    pub spread: Duration,
    /// Answers of other instances are waited for so long. Default 5 s, as Node.
    pub requests_timeout: Duration,
    /// What the adapter's channels begin with. Default `socket.io`, as Node.
    pub prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3001)),
            name: "a".to_owned(),
            namespaces: Vec::new(),
            cors: Vec::new(),
            insecure_demo: false,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            payload_bytes_max: 1_000_000,
            waiting_messages_max: 4096,
            rooms_max: 256,
            name_bytes_max: 256,
            spread: Duration::from_secs(5),
            requests_timeout: Duration::from_secs(5),
            prefix: "socket.io".to_owned(),
        }
    }
}
