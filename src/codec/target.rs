//! The request target and the authority (RFC 9112 section 3.2, RFC 3986), narrower than the grammar: what two readers
//! could take for two different things is refused.

use super::request::BadRequest;

/// A target taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// Begins with `/`, or is `*`.
    pub(super) path_and_query: &'b str,
    /// Of absolute-form.
    pub(super) authority: Option<&'b str>,
}

/// Origin-form, absolute-form of http and https, or (OPTIONS only) asterisk-form.
///
/// Absolute-form without a path is `/`, for OPTIONS `*` (RFC 9112 section 3.2.4). With a query but without a path
/// (`http://host?query`) it is refused: nobody sends it, and it has no target that could be passed on as it is.
pub(super) fn read<'b>(method: &str, target: &'b str) -> Result<Target<'b>, BadRequest> {
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(BadRequest::Connect);
    }
    // httparse lets any UTF-8 pass but spaces and control characters. A fragment is never sent.
    if !target.is_ascii() || memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(BadRequest::TargetByte);
    }
    let (path_and_query, authority) = match target.as_bytes() {
        [b'/', ..] => (target, None),
        b"*" if method == "OPTIONS" => (target, None),
        _ => absolute_form(method, target)?,
    };
    if has_dot_segment(path(path_and_query).as_bytes()) {
        return Err(BadRequest::DotSegment);
    }
    Ok(Target { path_and_query, authority })
}

fn absolute_form<'b>(method: &str, target: &'b str) -> Result<(&'b str, Option<&'b str>), BadRequest> {
    let (scheme, rest) = target.split_once("://").ok_or(BadRequest::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(BadRequest::Target);
    }
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority.as_bytes()) {
        return Err(BadRequest::Authority);
    }
    match path_and_query.as_bytes() {
        [b'/', ..] => Ok((path_and_query, Some(authority))),
        [] if method == "OPTIONS" => Ok(("*", Some(authority))),
        [] => Ok(("/", Some(authority))),
        _ => Err(BadRequest::Target),
    }
}

/// A target without its query.
pub(super) fn path(target: &str) -> &str {
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => &target[..at],
        None => target,
    }
}

/// A segment `.` or `..`, however its dots are spelled. `\` and the encoded separators count as separators too:
/// instances exist that decode first and split then, and a route must not be left that way.
fn has_dot_segment(path: &[u8]) -> bool {
    // How many dots the segment has so far, or `None` when it is made of something else.
    let mut dots = None;
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match rest {
            [b'%', b'2', b'e' | b'E', tail @ ..] => (b'.', tail),
            [b'%', b'2', b'f' | b'F', tail @ ..] | [b'%', b'5', b'c' | b'C', tail @ ..] => (b'/', tail),
            _ => (*first, tail),
        };
        dots = match (byte, dots) {
            (b'/' | b'\\', Some(1 | 2)) => return true,
            (b'/' | b'\\', _) => Some(0_u8),
            (b'.', Some(count)) => Some(count.saturating_add(1)),
            _ => None,
        };
        rest = tail;
    }
    matches!(dots, Some(1 | 2))
}

/// A host with an optional port: a name of letters, digits, `-`, `.`, `_` and `~`, or an IPv6 address in brackets.
///
/// RFC 3986 allows more in a name, but no DNS name has it: `%` would be read in two ways, and `;`, `=`, `,` mean
/// something where the host is passed on (`Forwarded`).
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let end = match authority {
        [b'[', inner @ ..] => {
            let Some(close) = memchr::memchr(b']', inner) else { return false };
            let address = str::from_utf8(&inner[..close]).ok().and_then(|text| text.parse().ok());
            let Some(std::net::Ipv6Addr { .. }) = address else { return false };
            close + 2
        }
        name => name.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(name.len()),
    };
    end > 0
        && match &authority[end..] {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_port(port: &[u8]) -> bool {
    (1..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')) <= 65535
}

#[cfg(test)]
mod tests;
