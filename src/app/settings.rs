//! What one instance is told: addresses, names, limits. Every limit with its unit, its default and its reason.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::token::Secret;

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
    /// What tokens of users are signed with; the same at all instances. Without it no token is believed.
    pub token_secret: Option<Secret>,
    /// What whoever commands the instances says. Without it nobody does.
    pub operator_token: Option<Secret>,
    /// A user whose instance says nothing any more is online for so long. Default 30 s.
    pub presence_ttl: Duration,
    /// Between two times that an instance says who is there. Default 10 s, so that two may fail.
    pub presence_refresh: Duration,
    /// Between two looks for those who have run out. Default 5 s.
    pub presence_sweep: Duration,
    /// Events of `/notify` that are kept at least. Default 10 000.
    pub notifications_kept: usize,
    /// Bytes of one of them. Default 64 KiB.
    pub notification_bytes_max: usize,
    /// Between two comments in a stream of events. Default 15 s: less than what lies between waits for.
    pub comment_interval: Duration,
    /// A long poll is held for so long. Default 25 s: less than what lies between waits for.
    pub poll_hold: Duration,
    /// Webhooks may go to addresses that are not of the internet, such as this machine's.
    pub allow_private_webhooks: bool,
    /// A webhook is tried so often at most. Default 8, which is ten minutes.
    pub webhook_attempts: u32,
    /// After the first attempt failed; twice as long each time. Default 5 s.
    pub webhook_retry: Duration,
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
            token_secret: None,
            operator_token: None,
            presence_ttl: Duration::from_secs(30),
            presence_refresh: Duration::from_secs(10),
            presence_sweep: Duration::from_secs(5),
            allow_private_webhooks: false,
            webhook_attempts: 8,
            webhook_retry: Duration::from_secs(5),
            notifications_kept: 10_000,
            notification_bytes_max: 64 * 1024,
            comment_interval: Duration::from_secs(15),
            poll_hold: Duration::from_secs(25),
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
