//! HTTP/1 on the wire, both sides. Pure: bytes in, events out; no socket, no clock, no allocation at rest.
//!
//! The same rules hold for what clients send and for what instances answer. Whatever could be read in two ways is
//! refused, because the reader behind us may choose the other one (request smuggling).

pub mod body;
pub mod request;
pub mod response;

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

/// What a parser made of the bytes so far.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The head is not complete; nothing wrong so far.
    Partial,
    /// A whole head.
    Complete {
        /// The head.
        head: T,
        /// Its length in bytes, the empty line included; the body (or the next head) begins there.
        len: usize,
    },
}
