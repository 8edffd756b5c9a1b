//! Header and trailer fields: the rules that hold in requests, in answers and behind the last chunk
//! (RFC 9112 sections 5 and 6, RFC 9110 section 5).
//!
//! The hot path is httparse's; what it lets through (bare LF) is caught by [`check_line_ends`]. The slow reader of
//! single lines here names the broken rule after httparse has said no, and reads trailers.

use super::{Header, Version, body::Framing};

/// A rule about fields that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadField {
    /// A line ends with LF alone (RFC 9112 section 2.2 lets a reader accept it; readers differ, so we do not).
    BareLf,
    /// A CR that no LF follows.
    BareCr,
    /// A line begins with a space or a tab (obs-fold, RFC 9112 section 5.2).
    ObsFold,
    /// NUL, or another control character but a tab.
    ControlCharacter,
    /// A line without a colon.
    NoColon,
    /// A colon, but no name before it.
    EmptyName,
    /// A space or a tab between the name and the colon (RFC 9112 section 5.1).
    SpaceBeforeColon,
    /// A name that is no token.
    Name,
    /// Not a head, in a way that no other rule names.
    Malformed,
    /// Content-Length together with Transfer-Encoding.
    BothLengths,
    /// More than one Content-Length, equal or not, in lines or in a list.
    RepeatedContentLength,
    /// Content-Length is not 1 to 19 digits.
    ContentLength,
    /// Transfer-Encoding is anything but one field with the one token `chunked`.
    TransferEncoding,
    /// Transfer-Encoding in HTTP/1.0, which does not know it.
    TransferEncodingInHttp10,
}

impl BadField {
    /// The rule that was broken, in a few words, stable: for the log and the answer's body.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareLf => "bare LF",
            Self::BareCr => "bare CR",
            Self::ObsFold => "folded field line",
            Self::ControlCharacter => "control character",
            Self::NoColon => "field line without colon",
            Self::EmptyName => "empty field name",
            Self::SpaceBeforeColon => "whitespace before colon",
            Self::Name => "bad field name",
            Self::Malformed => "malformed head",
            Self::BothLengths => "content-length with transfer-encoding",
            Self::RepeatedContentLength => "repeated content-length",
            Self::ContentLength => "bad content-length",
            Self::TransferEncoding => "bad transfer-encoding",
            Self::TransferEncodingInHttp10 => "transfer-encoding in http/1.0",
        }
    }
}

/// What the fields of one head say about the end of its message and of its connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Connection {
    /// Takes note of one field; those that say nothing about the connection are passed over.
    pub(super) fn see(&mut self, field: &Header<'_>) -> Result<(), BadField> {
        let is = |name| field.name.eq_ignore_ascii_case(name);
        // The length of the name decides nearly always, so that most fields cost one comparison of numbers.
        match field.name.len() {
            10 if is("connection") => {
                for token in list(field.value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("content-length") => {
                if self.length.is_some() {
                    return Err(BadField::RepeatedContentLength);
                }
                self.length = Some(content_length(field.value)?);
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BadField::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// How the body is delimited by the fields alone; `None` when they say nothing.
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, BadField> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(BadField::BothLengths),
            (true, None) if version == Version::Http10 => Err(BadField::TransferEncodingInHttp10),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, Some(length)) => Ok(Some(Framing::Length(length))),
            (false, None) => Ok(None),
        }
    }

    /// The sender keeps the connection (RFC 9112 section 9.3).
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// The members of a comma-separated list, trimmed, without the empty ones (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without spaces and tabs at both ends.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// 1 to 19 digits: neither sign nor list, and no overflow of 64 bits.
fn content_length(value: &[u8]) -> Result<u64, BadField> {
    if value.contains(&b',') {
        return Err(BadField::RepeatedContentLength);
    }
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(BadField::ContentLength);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Every LF of a head has its CR before it. httparse has refused every CR without LF, and a head that begins with LF
/// does not come here.
#[expect(clippy::needless_bitwise_bool, reason = "without branches the compiler makes vector code of it")]
pub(super) fn check_line_ends(head: &[u8]) -> Result<(), BadField> {
    let behind_first = head.get(1..).unwrap_or_default();
    let bare = head
        .iter()
        .zip(behind_first)
        .fold(false, |bare, (&before, &byte)| bare | (byte == b'\n') & (before != b'\r'));
    if bare { Err(BadField::BareLf) } else { Ok(()) }
}

/// Splits the first line off `bytes`: without its CRLF, and what comes behind it. A line that has not ended yet is
/// given as it is, without a CR that may be the start of its end.
pub(super) fn split_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), BadField> {
    let (line, rest) = match memchr::memchr(b'\n', bytes) {
        Some(at) => (bytes[..at].strip_suffix(b"\r").ok_or(BadField::BareLf)?, &bytes[at + 1..]),
        None => (bytes.strip_suffix(b"\r").unwrap_or(bytes), &bytes[bytes.len()..]),
    };
    if line.contains(&b'\r') {
        return Err(BadField::BareCr);
    }
    if line.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(BadField::ControlCharacter);
    }
    Ok((line, rest))
}

/// Reads one field line that [`split_line`] gave: name and trimmed value.
pub(super) fn field(line: &[u8]) -> Result<Header<'_>, BadField> {
    if let [b' ' | b'\t', ..] = line {
        return Err(BadField::ObsFold);
    }
    let colon = memchr::memchr(b':', line).ok_or(BadField::NoColon)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    match name {
        [] => return Err(BadField::EmptyName),
        [.., b' ' | b'\t'] => return Err(BadField::SpaceBeforeColon),
        _ if !is_token(name) => return Err(BadField::Name),
        _ => {}
    }
    let name = str::from_utf8(name).map_err(|_| BadField::Name)?;
    Ok(Header { name, value: trim(value) })
}

/// The first rule that the field lines in `bytes` break, after httparse has said that they break one. The last line
/// may be unfinished.
#[cold]
pub(super) fn diagnose(mut bytes: &[u8]) -> Option<BadField> {
    while !bytes.is_empty() {
        let (line, rest) = match split_line(bytes) {
            Ok(split) => split,
            Err(problem) => return Some(problem),
        };
        if line.is_empty() {
            return None;
        }
        match field(line) {
            // An unfinished line may still get its colon, unless its name is already none, or over.
            Err(BadField::NoColon) if rest.is_empty() && !bytes.ends_with(b"\n") => {
                return match bytes {
                    _ if !is_token(line) => Some(BadField::Name),
                    [.., b'\r'] => Some(BadField::NoColon),
                    _ => None,
                };
            }
            Err(problem) => return Some(problem),
            Ok(_) => bytes = rest,
        }
    }
    None
}

/// Neither of the two versions, nor (unfinished) the beginning of one.
pub(super) fn is_bad_version(version: &[u8], ended: bool) -> bool {
    [b"HTTP/1.0", b"HTTP/1.1"].iter().all(|known| version != *known && (ended || !known.starts_with(version)))
}

/// RFC 9110 section 5.6.2; an empty one is none.
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
