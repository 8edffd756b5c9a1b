//! WebSocket as bytes: the handshake of RFC 6455's own example, frames built and taken apart.

use super::{Instance, Proxy, Socket};

/// The key of RFC 6455 section 1.3 and its answer.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A client's handshake; `fields`: whole lines.
pub(crate) fn handshake(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

/// An instance's answer to [`handshake`]; `fields`: whole lines.
pub(crate) fn switch(fields: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{fields}\r\n"
    )
}

/// A tunnel through `proxy` to `instance`: the client's end and the instance's.
pub(crate) fn open(proxy: &Proxy, instance: &Instance) -> (Socket, Socket) {
    let mut client = proxy.connect();
    client.send(handshake("/ws", ""));
    let mut far = instance.accept();
    assert!(far.head().starts_with("GET /ws HTTP/1.1\r\n"));
    far.send(switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (client, far)
}

/// A frame on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits, the opcode.
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    /// Not masked.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// As instances send it.
    pub(crate) fn new(first: u8, payload: impl Into<Vec<u8>>) -> Self {
        Frame { first, mask: None, payload: payload.into() }
    }

    /// As clients send it.
    pub(crate) fn masked(first: u8, payload: impl Into<Vec<u8>>) -> Self {
        Frame { first, mask: Some([0x37, 0xfa, 0x21, 0x3d]), payload: payload.into() }
    }

    /// As clients (`up`) or instances send it.
    pub(crate) fn of(up: bool, first: u8, payload: impl Into<Vec<u8>>) -> Self {
        if up { Self::masked(first, payload) } else { Self::new(first, payload) }
    }

    /// A Close frame of an instance.
    pub(crate) fn close(code: u16) -> Self {
        Self::new(CLOSE, code.to_be_bytes())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let masked = if self.mask.is_some() { 0x80 } else { 0x00 };
        let mut bytes = vec![self.first];
        match self.payload.len() {
            len @ 0..=125 => bytes.push(masked + len as u8),
            len @ 126..=0xffff => {
                bytes.push(masked + 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(masked + 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn read(from: &mut Socket) -> Self {
        from.parsed(Self::parse)
    }

    /// The first frame in `bytes` and its length on the wire.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let &[first, second, ref rest @ ..] = bytes else { return None };
        let (len, rest) = match second & 0x7f {
            126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
            127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
            len => (u64::from(len), rest),
        };
        let (mask, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (Some(*mask), rest))?,
        };
        let payload = rest.get(..usize::try_from(len).unwrap())?;
        let key: [u8; 4] = mask.unwrap_or_default();
        let unmasked = payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame = Frame { first, mask, payload: unmasked.collect() };
        Some((frame, bytes.len() - rest.len() + payload.len()))
    }

    /// The code of a Close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        (self.first == CLOSE).then(|| u16::from_be_bytes(self.payload[..2].try_into().unwrap()))
    }
}

/// The proxy closes a tunnel with this code, and both ends answer.
#[track_caller]
pub(crate) fn closed(client: &mut Socket, far: &mut Socket, code: u16) {
    expect_close(client, code, false);
    expect_close(far, code, true);
    client.send(Frame::masked(CLOSE, code.to_be_bytes()).bytes());
    far.send(Frame::close(code).bytes());
}

/// The next frame is a Close of the proxy with this code: masked towards an instance, which takes the proxy for a client.
#[track_caller]
pub(crate) fn expect_close(from: &mut Socket, code: u16, masked: bool) {
    let frame = Frame::read(from);
    assert_eq!((frame.code(), frame.mask.is_some()), (Some(code), masked), "{frame:?}");
}
