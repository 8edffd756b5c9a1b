//! Host and path to a route.
//!
//! Must not: decode or normalise a path (dot segments were refused before), know what an upstream is.

use std::net::Ipv6Addr;

use crate::config::model::{HostPattern, PathPattern, Route};

#[cfg(test)]
mod tests;

/// The index of the first of `routes` that takes this request. `host` as the client sent it (any case, with or without port,
/// IPv6 in brackets, a trailing dot); `path` raw, without query.
pub fn find(routes: &[Route], host: &str, path: &str) -> Option<usize> {
    let host = bare_host(host.as_bytes());
    routes.iter().position(|route| host_matches(&route.host, host) && path_matches(&route.path, path))
}

/// Without port and trailing dot; an IPv6 literal keeps its brackets.
fn bare_host(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        let end = host.iter().position(|byte| *byte == b']').map_or(host.len(), |bracket| bracket + 1);
        return &host[..end];
    }
    let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    let host = &host[..end];
    host.strip_suffix(b".").unwrap_or(host)
}

fn host_matches(pattern: &HostPattern, host: &[u8]) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => {
            host.eq_ignore_ascii_case(exact.as_bytes())
                || ipv6(host).is_some_and(|address| ipv6(exact.as_bytes()) == Some(address))
        }
        HostPattern::Suffix(suffix) => {
            let suffix = suffix.as_bytes();
            host.len()
                .checked_sub(suffix.len())
                .is_some_and(|labels| labels > 0 && host[labels..].eq_ignore_ascii_case(suffix))
        }
    }
}

/// One address has many spellings (RFC 5952 section 1), with brackets in `Host` and maybe without in the file.
fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let bare = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    bare.contains(&b':').then(|| str::from_utf8(bare).ok()?.parse().ok()).flatten()
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Any => true,
        PathPattern::Exact(exact) => path == exact,
        PathPattern::Prefix(prefix) => {
            path.strip_prefix(prefix.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/'))
        }
    }
}
