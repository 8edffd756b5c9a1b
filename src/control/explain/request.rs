//! What was asked, as the request that the data path would read.

use std::fmt;
use std::net::IpAddr;

use crate::config::model::{Config, HostPattern, Route};
use crate::routing::route;

/// Who would come, with what.
#[derive(Clone, Debug)]
pub struct Question {
    /// The client's address, as the proxy would find it.
    pub address: IpAddr,
    /// The value of the upstream's cookie, or a whole `Cookie` field.
    pub cookie: Option<String>,
    /// An Engine.IO session id.
    pub sid: Option<String>,
    /// What is asked for; `None`: a session start at the first upstream.
    pub url: Option<Url>,
    /// Further fields.
    pub headers: Vec<Field>,
}

/// A path with its query, or a whole URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port, where it names them.
    pub(super) host: Option<String>,
    /// Path and query.
    pub(super) target: String,
    /// `ws:` or `wss:`
    pub(super) web_socket: bool,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

impl Url {
    /// Of `/path?query`, or of a URL of http, https, ws or wss.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("spaces and all but ASCII must be percent-encoded".to_owned());
        }
        let text = text.split('#').next().unwrap_or_default();
        if text.starts_with('/') {
            return Ok(Url { host: None, target: text.to_owned(), web_socket: false });
        }
        let how = || "write /path?query, or http://host/path?query (https, ws, wss)".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(how)?;
        let web_socket = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "wss" => true,
            "http" | "https" => false,
            _ => return Err(how()),
        };
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Url { host: Some(host.to_owned()), target: format!("{slash}{target}"), web_socket })
    }
}

/// As it is parsed.
impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(out, "{}://{host}", if self.web_socket { "ws" } else { "http" })?;
        }
        out.write_str(&self.target)
    }
}

/// As it is parsed.
impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.name, self.value)
    }
}

impl Field {
    /// Of `Name: value`.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!("'{}' is no name of a header", name.escape_default()));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err("a value has no control characters".to_owned());
        }
        Ok(Field { name: name.to_owned(), value: value.trim().to_owned() })
    }
}

/// The request, written out.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) head: Vec<u8>,
    pub(super) host: String,
    pub(super) path: String,
    /// Nobody named the host; it is one that the routes take.
    pub(super) host_is_assumed: bool,
    /// It asks for a tunnel.
    pub(super) upgrades: bool,
}

/// Writes the request that a client would send.
pub(super) fn write(config: &Config, question: &Question) -> Written {
    let url = question.url.clone().unwrap_or_else(|| session_start(config));
    let target = match &question.sid {
        // The first of several counts.
        Some(sid) => with_sid(&url.target, sid),
        None => url.target,
    };
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let given = question.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
    let named = given.map(|field| field.value.clone()).or(url.host);
    let host_is_assumed = named.is_none();
    let host = named.unwrap_or_else(|| assumed_host(config, &path, question.url.is_none()));

    let mut head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
    let mut upgrades = url.web_socket || is_web_socket_transport(&target);
    for Field { name, value } in &question.headers {
        if name.eq_ignore_ascii_case("upgrade") {
            let protocol = value.to_ascii_lowercase();
            upgrades |= protocol == "websocket" || config.upgrade_protocols.contains(&protocol);
        }
        if !name.eq_ignore_ascii_case("host") {
            head.extend([name, ": ", value, "\r\n"]);
        }
    }
    head.push_str("\r\n");
    Written { head: head.into_bytes(), host, path, host_is_assumed, upgrades }
}

/// What a Socket.IO client of the first upstream asks for first.
fn session_start(config: &Config) -> Url {
    match config.upstreams.first().and_then(|upstream| upstream.engine_io_paths.first()) {
        Some(path) => {
            Url { host: None, target: format!("{path}?EIO=4&transport=websocket"), web_socket: false }
        }
        None => Url { host: None, target: "/".to_owned(), web_socket: true },
    }
}

fn with_sid(target: &str, sid: &str) -> String {
    let sid: String = form_urlencoded::byte_serialize(sid.as_bytes()).collect();
    match target.split_once('?') {
        Some((path, query)) => format!("{path}?sid={sid}&{query}"),
        None => format!("{target}?sid={sid}"),
    }
}

/// Engine.IO's clients say so in the query, and in the header that nobody writes here.
fn is_web_socket_transport(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|parameter| parameter == "transport=websocket")
}

/// A host that the routes take for this path, if there is one; `first`: of the first upstream, if it can be.
fn assumed_host(config: &Config, path: &str, first: bool) -> String {
    let example = |route: &Route| match &route.host {
        HostPattern::Any => "localhost".to_owned(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Suffix(suffix) => format!("any{suffix}"),
    };
    let taken = |wanted: fn(&Route) -> bool| {
        config.routes.iter().enumerate().find_map(|(index, route)| {
            let host = Some(example(route)).filter(|_| wanted(route))?;
            (route::find(&config.routes, &host, path) == Some(index)).then_some(host)
        })
    };
    let of_first = if first { taken(|route| route.upstream == 0) } else { None };
    of_first.or_else(|| taken(|_| true)).unwrap_or_else(|| "localhost".to_owned())
}
