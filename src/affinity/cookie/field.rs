//! The affinity cookie in `Cookie` and `Set-Cookie` fields: found, taken out, set.
//!
//! A `Cookie` field is split at every `;` (RFC 6265 section 5.4 lets a browser send anything else in a value, and every
//! server splits there, quotes or not); the spaces that section 4.2.1 wants are not insisted on.

use std::iter;

use memchr::memchr;

use crate::config::model::{Cookie, SameSite, Secure};

/// The values of the cookies of that name in one `Cookie` field (RFC 6265 section 4.2, as lenient as browsers need), in
/// their order. Quotes around a value are not part of what is returned. A browser sends several when one was set for another
/// path or domain.
pub fn values<'b>(field: &'b [u8], name: &str) -> impl Iterator<Item = &'b [u8]> {
    pieces(field).filter_map(move |piece| value_of(piece, name)).map(unquoted)
}

/// Appends the `Cookie` field without the cookies of that name, all others byte for byte; `false`, and nothing appended, when
/// nothing is left of it.
pub fn strip(field: &[u8], name: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut something = false;
    let mut first = true;
    for piece in pieces(field).filter(|piece| value_of(piece, name).is_none()) {
        if first {
            // The space behind the `;` of a cookie that is gone.
            out.extend_from_slice(piece.trim_ascii_start());
        } else {
            out.push(b';');
            out.extend_from_slice(piece);
        }
        first = false;
        something |= !piece.trim_ascii().is_empty();
    }
    if !something {
        out.truncate(start);
    }
    something
}

/// Appends a `Set-Cookie` value: the sealed value and the attributes of `config`; `https`: the client used https.
pub fn set_cookie(config: &Cookie, https: bool, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(config.name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
    if !config.session {
        out.extend_from_slice(b"; Max-Age=");
        // 0 would delete it.
        let seconds = config.ttl.as_secs().max(1);
        out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    }
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(config.path.as_bytes());
    if let Some(domain) = &config.domain {
        out.extend_from_slice(b"; Domain=");
        out.extend_from_slice(domain.as_bytes());
    }
    out.extend_from_slice(match config.same_site {
        SameSite::Lax => b"; SameSite=Lax",
        SameSite::Strict => b"; SameSite=Strict",
        SameSite::None => b"; SameSite=None",
    });
    if is_secure(config, https) {
        out.extend_from_slice(b"; Secure");
    }
    if config.http_only {
        out.extend_from_slice(b"; HttpOnly");
    }
    if config.partitioned {
        out.extend_from_slice(b"; Partitioned");
    }
}

/// Browsers drop `SameSite=None` and `Partitioned` cookies that are not `Secure`, so `auto` has no other choice there: a
/// client whose https the proxy cannot see (a balancer in front that does not say) keeps its cookie.
fn is_secure(config: &Cookie, https: bool) -> bool {
    match config.secure {
        Secure::Fixed(secure) => secure,
        Secure::Auto => https || config.same_site == SameSite::None || config.partitioned,
    }
}

/// What is between the `;`.
fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(field);
    iter::from_fn(move || {
        let field = left?;
        let end = memchr(b';', field);
        left = end.map(|end| &field[end + 1..]);
        Some(&field[..end.unwrap_or(field.len())])
    })
}

/// The value in one `name=value` piece, if it is of that name.
fn value_of<'b>(piece: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let rest = piece.trim_ascii().strip_prefix(name.as_bytes())?;
    Some(rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii())
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
