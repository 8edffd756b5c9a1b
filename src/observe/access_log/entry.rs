//! What a line says.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An HTTP exchange ended.
    Http,
    /// A tunnel was opened: the 101 went to the client.
    WsOpen,
    /// A tunnel ended.
    WsClose,
}

impl Event {
    /// The value of `event`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WsOpen => "ws_open",
            Self::WsClose => "ws_close",
        }
    }
}

/// One line. A JSON line's members are these fields in this order (`target` is called `path`, `duration` is in seconds);
/// what is `None` is left out there, and `-` in a combined line. Bytes are the client's and need no cleaning: what is long
/// is cut, what is odd is escaped. Fill in what is known: `Entry { status: Some(200), ..Entry::new(Event::Http, now) }`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What happened.
    pub event: Event,
    /// When it ended (`WsOpen`: when it began).
    pub time: SystemTime,
    /// `X-Request-ID`
    pub request_id: Option<&'a [u8]>,
    /// The client, as found behind trusted proxies.
    pub client: Option<IpAddr>,
    /// The other end of the connection; none on a unix socket.
    pub peer: Option<SocketAddr>,
    /// The listener, as in the metrics.
    pub listener: Option<&'a str>,
    /// `GET`
    pub method: Option<&'a [u8]>,
    /// `Host`
    pub host: Option<&'a [u8]>,
    /// Path and query as sent; written with the query masked but for `EIO` and `transport`.
    pub target: Option<&'a [u8]>,
    /// Tells Engine.IO sessions apart without showing them.
    pub sid_hash: Option<u64>,
    /// The status that the client got; none when it left before.
    pub status: Option<u16>,
    /// The status that the instance gave.
    pub upstream_status: Option<u16>,
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// Name of the instance.
    pub instance: Option<&'a str>,
    /// Name of the instance that was asked before it, and said nothing.
    pub left: Option<&'a str>,
    /// What chose the instance: the words of `DecisionBy`.
    pub sticky_key: Option<&'a str>,
    /// Why a bound client was given another instance: the words of `RebindReason`.
    pub rebind_reason: Option<&'a str>,
    /// Who made the answer: the words of `Origin`.
    pub origin: Option<&'a str>,
    /// Why it ended.
    pub reason: Option<&'a str>,
    /// The close code of a tunnel.
    pub close_code: Option<u16>,
    /// Who closed a tunnel.
    pub closed_by: Option<&'a str>,
    /// How long it took; of `WsOpen` until the 101.
    pub duration: Option<Duration>,
    /// Bytes from the client: of a body, or through the tunnel.
    pub bytes_up: Option<u64>,
    /// Bytes to the client: of a body, or through the tunnel.
    pub bytes_down: Option<u64>,
    /// Frames from the client.
    pub frames_up: Option<u64>,
    /// Frames to the client.
    pub frames_down: Option<u64>,
    /// Version of TLS, e.g. `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// `HTTP/1.1`
    pub protocol: Option<&'a str>,
    /// `Referer`, only for the combined format; its query is masked too.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`, only for the combined format.
    pub user_agent: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// An entry that says nothing yet.
    pub const fn new(event: Event, time: SystemTime) -> Self {
        Self {
            event,
            time,
            request_id: None,
            client: None,
            peer: None,
            listener: None,
            method: None,
            host: None,
            target: None,
            sid_hash: None,
            status: None,
            upstream_status: None,
            upstream: None,
            instance: None,
            left: None,
            sticky_key: None,
            rebind_reason: None,
            origin: None,
            reason: None,
            close_code: None,
            closed_by: None,
            duration: None,
            bytes_up: None,
            bytes_down: None,
            frames_up: None,
            frames_down: None,
            tls: None,
            protocol: None,
            referer: None,
            user_agent: None,
        }
    }
}
