//! Request heads (RFC 9112 sections 3, 5, 6), strictly.

use super::{HeadLimits, Header, HeaderSlots, Parsed, Version, body::Framing};

/// A request's head that has passed every rule, borrowed from the buffer.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// A token, as sent.
    pub method: &'b str,
    /// Path and query, as sent: begins with `/` (taken out of absolute-form) or is `*` (OPTIONS only).
    pub target: &'b str,
    /// The `Host` as it is to be matched and forwarded: the authority of absolute-form, else the Host field; may be empty in HTTP/1.0.
    pub host: &'b str,
    /// The minor version.
    pub version: Version,
    /// All fields in their order, values trimmed of surrounding whitespace.
    pub headers: &'h [Header<'b>],
    /// How the body is delimited; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// The client wants the connection kept (version and `Connection`).
    pub keep_alive: bool,
    /// `Expect: 100-continue` in HTTP/1.1.
    pub expects_continue: bool,
}

impl<'b> RequestHead<'_, 'b> {
    /// The path: the target without its query.
    pub fn path(&self) -> &'b str {
        todo!()
    }

    /// The value of the first field of that name (ASCII case-insensitive).
    pub fn header(&self, _name: &str) -> Option<&'b [u8]> {
        todo!()
    }
}

/// Why a request was refused. [`BadRequest::reason`] is what the access log and the answer's body say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Longer than `limits.header`, or more fields than `limits.headers`: 431.
    HeadTooLarge,
    /// CONNECT: 405.
    Connect,
    // ... one variant for each rule of behaviour.md "Refused with 400"
}

impl BadRequest {
    /// The rule that was broken, in a few words, stable: for the log and the answer's body.
    pub fn reason(self) -> &'static str {
        todo!()
    }
}

/// Parses a request's head at the start of `buffer`. Empty lines before the request line are refused but for one CRLF
/// (RFC 9112 section 2.2), which counts into `len`.
///
/// # Errors
/// The first rule that the bytes break, as early as it can be known (a partial head may already be refused).
pub fn parse<'h, 'b>(
    _buffer: &'b [u8],
    _slots: &'h mut HeaderSlots<'b>,
    _limits: HeadLimits,
) -> Result<Parsed<RequestHead<'h, 'b>>, BadRequest> {
    todo!()
}
