//! Trailer fields: which pass, which are dropped, which condemn the message (RFC 9110 section 6.5.1).
//!
//! A reader may merge trailers into the headers. So a field that a header check was made on must not come in behind
//! it: what frames or routes a message is refused, for there is no honest sender of it; what controls, authenticates
//! or describes a message, and what the proxy itself sets, is dropped.

use super::fields::{self, BadField};

/// Why a trailer section was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadTrailer {
    Field(BadField),
    Forbidden,
}

/// Framing, routing, and the connection itself.
const REFUSED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Request modifiers, authentication, control data of answers, the content's format, and what the proxy sets.
const DROPPED: &[&str] = &[
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// All of these are dropped: the client's address and the handshake of an upgrade.
const DROPPED_FAMILIES: &[&str] = &["x-forwarded-", "sec-websocket-", "access-control-"];

/// Finishes the line that begins at `start` and has just got its LF, the last byte of `section`: checks it and leaves
/// it as `name: value\r\n`, or takes it out. Answers whether it was the empty line, which is taken out too.
pub(super) fn finish_line(section: &mut Vec<u8>, start: usize) -> Result<bool, BadTrailer> {
    let (line, _) = fields::split_line(&section[start..]).map_err(BadTrailer::Field)?;
    if line.is_empty() {
        section.truncate(start);
        return Ok(true);
    }
    let field = fields::field(line).map_err(BadTrailer::Field)?;
    if is_one_of(REFUSED, field.name) {
        return Err(BadTrailer::Forbidden);
    }
    if is_one_of(DROPPED, field.name) || DROPPED_FAMILIES.iter().any(|family| begins(field.name, family)) {
        section.truncate(start);
        return Ok(false);
    }
    let clean = [field.name.as_bytes(), b": ", field.value, b"\r\n"].concat();
    section.truncate(start);
    section.extend_from_slice(&clean);
    Ok(false)
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.len() == name.len() && begins(name, known))
}

/// Whether `name` begins with `family`, in whatever case, and also when it is spelled with underscores: gateways
/// that make variables of fields cannot tell the two apart.
fn begins(name: &str, family: &str) -> bool {
    name.len() >= family.len()
        && name.bytes().zip(family.bytes()).all(|(byte, known)| {
            let byte = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
            byte == known
        })
}
