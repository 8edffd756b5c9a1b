//! The handshake of an upgrade: what its fields must say, and the answer to a WebSocket's key (RFC 6455 section 4).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Header;

/// RFC 6455 section 1.3
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept`.
pub type Accept = [u8; 28];

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub fn accept(key: &[u8]) -> Accept {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    let mut accept = [0; 28];
    STANDARD.encode_slice(context.finish(), &mut accept).expect("20 bytes are 28 characters of base64");
    accept
}

/// 16 bytes in base64: what a key is.
pub fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
}

/// `Sec-WebSocket-Key` of 16 bytes, which nobody may be able to guess.
pub fn key(bytes: [u8; 16]) -> String {
    STANDARD.encode(bytes)
}

/// A 101 with these fields switches to `protocol`; `accept`: and answers this handshake.
pub fn switches(headers: &[Header<'_>], protocol: &str, accept: Option<&Accept>) -> bool {
    let same = single(headers, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case(protocol.as_bytes()));
    same && has_token(headers, "connection", "upgrade")
        && accept.is_none_or(|accept| single(headers, "sec-websocket-accept") == Some(accept))
}

/// The value of a field that occurs exactly once.
pub fn single<'b>(headers: &[Header<'b>], name: &str) -> Option<&'b [u8]> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let first = values.next()?;
    values.next().is_none().then_some(first.value)
}

/// A field that is a list has this token.
pub fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_own_example() {
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ==") && !is_key(b"dGhlIHNhbXBsZSBub25jZQ"));
    }

    #[test]
    fn what_switches() {
        let field = |name: &'static str, value: &'static str| Header { name, value: value.as_bytes() };
        let good = [
            field("Connection", "keep-alive, Upgrade"),
            field("upgrade", "WebSocket"),
            field("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let accept = accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(switches(&good, "websocket", Some(&accept)));
        assert!(switches(&good[..2], "websocket", None));
        assert!(!switches(&good[..2], "websocket", Some(&accept)));
        assert!(!switches(&good, "websocket", Some(&[b'x'; 28])));
        assert!(!switches(&good[1..], "websocket", None));
        assert!(!switches(&good, "other", None));
        assert!(!switches(&[good[0], good[1], good[1]], "websocket", None));
    }
}
