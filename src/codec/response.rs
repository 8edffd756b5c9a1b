//! Heads of answers (RFC 9112 sections 4, 6), held to the same rules as requests.

use super::{HeadLimits, Header, HeaderSlots, Parsed, Version, body::Framing};

/// An answer's head that has passed every rule, borrowed from the buffer.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 999
    pub status: u16,
    /// The reason phrase, as sent, without control characters; may be empty.
    pub reason: &'b str,
    /// The minor version.
    pub version: Version,
    /// All fields in their order.
    pub headers: &'h [Header<'b>],
    /// How the body is delimited, for an answer to `to_head == false`... see [`parse`].
    pub framing: Framing,
    /// The instance keeps the connection after this answer.
    pub keep_alive: bool,
}

impl<'b> ResponseHead<'_, 'b> {
    /// The value of the first field of that name (ASCII case-insensitive).
    pub fn header(&self, _name: &str) -> Option<&'b [u8]> {
        todo!()
    }
}

/// Why an answer was refused: becomes 502, and the connection is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// Longer than the limits.
    HeadTooLarge,
    // ... one variant for each rule
}

impl BadResponse {
    /// The rule that was broken, in a few words, stable: for the log.
    pub fn reason(self) -> &'static str {
        todo!()
    }
}

/// Parses an answer's head at the start of `buffer`. `to_head`: the request was HEAD, so there is no body whatever
/// the fields say. 1xx, 204 and 304 have none either (1xx and 204 with a Content-Length or Transfer-Encoding are refused; 304 may carry
/// Content-Length).
///
/// # Errors
/// The first rule that the bytes break.
pub fn parse<'h, 'b>(
    _buffer: &'b [u8],
    _slots: &'h mut HeaderSlots<'b>,
    _limits: HeadLimits,
    _to_head: bool,
) -> Result<Parsed<ResponseHead<'h, 'b>>, BadResponse> {
    todo!()
}
