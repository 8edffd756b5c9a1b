//! The handshake of an upgrade, both sides: nothing becomes a tunnel that is not asked for and answered exactly so.

use crate::codec::Version;
use crate::codec::body::Framing;
use crate::codec::handshake::{self, Accept, has_token, is_key, single};
use crate::codec::request::RequestHead;
use crate::codec::response::ResponseHead;

/// A handshake that a client offers and that may be tunnelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// RFC 6455; holds what `Sec-WebSocket-Accept` must say.
    WebSocket(Accept),
    /// One of `upgrade_protocols`, lower-case.
    Other(Box<str>),
}

impl Handshake {
    /// The handshake of this request; `None`: it is none that may be tunnelled, and stays ordinary HTTP.
    pub(super) fn of(head: &RequestHead<'_, '_>, protocols: &[String]) -> Option<Self> {
        let plain = head.version == Version::Http11
            && matches!(head.framing, Framing::None | Framing::Length(0))
            && has_token(head.headers, "connection", "upgrade");
        let protocol = single(head.headers, "upgrade").filter(|_| plain)?;
        if protocol.eq_ignore_ascii_case(b"websocket") {
            let version = single(head.headers, "sec-websocket-version");
            let key = single(head.headers, "sec-websocket-key").filter(|key| is_key(key))?;
            return (head.method == "GET" && version == Some(b"13"))
                .then(|| Handshake::WebSocket(handshake::accept(key)));
        }
        let protocol = str::from_utf8(protocol).ok()?.to_ascii_lowercase();
        protocols.contains(&protocol).then(|| Handshake::Other(protocol.into()))
    }

    /// The token of `Upgrade`.
    pub(super) fn protocol(&self) -> &str {
        match self {
            Handshake::WebSocket(_) => "websocket",
            Handshake::Other(protocol) => protocol,
        }
    }

    /// Not WebSocket: bytes without frames.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self, Handshake::Other(_))
    }

    /// A 101 that answers this handshake, and nothing else.
    pub(super) fn is_answered_by(&self, head: &ResponseHead<'_, '_>) -> bool {
        let accept = match self {
            Handshake::WebSocket(accept) => Some(accept),
            Handshake::Other(_) => None,
        };
        handshake::switches(head.headers, self.protocol(), accept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::request;
    use crate::codec::{HeadLimits, Parsed, header_slots};

    fn check(line: &str, fields: &[&str], expected: Option<&str>) {
        let text = format!("{line}\r\nHost: a\r\n{}\r\n\r\n", fields.join("\r\n"));
        let mut slots = header_slots();
        let limits = HeadLimits { bytes: 4096, headers: 64 };
        let Ok(Parsed::Complete { head, .. }) = request::parse(text.as_bytes(), &mut slots, limits) else {
            panic!("not clean HTTP: {text}");
        };
        let handshake = Handshake::of(&head, &["ocpp".to_owned()]);
        assert_eq!(handshake.as_ref().map(Handshake::protocol), expected, "{text}");
    }

    #[test]
    fn only_exact_handshakes_may_be_tunnelled() {
        const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        const VERSION: &str = "Sec-WebSocket-Version: 13";
        const WS: Option<&str> = Some("websocket");
        let get = "GET / HTTP/1.1";
        check(get, &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY], WS);
        check(get, &["Connection: keep-alive, upgrade", "Upgrade: WebSocket", VERSION, KEY], WS);
        check(
            get,
            &["Connection: keep-alive", "Connection: upgrade", "Upgrade: websocket", VERSION, KEY],
            WS,
        );
        check("POST / HTTP/1.1", &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY], None);
        check("GET / HTTP/1.0", &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY], None);
        check(get, &["Upgrade: websocket", VERSION, KEY], None);
        check(get, &["Connection: close", "Upgrade: websocket", VERSION, KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: h2c, websocket", VERSION, KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket", VERSION, KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", VERSION], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", VERSION, "Sec-WebSocket-Key: short"], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY, KEY], None);
        check(get, &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY, "Content-Length: 1"], None);
        check(get, &["Connection: Upgrade", "Upgrade: h2c"], None);
        check(get, &["Connection: Upgrade", "Upgrade: OCPP"], Some("ocpp"));
    }
}
