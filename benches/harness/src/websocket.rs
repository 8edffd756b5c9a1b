//! RFC 6455 frames and handshake, both sides, without I/O. Only what an echo needs: one frame is one message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Opcodes in use (section 5.2).
pub(crate) const BINARY: u8 = 0x2;
/// Close.
pub(crate) const CLOSE: u8 = 0x8;
/// Ping.
pub(crate) const PING: u8 = 0x9;
/// Pong.
pub(crate) const PONG: u8 = 0xA;

/// The key of section 1.3. The harness always sends it: nobody may care what it is.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Largest header: 2 bytes, 8 of length, 4 of mask.
pub(crate) const HEADER_MAX: usize = 14;

/// A frame's header, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Low nibble of the first byte.
    pub(crate) opcode: u8,
    /// Masking key, of frames that a client sent.
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the header itself: where the payload starts.
    pub(crate) start: usize,
    /// Bytes of the payload.
    pub(crate) payload_len: usize,
}

impl Header {
    /// Reads a header from the start of `bytes`; `None` while it is not complete.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload_len, at) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let (mask, start) = if second & 0x80 == 0 {
            (None, at)
        } else {
            (Some(bytes.get(at..at + 4)?.try_into().ok()?), at + 4)
        };
        // A length beyond memory is never complete, which ends the connection by its reader's limit.
        let payload_len = usize::try_from(payload_len).unwrap_or(usize::MAX / 2);
        Some(Header { opcode: first & 0x0F, mask, start, payload_len })
    }

    /// Header and payload together, in bytes.
    pub(crate) fn frame_len(&self) -> usize {
        self.start.saturating_add(self.payload_len)
    }
}

/// Appends the header of an unfragmented frame.
pub(crate) fn push_header(out: &mut Vec<u8>, opcode: u8, payload_len: usize, mask: Option<[u8; 4]>) {
    out.push(0x80 | opcode);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ 0..=125), _) => out.push(masked + short),
        (_, Ok(medium)) => {
            out.push(masked + 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked + 127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
}

/// A whole frame: masked when it is a client's.
pub(crate) fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_MAX + payload.len());
    push_header(&mut out, opcode, payload.len(), mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask);
    }
    out
}

/// Masks or unmasks a payload from its first byte on, eight bytes at a time.
pub(crate) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// What the answer to `key` has to be (section 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_the_one_of_the_rfc() {
        assert_eq!(accept(KEY.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_length_form_is_read_back_at_every_split() {
        let mut checked = 0;
        for len in [0, 1, 7, 8, 125, 126, 65535, 65536, 1 << 20] {
            for mask in [None, Some([1, 2, 3, 250])] {
                let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
                let mut bytes = frame(BINARY, &payload, mask);
                let header = Header::parse(&bytes).expect("a whole frame");
                assert_eq!((header.opcode, header.payload_len, header.mask), (BINARY, len, mask));
                assert_eq!(header.frame_len(), bytes.len());
                for short in 0..header.start {
                    assert_eq!(Header::parse(&bytes[..short]), None, "{len} cut at {short}");
                }
                if let Some(mask) = mask {
                    assert!(len == 0 || bytes[header.start..] != payload[..], "{len} was not masked");
                    apply_mask(&mut bytes[header.start..], mask);
                }
                assert_eq!(bytes[header.start..], payload[..]);
                checked += 1;
            }
        }
        assert_eq!(checked, 18);
    }

    #[test]
    fn the_masked_hello_of_the_rfc() {
        let frame = frame(0x1, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(frame, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
