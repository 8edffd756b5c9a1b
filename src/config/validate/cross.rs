//! What only shows when two parts of the document are put side by side.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::super::model::{
    ClientIpHeader, Cookie, HostPattern, ListenAddress, Listener, PathPattern, ProxyProtocol, Route,
    StickyKey,
};
use super::super::raw::{Spanned, Table};
use super::super::report::Problem;
use super::{timeouts, top, upstream};

/// Engine.IO's pingInterval and pingTimeout, by default (Engine.IO 4 and later).
const PING: Duration = Duration::from_secs(25);
const PING_AND_TIMEOUT: Duration = Duration::from_secs(45);
/// `server.keepAliveTimeout` of Node, by default.
const NODE_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The idle time-out of AWS's load balancers, by default.
const BALANCER_IDLE: Duration = Duration::from_mins(1);

/// The sections that may have an `address` of their own.
type Pages = [(&'static str, Option<SocketAddr>); 2];

pub(super) fn check(
    document: &Table<'_>,
    general: &top::General,
    listeners: &[Spanned<Listener>],
    base: &timeouts::Read,
    upstreams: &[upstream::Read],
    routes: &[Spanned<Route>],
    pages: Pages,
) {
    let note = Note(document);
    twin_listeners(&note, listeners, pages);
    loops(&note, listeners, upstreams);
    proxies(&note, general, base);
    proxy_protocol(&note, general, listeners);
    health_path(&note, general, upstreams);
    times(&note, base, upstreams);
    cookies(&note, upstreams, routes);
    unused(&note, upstreams, routes);
}

/// Where problems go.
struct Note<'n, 'd>(&'n Table<'d>);

impl Note<'_, '_> {
    fn error(&self, span: Range<usize>, title: impl Into<String>, label: impl Into<String>) {
        self.0.walk().report_if_whole(Problem::error(span, title, label));
    }

    fn warning(&self, span: Range<usize>, title: impl Into<String>, label: impl Into<String>) {
        self.0.walk().report_if_whole(Problem::warning(span, title, label));
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.0.walk().line(span.start)
    }
}

/// Whether two sockets cannot both be bound. Port 0 is another port each time; one address beside the wildcard is
/// fine, the kernel prefers the one address.
fn clash(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
        (ListenAddress::Fd(a), ListenAddress::Fd(b)) => a == b,
        (ListenAddress::Any(0) | ListenAddress::Unix(_) | ListenAddress::Fd(_), _)
        | (_, ListenAddress::Any(0) | ListenAddress::Unix(_) | ListenAddress::Fd(_)) => false,
        (ListenAddress::Any(a), ListenAddress::Any(b)) => a == b,
        (ListenAddress::Any(any), ListenAddress::Ip(ip))
        | (ListenAddress::Ip(ip), ListenAddress::Any(any)) => *any == ip.port() && ip.ip().is_unspecified(),
        (ListenAddress::Ip(a), ListenAddress::Ip(b)) => a == b && a.port() != 0,
    }
}

fn twin_listeners(note: &Note<'_, '_>, listeners: &[Spanned<Listener>], pages: Pages) {
    for (index, listener) in listeners.iter().enumerate() {
        let address = &listener.get_ref().address;
        if let Some(first) = listeners[..index].iter().find(|first| clash(&first.get_ref().address, address))
        {
            let label = format!("the listener in line {} covers it: take one out", note.line(&first.span()));
            note.error(listener.span(), "two listeners on the same address", label);
        }
        for (section, page) in pages {
            let Some(page) = page.filter(|page| shares_port(address, *page)) else { continue };
            let title = format!("this listener and `{section}.address` ({page}) want the same port");
            let label = format!("change one; [{section}] address = \"off\" does without");
            note.error(listener.span(), title, label);
        }
    }
}

/// A page shares its port with nobody, not even beside a wildcard.
fn shares_port(address: &ListenAddress, page: SocketAddr) -> bool {
    match address {
        _ if page.port() == 0 => false,
        ListenAddress::Any(port) => *port == page.port(),
        ListenAddress::Ip(ip) => {
            let all = ip.ip().is_unspecified() || page.ip().is_unspecified();
            ip.port() == page.port() && (all || ip.ip() == page.ip())
        }
        ListenAddress::Unix(_) | ListenAddress::Fd(_) => false,
    }
}

/// An instance that is this proxy itself.
fn loops(note: &Note<'_, '_>, listeners: &[Spanned<Listener>], upstreams: &[upstream::Read]) {
    for read in upstreams {
        for (instance, span) in read.upstream.instances.iter().zip(&read.instances) {
            let ip = match instance.host.as_str() {
                "localhost" => Some([127, 0, 0, 1].into()),
                host => host.parse::<std::net::IpAddr>().ok(),
            };
            let Some(ip) = ip else { continue };
            let own = listeners.iter().find(|listener| match &listener.get_ref().address {
                ListenAddress::Any(port) => *port == instance.port && ip.is_loopback(),
                ListenAddress::Ip(own) => {
                    own.port() == instance.port
                        && (own.ip() == ip || (own.ip().is_unspecified() && ip.is_loopback()))
                }
                ListenAddress::Unix(_) | ListenAddress::Fd(_) => false,
            });
            if let Some(own) = own {
                let label = format!("it is the listener in line {}: change one port", note.line(&own.span()));
                note.error(span.clone(), "this instance is the proxy itself", label);
            }
        }
    }
}

/// A header of the PROXY protocol that nobody may send.
fn proxy_protocol(note: &Note<'_, '_>, general: &top::General, listeners: &[Spanned<Listener>]) {
    if !general.trusted_proxies.is_empty() {
        return;
    }
    for listener in listeners {
        let Listener { address, proxy_protocol, .. } = listener.get_ref();
        let title = match proxy_protocol {
            _ if !matches!(address, ListenAddress::Ip(_) | ListenAddress::Any(_)) => continue,
            ProxyProtocol::Off => continue,
            ProxyProtocol::Optional => {
                "the PROXY protocol is believed from nobody: `trusted_proxies` is empty"
            }
            ProxyProtocol::Required => {
                "nobody can connect here: the PROXY protocol is required, and `trusted_proxies` is empty"
            }
        };
        let label = "add trusted_proxies = [\"10.0.0.0/16\"] at the top, or take out its proxy_protocol";
        note.warning(listener.span(), title, label);
    }
}

fn proxies(note: &Note<'_, '_>, general: &top::General, base: &timeouts::Read) {
    let trusted = note.0.value_span("trusted_proxies");
    if let (Some(span), true) = (&trusted, general.trusted_proxies.iter().any(|net| net.prefix_len() == 0)) {
        let label = "name the balancers' networks, unless nobody else can reach the listeners";
        note.warning(span.clone(), "every client may claim any address", label);
    }
    let header = note.0.value_span("client_ip_header");
    if let (Some(span), true) = (header, general.trusted_proxies.is_empty()) {
        let what = match general.client_ip_header {
            ClientIpHeader::XForwardedFor => "X-Forwarded-For",
            ClientIpHeader::Forwarded => "Forwarded",
        };
        let title = format!("{what} is believed from nobody: `trusted_proxies` is empty");
        note.warning(span, title, "add trusted_proxies = [\"10.0.0.0/16\"], or delete this line");
    }
    if !general.trusted_proxies.is_empty() && base.timeouts.keep_alive <= BALANCER_IDLE {
        let title = "a balancer that keeps connections longer than this sees them break";
        let label = "must exceed the balancer's idle time-out (60s by default at AWS): write \"75s\"";
        note.warning(base.spans.keep_alive.clone().unwrap_or_default(), title, label);
    }
}

fn health_path(note: &Note<'_, '_>, general: &top::General, upstreams: &[upstream::Read]) {
    let (Some(path), Some(span)) = (&general.health_path, note.0.value_span("health_path")) else { return };
    let mut paths = upstreams.iter().flat_map(|read| &read.upstream.engine_io_paths);
    if let Some(taken) =
        paths.find(|other| path == *other || path.starts_with(&format!("{}/", other.trim_end_matches('/'))))
    {
        let title = format!("the proxy would answer this itself, but Engine.IO is spoken at {taken}");
        note.error(span, title, "write another path, for example \"/-/ready\"");
    }
}

fn times(note: &Note<'_, '_>, base: &timeouts::Read, upstreams: &[upstream::Read]) {
    for read in upstreams {
        let timeouts = &read.upstream.timeouts;
        let written = |own: &Option<Range<usize>>, base: &Option<Range<usize>>| own.clone().or(base.clone());
        let engine_io = !read.upstream.engine_io_paths.is_empty();
        if engine_io
            && timeouts.response_head <= PING_AND_TIMEOUT
            && let Some(span) = written(&read.timeouts.response_head, &base.spans.response_head)
        {
            let title = "Engine.IO parks a long-poll for up to 45s: this cuts it before its answer";
            note.warning(span, title, "write \"60s\"; or engine_io_path = \"off\" in the upstream");
        }
        if engine_io
            && timeouts.tunnel_idle <= PING
            && let Some(span) = written(&read.timeouts.tunnel_idle, &base.spans.tunnel_idle)
        {
            let title = "Engine.IO is silent for 25s between its pings: this cuts healthy tunnels";
            note.warning(span, title, "write \"1h\"; or engine_io_path = \"off\" in the upstream");
        }
        if timeouts.ping.is_some_and(|ping| ping >= timeouts.tunnel_idle)
            && let Some(span) = written(&read.timeouts.ping, &base.spans.ping)
        {
            let title =
                "a tunnel that is silent on both sides ends by `tunnel_idle` before its client is pinged";
            note.warning(span, title, "write less than tunnel_idle");
        }
        if timeouts.upstream_idle >= NODE_KEEP_ALIVE
            && let Some(span) = written(&read.timeouts.upstream_idle, &base.spans.upstream_idle)
        {
            let title = "Node closes idle connections after 5s: requests would race with that";
            note.warning(span, title, "write \"4s\", or raise keepAliveTimeout in the instances above this");
        }
    }
}

/// Two upstreams that set one cookie where a browser sends both: each would take the other's for a foreign one.
fn cookies(note: &Note<'_, '_>, upstreams: &[upstream::Read], routes: &[Spanned<Route>]) {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, read) in upstreams.iter().enumerate() {
        if read.upstream.sticky.by.contains(&StickyKey::Cookie) {
            by_name.entry(&read.upstream.sticky.cookie.name).or_default().push(index);
        }
    }
    let mut hosts: Vec<Vec<&HostPattern>> = vec![Vec::new(); upstreams.len()];
    for route in routes {
        hosts[route.get_ref().upstream].push(&route.get_ref().host);
    }
    let hosts = |index: usize| (&upstreams[index].upstream.sticky.cookie, hosts[index].as_slice());
    let mut twins: Vec<&Vec<usize>> = by_name.values().filter(|all| all.len() > 1).collect();
    twins.sort();
    for all in twins {
        for (position, second) in all.iter().enumerate() {
            let Some(first) = all[..position].iter().find(|first| meet(hosts(**first), hosts(*second)))
            else {
                continue;
            };
            let (first, second) = (&upstreams[*first], &upstreams[*second]);
            let name = &second.upstream.sticky.cookie.name;
            let title = format!(
                "upstreams \"{}\" and \"{}\" set the same cookie \"{name}\" for the same hosts",
                first.upstream.name, second.upstream.name
            );
            let span = second.cookie.clone().or(first.cookie.clone()).unwrap_or(second.span.clone());
            note.error(span, title, "give each its own, or delete this line: the default differs");
        }
    }
}

/// Whether a browser may send the cookie of one upstream to the other.
fn meet((a, hosts_a): (&Cookie, &[&HostPattern]), (b, hosts_b): (&Cookie, &[&HostPattern])) -> bool {
    if !(under(&a.path, &b.path) || under(&b.path, &a.path)) {
        return false;
    }
    let shared = |domain: Option<&String>, one: &HostPattern, other: &HostPattern| {
        domain.is_some_and(|domain| within(one, domain) && within(other, domain))
    };
    let meet = |one: &HostPattern, other: &HostPattern| {
        overlap(one, other) || shared(a.domain.as_ref(), one, other) || shared(b.domain.as_ref(), one, other)
    };
    hosts_a.iter().any(|one| hosts_b.iter().any(|other| meet(one, other)))
}

/// Whether cookies of path `above` are sent to `path` (RFC 6265, section 5.1.4).
fn under(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || above.ends_with('/') || rest.starts_with('/'))
}

/// Whether some host is taken by both.
fn overlap(a: &HostPattern, b: &HostPattern) -> bool {
    match (a, b) {
        (HostPattern::Any, _) | (_, HostPattern::Any) => true,
        (HostPattern::Exact(a), HostPattern::Exact(b)) => a == b,
        (HostPattern::Exact(host), HostPattern::Suffix(suffix))
        | (HostPattern::Suffix(suffix), HostPattern::Exact(host)) => {
            host.len() > suffix.len() && host.ends_with(suffix)
        }
        (HostPattern::Suffix(a), HostPattern::Suffix(b)) => a.ends_with(b) || b.ends_with(a),
    }
}

/// Whether some host that `pattern` takes is `domain` or below it.
fn within(pattern: &HostPattern, domain: &str) -> bool {
    let below = format!(".{domain}");
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(host) => host == domain || host.ends_with(&below),
        HostPattern::Suffix(suffix) => suffix.ends_with(&below) || below.ends_with(suffix.as_str()),
    }
}

/// Routes that no request reaches, and upstreams that no route names.
fn unused(note: &Note<'_, '_>, upstreams: &[upstream::Read], routes: &[Spanned<Route>]) {
    if routes.is_empty() {
        return;
    }
    for (index, route) in routes.iter().enumerate() {
        let Route { host, path, .. } = route.get_ref();
        let covers = |first: &&Spanned<Route>| {
            let first = first.get_ref();
            covers_host(&first.host, host) && covers_path(&first.path, path)
        };
        if let Some(first) = routes[..index].iter().find(covers) {
            let label = format!(
                "the one in line {} takes all its requests: move this one up",
                note.line(&first.span())
            );
            note.warning(route.span(), "no request reaches this route", label);
        }
    }
    for (index, read) in upstreams.iter().enumerate() {
        if !routes.iter().any(|route| route.get_ref().upstream == index) {
            let title = format!("no [[route]] names upstream \"{}\"", read.upstream.name);
            let label = format!("add a [[route]] with upstream = \"{}\", or delete it", read.upstream.name);
            note.warning(read.span.clone(), title, label);
        }
    }
}

fn covers_host(first: &HostPattern, second: &HostPattern) -> bool {
    match (first, second) {
        (HostPattern::Any, _) => true,
        (HostPattern::Suffix(suffix), HostPattern::Suffix(other)) => other.ends_with(suffix),
        (HostPattern::Suffix(_), HostPattern::Exact(_)) => overlap(first, second),
        _ => first == second,
    }
}

fn covers_path(first: &PathPattern, second: &PathPattern) -> bool {
    let below = |path: &str, above: &str| {
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (first, second) {
        (PathPattern::Any, _) => true,
        (PathPattern::Prefix(above), PathPattern::Prefix(path) | PathPattern::Exact(path)) => {
            below(path, above)
        }
        _ => first == second,
    }
}
