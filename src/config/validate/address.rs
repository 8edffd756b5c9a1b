//! Addresses as people write them, and as they should have. Pure; nothing is resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::model::ListenAddress;
use super::super::raw::Wrong;
use super::names;

/// Longest path of a unix socket (unix(7): `sun_path` holds 108 bytes with the final zero).
const UNIX_PATH: usize = 107;

/// `"host:port"`, `":port"`, `"unix:/path"`, `"fd:NAME"`.
pub(super) fn listen(text: &str) -> Result<ListenAddress, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(ListenAddress::Unix);
    }
    if let Some(name) = text.strip_prefix("fd:") {
        return if names::is_token(name) {
            Ok(ListenAddress::Fd(name.to_owned()))
        } else {
            Err(Wrong::new("must name a socket behind fd:", "write for example \"fd:http\""))
        };
    }
    if text.starts_with('/') || text.starts_with("./") {
        let path = text.trim_start_matches('.');
        return Err(Wrong::new("must be an address", format!("write \"unix:{path}\" for a unix socket")));
    }
    let text = without_scheme(text)?;
    let Some((host, port)) = host_and_port(text) else {
        let write = match text.parse::<u16>() {
            Ok(port) => format!("write \":{port}\""),
            Err(_) => format!("write \"{}:80\" or another port", bracketed(text)),
        };
        return Err(Wrong::new("needs a port", write));
    };
    let port = parse_port(port, 0)?;
    match host {
        "" => Ok(ListenAddress::Any(port)),
        "*" => Err(Wrong::new("must be an address", format!("write \":{port}\" for every address"))),
        "localhost" => Err(Wrong::new(
            "must be an address, not a name",
            format!("write \"127.0.0.1:{port}\", or \"[::1]:{port}\""),
        )),
        _ => {
            let example = format!("write \":{port}\" for every address, or for example \"10.0.0.1:{port}\"");
            literal(host, port, example).map(ListenAddress::Ip)
        }
    }
}

fn unix(path: &str) -> Result<PathBuf, Wrong> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        let bare = path.trim_matches(['.', '/']);
        let write = match bare {
            "" => "write for example \"unix:/run/stickyd/http.sock\"".to_owned(),
            _ if bare.contains('/') => format!("write \"unix:/{bare}\""),
            _ => format!("write for example \"unix:/run/stickyd/{bare}\""),
        };
        return Err(Wrong::new("must name a unix socket by an absolute path", write));
    }
    if path.len() > UNIX_PATH {
        let write = format!("at most {UNIX_PATH} bytes, these are {}", path.len());
        return Err(Wrong::new("has a longer path than a unix socket may have", write));
    }
    Ok(PathBuf::from(path))
}

/// An address of this machine with a port, for example of the metrics listener.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(port) = text.parse::<u16>() {
        return Err(Wrong::new("needs an address before the port", format!("write \"127.0.0.1:{port}\"")));
    }
    match listen(text)? {
        ListenAddress::Ip(address) => Ok(address),
        ListenAddress::Any(port) => Err(Wrong::new(
            "needs an address before the port",
            format!("write \"127.0.0.1:{port}\", or \"[::]:{port}\" for everybody"),
        )),
        ListenAddress::Unix(_) | ListenAddress::Fd(_) => {
            Err(Wrong::new("must be an address and a port", "write for example \"127.0.0.1:9117\""))
        }
    }
}

/// An instance: `"name:port"`, `"10.0.0.1:port"`, `"[::1]:port"`. Host (without brackets) and port.
pub(super) fn instance(text: &str) -> Result<(String, u16), Wrong> {
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err(Wrong::new("must be host:port; unix sockets of instances are not supported", {
            "write for example \"127.0.0.1:3000\""
        }));
    }
    let text = without_scheme(text)?;
    let Some((host, port)) = host_and_port(text) else {
        let write = match text.parse::<u16>() {
            Ok(port) => format!("write \"127.0.0.1:{port}\""),
            Err(_) => format!("write \"{}:3000\", with the port that it listens on", bracketed(text)),
        };
        return Err(Wrong::new("needs a port", write));
    };
    let port = parse_port(port, 1)?;
    if host.is_empty() {
        return Err(Wrong::new("needs a host before the port", format!("write \"127.0.0.1:{port}\"")));
    }
    // What ends in digits can only be an address (RFC 3986 and WHATWG URL agree): no name has such a last label.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    if host.contains([':', '[', ']']) || last.bytes().all(|c| c.is_ascii_digit()) {
        let ip = literal(host, port, format!("write for example \"10.0.0.1:{port}\""))?.ip();
        if ip.is_unspecified() || ip.is_multicast() {
            let own = if ip.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            return Err(Wrong::new("must be an address to connect to", format!("write \"{own}:{port}\"?")));
        }
        return Ok((ip.to_string(), port));
    }
    if !names::is_host(host) {
        return Err(Wrong::new("must be a host and a port", "write for example \"instance-1:3000\""));
    }
    Ok((host.to_owned(), port))
}

/// `text`, unless it is a URL.
fn without_scheme(text: &str) -> Result<&str, Wrong> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let bare = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if scheme.is_empty() && bare == text {
        return Ok(text);
    }
    let port = match scheme {
        _ if bare.contains(':') => "",
        "https" | "wss" => ":443",
        _ => ":80",
    };
    Err(Wrong::new("must be host:port, not a URL", format!("write \"{bare}{port}\"")))
}

fn parse_port(text: &str, low: u16) -> Result<u16, Wrong> {
    let port =
        text.parse::<u16>().ok().filter(|port| *port >= low && text.bytes().all(|c| c.is_ascii_digit()));
    port.ok_or_else(|| Wrong::new("has no valid port", format!("ports are {low} to 65535")))
}

/// `None`: there is no port. An IPv6 address without brackets has one only where it is none without it.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let swallowed = text.parse::<Ipv6Addr>().is_ok() && host.parse::<Ipv6Addr>().is_err();
    (!swallowed && !text.ends_with(']')).then_some((host, port))
}

/// An address literal, IPv6 in brackets; `example` = what to type instead of anything else.
fn literal(host: &str, port: u16, example: String) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((address, port).into());
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Err(Wrong::new(
            "needs brackets around its IPv6 address",
            format!("write \"[{address}]:{port}\""),
        ));
    }
    let bracketed = format!("{host}:{port}");
    if host.starts_with('[') {
        if let Ok(address) = bracketed.parse::<SocketAddr>() {
            return Ok(address);
        }
        return Err(Wrong::new("is no IPv6 address", format!("write for example \"[::1]:{port}\"")));
    }
    let what = if host.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        "is no IPv4 address"
    } else {
        "must be an address, not a name"
    };
    Err(Wrong::new(what, example))
}

fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// A network, or one address.
pub(in crate::config) fn network(text: &str) -> Result<IpNet, Wrong> {
    let example = "write for example \"10.0.0.0/16\" or \"10.1.2.3\"";
    let Some((address, length)) = text.split_once('/') else {
        let address =
            text.parse::<IpAddr>().map_err(|_| Wrong::new("must hold addresses or networks", example))?;
        return Ok(IpNet::from(plain(address)?));
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(Wrong::new("must hold addresses or networks", example));
    };
    let address = plain(address)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.parse::<u8>().ok().filter(|bits| *bits <= longest);
    let Some(network) = length.and_then(|bits| IpNet::new(address, bits).ok()) else {
        return Err(Wrong::new(
            "has a prefix that is too long",
            format!("/0 to /{longest}: write \"{address}/{longest}\""),
        ));
    };
    if network.trunc() != network {
        let write =
            format!("write \"{}\" for the network, \"{address}\" for the one address", network.trunc());
        return Err(Wrong::new("names an address inside a network", write));
    }
    Ok(network)
}

/// An address of this machine to connect from.
pub(super) fn source(text: &str) -> Result<IpAddr, Wrong> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let write = match text.parse::<SocketAddr>() {
            Ok(address) => format!("write \"{}\", without a port", address.ip()),
            Err(_) => "write for example \"10.0.0.5\"".to_owned(),
        };
        return Err(Wrong::new("must hold addresses of this machine", write));
    };
    if address.is_unspecified() || address.is_multicast() {
        return Err(Wrong::new(
            "must hold addresses of this machine",
            "take this out: it is none to connect from",
        ));
    }
    plain(address)
}

/// Clients' addresses are compared without the IPv4-in-IPv6 form, so it would never match.
fn plain(address: IpAddr) -> Result<IpAddr, Wrong> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let v4 = address.to_canonical();
            Err(Wrong::new(
                "holds an IPv4 address in IPv6 form",
                format!("write \"{v4}\", and its own prefix"),
            ))
        }
        _ => Ok(address),
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
