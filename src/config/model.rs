//! What the program runs on: a configuration without a doubt left in it.
//!
//! Every value is final: defaults are filled in, units are gone, references are resolved. An `Option` here means
//! "off", never "default". Nothing here knows TOML. The keys' names, defaults and reasons: `config.example.toml`.

mod admin;
mod closing;
mod health;
mod instance;
mod limits;
mod proxy_protocol;
mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use admin::{Admin, AdminSocket, GROUP, Page};
pub use closing::{Down, Drain, Rate, Rebalance, WhenDown};
pub use health::{Check, Health};
pub use instance::{Instance, InstanceState};
pub use limits::{Limits, Prefixes, RateLimit};
pub use proxy_protocol::{ProxyProtocol, SendProxyProtocol};
pub use tls::{Certificate, InstanceTls, ListenTls};

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Threads that serve traffic; at least 1.
    pub workers: NonZeroUsize,
    /// Peers whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The one header believed when it comes from a trusted peer.
    pub client_ip_header: ClientIpHeader,
    /// Path that the proxy itself answers on every listener.
    pub health_path: Option<String>,
    /// Lower-case `Upgrade` tokens besides `websocket` that may be tunnelled.
    pub upgrade_protocols: Vec<String>,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// At least one; names are unique.
    pub upstreams: Vec<Upstream>,
    /// First match wins. With one upstream and no `[[route]]` this holds one route that matches everything.
    pub routes: Vec<Route>,
    /// `[limits]`
    pub limits: Limits,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics] address`
    pub metrics: Option<Page>,
    /// `[log]`
    pub log: Log,
    /// `[reload]`
    pub reload: Reload,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[upgrade]`
    pub upgrade: Upgrade,
    /// `[timeouts]` of the client's side of a connection; the instance's side is in [`Upstream::timeouts`].
    pub timeouts: Timeouts,
}

/// The header in which a trusted proxy names the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// One `[[listen]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub address: ListenAddress,
    /// Length of the accept queue; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// `None`: clients speak in the clear.
    pub tls: Option<ListenTls>,
    /// Clients in the clear are sent to https.
    pub redirect: bool,
    /// Whether connections of `trusted_proxies` begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address of one family.
    Ip(SocketAddr),
    /// `":port"`: every address of both families, one dual-stack socket (IPv4 only where IPv6 is missing).
    Any(u16),
    /// `"unix:/path"`
    Unix(PathBuf),
    /// `"fd:NAME"`: the sockets that the service manager hands over under this name.
    Fd(String),
}

/// As the file has it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Ip(address) => address.fmt(out),
            ListenAddress::Any(port) => write!(out, ":{port}"),
            ListenAddress::Unix(path) => write!(out, "unix:{}", path.display()),
            ListenAddress::Fd(name) => write!(out, "fd:{name}"),
        }
    }
}

/// One `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The NAME.
    pub name: String,
    /// At least one; names are unique.
    pub instances: Vec<Instance>,
    /// How a client is placed when no key places it.
    pub balance: Balance,
    /// `None`: instances are spoken to in the clear.
    pub tls: Option<InstanceTls>,
    /// How the names of its instances are looked up.
    pub resolve: Resolve,
    /// What connections to its instances begin with.
    pub send_proxy_protocol: SendProxyProtocol,
    /// Each address of a name is an instance of its own.
    pub expand: bool,
    /// Local addresses to connect from; empty = the kernel chooses.
    pub source: Vec<IpAddr>,
    /// Paths at which Engine.IO is spoken; empty = nowhere.
    pub engine_io_paths: Vec<String>,
    /// Upgrades and new Engine.IO sessions in flight per instance; `None` = no limit.
    pub max_handshakes: Option<u32>,
    /// `[upstream.NAME.sticky]`
    pub sticky: Sticky,
    /// `[upstream.NAME.health]`
    pub health: Health,
    /// `[upstream.NAME.down]`
    pub down: Down,
    /// `[upstream.NAME.drain]`
    pub drain: Drain,
    /// `[upstream.NAME.rebalance]`
    pub rebalance: Rebalance,
    /// `[timeouts]` with this upstream's overrides.
    pub timeouts: Timeouts,
}

impl Upstream {
    /// Those of its instances whose addresses are instances of their own: names, if it expands them.
    pub fn expanded(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| self.expand && instance.is_named())
    }
}

/// Placement of a client that no key places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded, by weight, of two drawn at random.
    LeastTunnels,
    /// Each in turn, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
}

/// How names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// 1 s to 24 h: how old an answer may be before there is another lookup.
    pub every: Duration,
    /// 1 s to 7 d: how long an address is kept that neither a lookup nor a connection confirms.
    pub forget: Duration,
}

/// How clients are kept at their instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// Keys in the order in which they are tried; empty = not sticky.
    pub by: Vec<StickyKey>,
    /// The affinity cookie.
    pub cookie: Cookie,
    /// How addresses are mapped.
    pub ip_hash: IpHash,
    /// What a client that is bound to a dead instance gets.
    pub on_down: OnDown,
    /// Where the cookie's secrets come from.
    pub secret: SecretSource,
}

/// What a client that is bound to a dead instance gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// Another instance, and a new binding.
    Rebind,
    /// 503
    Fail,
}

/// One entry of `sticky.by`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyKey {
    /// A learned Engine.IO session id.
    Sid,
    /// The value of this request header (lower-case name).
    Header(String),
    /// The value of this parameter of the query.
    Query(String),
    /// The sealed load-balancer cookie.
    Cookie,
    /// The client's address.
    IpHash,
}

impl StickyKey {
    /// As the file has it: `header:x-user`.
    pub fn name(&self) -> String {
        match self {
            StickyKey::Sid => "sid".to_owned(),
            StickyKey::Cookie => "cookie".to_owned(),
            StickyKey::IpHash => "ip_hash".to_owned(),
            StickyKey::Header(name) => format!("header:{name}"),
            StickyKey::Query(name) => format!("query:{name}"),
        }
    }
}

/// Attributes of the affinity cookie (RFC 6265bis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// How long a binding is honoured after it was issued.
    pub ttl: Duration,
    /// No `Max-Age`: ends with the browser.
    pub session: bool,
    /// `Path`
    pub path: String,
    /// `Domain`
    pub domain: Option<String>,
    /// `SameSite`
    pub same_site: SameSite,
    /// `Secure`
    pub secure: Secure,
    /// `HttpOnly`
    pub http_only: bool,
    /// `Partitioned`
    pub partitioned: bool,
}

/// The cookie's `SameSite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `Lax`
    Lax,
    /// `Strict`
    Strict,
    /// `None`
    None,
}

/// The cookie's `Secure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// Set when the client used https.
    Auto,
    /// Always or never.
    Fixed(bool),
}

/// Where the cookie's secrets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Made once and kept in the state directory.
    Auto,
    /// One secret a line; the first seals, all open.
    File(PathBuf),
}

/// How `ip_hash` maps an address to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpHash {
    /// Weighted rendezvous hashing.
    Rendezvous {
        /// 0 to 32: IPv4 clients are told apart by this many leading bits.
        ipv4_prefix: u8,
        /// 0 to 128
        ipv6_prefix: u8,
        /// Hundredths, 101 to 10 000: an instance with this times its fair share gets no new client; `None` = it does.
        bound: Option<u32>,
    },
    /// The mapping of nginx's `ip_hash`.
    Nginx,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which `Host` it takes.
    pub host: HostPattern,
    /// Which path it takes.
    pub path: PathPattern,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Largest request body in bytes; `None` = no limit.
    pub body: Option<u64>,
}

/// Matches the host of a request, lower-case, without port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// Exactly this one.
    Exact(String),
    /// `*.suffix`: holds `.suffix`; takes one or more labels before it, not the bare suffix.
    Suffix(String),
}

/// Matches the raw path of a request (without query).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// Any path.
    Any,
    /// Exactly this one.
    Exact(String),
    /// `"/api/*"`: holds `/api`; takes `/api` and everything below `/api/`.
    Prefix(String),
}

/// `[timeouts]`; see `config.example.toml` for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its key in config.example.toml, word for word")]
pub struct Timeouts {
    pub first_byte: Duration,
    pub request_head: Duration,
    pub request_body: Duration,
    pub tls_handshake: Duration,
    pub connect: Duration,
    pub upgrade: Duration,
    pub response_head: Duration,
    pub body_idle: Duration,
    pub send: Duration,
    pub keep_alive: Duration,
    pub upstream_idle: Duration,
    pub tunnel_idle: Duration,
    pub half_close: Duration,
    pub close_wait: Duration,
    pub unacked: Duration,
    /// 1 s to 1 h; `None` = clients are not pinged.
    pub ping: Option<Duration>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter directive, e.g. `info` or `stickyd=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Where access lines go.
    pub access: AccessTarget,
    /// How access lines are written.
    pub access_format: AccessFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, journald priorities under a service manager, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// Text with `<N>` priority prefixes (sd-daemon(3)).
    Journald,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// `access.log` in the logs directory that the service manager names, else off.
    Auto,
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to; reopened on USR1.
    File(PathBuf),
}

/// How access lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
}

/// `[reload]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The file is loaded when it changes.
    pub watch: bool,
    /// 0 to 100, in hundredths: a watched change that removes more of an upstream's instances waits for a person.
    pub max_removed: u8,
}

/// `[shutdown]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `health_path` says 503 but traffic is still served.
    pub ready_delay: Duration,
    /// Closes are spread over this.
    pub spread: Duration,
    /// After it everything ends.
    pub deadline: Duration,
}

/// `[upgrade]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// A process that another one took over from keeps its tunnels for so long.
    pub linger: Duration,
    /// It closes them over the last part of that; at most all of it.
    pub spread: Duration,
}
