//! One element of a `Forwarded` field (RFC 7239 section 4), e.g. `for="[2001:db8::1]:4711";proto=https;by=_gateway`.
//!
//! Read as leniently as its writers, which are trusted proxies, need it: spaces around `;` and `=`, addresses that should have
//! been quoted. What a client could have smuggled in to swallow a proxy's word is not accepted: an open quote, text behind a
//! closed one, a parameter given twice. Such an element names nobody.

use std::net::IpAddr;

use super::{Scheme, address_of, scheme_of};

/// The address in `for=`; `None` for `unknown`, `_obfuscated`, nothing, or a malformed element.
pub(super) fn client(element: &[u8]) -> Option<IpAddr> {
    let node = parameter(element, b"for")?;
    address_of(node).or_else(|| address_of(without_obfuscated_port(node)?))
}

/// `proto=`
pub(super) fn scheme(element: &[u8]) -> Option<Scheme> {
    scheme_of(parameter(element, b"proto")?)
}

/// Cuts at the first `separator` outside quotes, which is in neither part. An open quote takes the rest.
pub(super) fn split_at_unquoted(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        } else if *byte == separator && !quoted {
            return (&text[..index], &text[index + 1..]);
        }
    }
    (text, &[])
}

/// The value of one parameter of a well-formed element, without quotes.
fn parameter<'v>(mut element: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    let mut found = None;
    while !element.is_empty() {
        let (pair, rest) = split_at_unquoted(element, b';');
        element = rest;
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = unquoted(pair[equals + 1..].trim_ascii())?;
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(name) && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// The inside of a quoted string, or a value without any quote. An escaped character is legal there, but no address and no
/// scheme needs one: such a value stays as it is and means nothing.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let Some(opened) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then_some(value);
    };
    let mut escaped = false;
    let inside = opened.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    (inside + 1 == opened.len()).then(|| &opened[..inside])
}

/// `192.0.2.43` of `192.0.2.43:_gazonk` (`obfport` of RFC 7239 section 6.3).
fn without_obfuscated_port(node: &[u8]) -> Option<&[u8]> {
    let colon = node.iter().rposition(|byte| *byte == b':')?;
    node[colon + 1..].starts_with(b"_").then_some(&node[..colon])
}
