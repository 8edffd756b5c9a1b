//! The PROXY protocol, both versions (haproxy.org/download/2.9/doc/proxy-protocol.txt): the header with which a proxy says whose
//! connection it passes on. Pure: bytes in, an address out.
//!
//! Strict: a header that begins as one and goes on otherwise is an error, never something else. Of version 2 the addresses are read,
//! the additional fields (TLVs) are skipped.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header that is read. The protocol asks for 536 bytes; fields with certificates may make it longer.
pub const HEADER_MAX: usize = 4096;

/// The longest header of version 1, with its line's end.
const TEXT_MAX: usize = 107;

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What stands at the begin of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// So far it may be a header.
    Partial,
    /// It is none.
    Other,
    /// A header.
    Header {
        /// Its length.
        len: usize,
        /// The client; `None`: the proxy speaks for itself (`LOCAL`), or does not say for whom.
        source: Option<SocketAddr>,
    },
}

/// It begins as a header, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Version 1: not as its grammar has it.
    Line,
    /// Longer than a header may be.
    TooLong,
    /// Not version 2.
    Version,
    /// A command that does not exist.
    Command,
    /// A family of addresses, or a kind of transport, that does not exist.
    Family,
    /// Too short for its addresses.
    TooShort,
}

impl Bad {
    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            Bad::Line => "the line of the PROXY protocol is malformed",
            Bad::TooLong => "the header of the PROXY protocol is too long",
            Bad::Version => "the PROXY protocol has a version that does not exist",
            Bad::Command => "the PROXY protocol has a command that does not exist",
            Bad::Family => "the PROXY protocol has a family of addresses that does not exist",
            Bad::TooShort => "the header of the PROXY protocol is too short for its addresses",
        }
    }
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// It begins as a header, and is none.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Bad> {
    let begins = |signature: &[u8]| {
        let len = bytes.len().min(signature.len());
        bytes[..len] == signature[..len]
    };
    if begins(TEXT) {
        if bytes.len() < TEXT.len() { Ok(Parsed::Partial) } else { text(bytes) }
    } else if begins(BINARY) {
        if bytes.len() < BINARY.len() { Ok(Parsed::Partial) } else { binary(bytes) }
    } else {
        Ok(Parsed::Other)
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`
fn text(bytes: &[u8]) -> Result<Parsed, Bad> {
    let window = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == TEXT_MAX { Err(Bad::TooLong) } else { Ok(Parsed::Partial) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Bad::Line)?;
    let line = str::from_utf8(&line[TEXT.len()..]).map_err(|_| Bad::Line)?;
    let len = end + 1;
    // What follows that word is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Parsed::Header { len, source: None });
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Bad::Line);
    let (family, source, target) = (word()?, word()?, word()?);
    let port = port(word()?)?;
    let _of_target = self::port(word()?)?;
    let address = |text| match family {
        "TCP4" => Ipv4Addr::from_str(text).map(IpAddr::V4).map_err(|_| Bad::Line),
        "TCP6" => Ipv6Addr::from_str(text).map(IpAddr::V6).map_err(|_| Bad::Line),
        _ => Err(Bad::Line),
    };
    let (source, _) = (address(source)?, address(target)?);
    match words.next() {
        None => Ok(Parsed::Header { len, source: Some(SocketAddr::new(source, port)) }),
        Some(_) => Err(Bad::Line),
    }
}

/// Digits without a leading zero.
fn port(text: &str) -> Result<u16, Bad> {
    let good = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| good).ok_or(Bad::Line)
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Parsed, Bad> {
    let Some((&[version, family, high, low], rest)) = bytes[BINARY.len()..].split_first_chunk::<4>() else {
        return Ok(Parsed::Partial);
    };
    if version >> 4 != 2 {
        return Err(Bad::Version);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    let whole = BINARY.len() + 4 + len;
    if whole > HEADER_MAX {
        return Err(Bad::TooLong);
    }
    let Some(body) = rest.get(..len) else { return Ok(Parsed::Partial) };
    let source = match (version & 0xf, family) {
        // A client at a unix socket of the proxy: two names of 108 bytes, and no address.
        (1, 0x31 | 0x32) if body.len() < 216 => return Err(Bad::TooShort),
        // LOCAL: whatever else there is, is to be skipped.
        (0, _) | (1, 0x00 | 0x31 | 0x32) => None,
        (1, 0x11 | 0x12) => Some(of_v4(body)?),
        (1, 0x21 | 0x22) => Some(of_v6(body)?),
        (1, _) => return Err(Bad::Family),
        _ => return Err(Bad::Command),
    };
    Ok(Parsed::Header { len: whole, source })
}

/// Source, target, their ports.
fn of_v4(body: &[u8]) -> Result<SocketAddr, Bad> {
    let &[a, b, c, d, _, _, _, _, high, low, _, _] = body.first_chunk::<12>().ok_or(Bad::TooShort)?;
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn of_v6(body: &[u8]) -> Result<SocketAddr, Bad> {
    let body = body.first_chunk::<36>().ok_or(Bad::TooShort)?;
    let source: [u8; 16] = *body.first_chunk().expect("16 of 36");
    Ok((Ipv6Addr::from(source), u16::from_be_bytes([body[32], body[33]])).into())
}
