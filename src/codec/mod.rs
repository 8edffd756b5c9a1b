//! HTTP/1 on the wire, both sides. Pure: bytes in, events out; no socket, no clock, no allocation at rest.
//!
//! The same rules hold for what clients send and for what instances answer. Whatever could be read in two ways is
//! refused, because the reader behind us may choose the other one (request smuggling).
//!
//! | file | what |
//! | --- | --- |
//! | [`request`], [`response`] | heads: httparse tokenizes, our rules sit on top |
//! | `target` | the request target and the authority |
//! | [`fields`] | rules for header and trailer fields that hold everywhere |
//! | [`handshake`] | the fields of an upgrade, the answer to a WebSocket's key |
//! | [`body`] | where a body ends; chunks taken apart and put together again |
//! | `trailers` | the fields behind the last chunk |

pub mod body;
pub mod fields;
pub mod handshake;
pub mod request;
pub mod response;
mod target;
mod trailers;

use std::mem::MaybeUninit;

/// One header field, borrowed from the buffer that was parsed.
pub type Header<'b> = httparse::Header<'b>;

/// The most header fields that `limits.headers` can allow: the size of [`HeaderSlots`].
pub const HEADERS_MAX: usize = 256;

/// Room for the fields of one head; lives on the caller's stack while a head is looked at, never across an await.
pub type HeaderSlots<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// Empty [`HeaderSlots`].
pub fn header_slots<'b>() -> HeaderSlots<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, `limits.header`.
    pub bytes: usize,
    /// Header fields, `limits.headers`; at most [`HEADERS_MAX`].
    pub headers: usize,
}

/// The minor version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// From httparse's minor version, which is 0 or 1.
    fn from_minor(minor: u8) -> Self {
        if minor == 0 { Self::Http10 } else { Self::Http11 }
    }
}

/// What a parser made of the bytes so far.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The head is not complete; nothing wrong so far. [`worth_parsing`] tells when to try again.
    Partial,
    /// A whole head.
    Complete {
        /// The head.
        head: T,
        /// Its length in bytes, the empty line included; the body (or the next head) begins there.
        len: usize,
    },
}

/// Whether a parser can say more about `buffer` than the [`Parsed::Partial`] it said when the same buffer was `seen`
/// bytes long: when a line has ended in the new bytes, or when the limit is reached.
///
/// A sender that dribbles its head byte by byte then costs one look at each byte, and one parse for each line, of
/// which `limits.headers` allows few; parsing after every read would cost the square of the head's length.
pub fn worth_parsing(buffer: &[u8], seen: usize, limits: HeadLimits) -> bool {
    let new = buffer.get(seen..).unwrap_or_default();
    buffer.len() >= limits.bytes || memchr::memchr(b'\n', new).is_some()
}

/// The first `limits.bytes` of `buffer`, which is all that a head may take.
fn head_window(buffer: &[u8], limits: HeadLimits) -> &[u8] {
    &buffer[..buffer.len().min(limits.bytes)]
}

/// The value of the first field called `name`, in whatever case.
fn find_header<'b>(headers: &[Header<'b>], name: &str) -> Option<&'b [u8]> {
    headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

#[cfg(test)]
mod tests;
