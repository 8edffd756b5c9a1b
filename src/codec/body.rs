//! Bodies: where they end (RFC 9112 sections 6 and 7), taken apart and put together again.
//!
//! Chunked bodies are never passed through as they came: they are decoded and encoded anew, so that no odd chunk line,
//! chunk extension or trailer reaches the reader behind us.

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// Content-Length
    Length(u64),
    /// Transfer-Encoding: chunked
    Chunked,
    /// Until the connection ends (answers only).
    UntilClose,
}

/// Follows one body in the bytes of its connection. At most 48 bytes; trailers are kept on the heap while they arrive.
#[derive(Debug)]
pub struct Decoder {}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Bytes of content, never empty.
    Data(&'b [u8]),
    /// The body has ended. What is left of the input belongs to the next message. Holds the trailer fields, clean, as
    /// whole lines `name: value\r\n` without the final empty line (empty = none).
    End(Vec<u8>),
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// The connection ended inside it.
    Truncated,
    // ... one variant for each rule: bad chunk size, bare CR or LF, trailers too large, forbidden trailer ...
}

impl Decoder {
    /// At the start of a body. `trailer_bytes` bounds the trailer section.
    pub fn new(_framing: Framing, _trailer_bytes: usize) -> Self {
        todo!()
    }

    /// Takes the next piece from the start of `input` and moves `input` past it. `None`: all of `input` was taken and
    /// more is needed. With `Framing::None` and `Length(0)` the first call answers `End`, also for an empty input.
    /// After `End` it is not called again.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn next<'b>(&mut self, _input: &mut &'b [u8]) -> Result<Option<Piece<'b>>, BadBody> {
        todo!()
    }

    /// The connection ended where more was expected.
    ///
    /// # Errors
    /// [`BadBody::Truncated`] for everything but [`Framing::UntilClose`].
    pub fn eof(&self) -> Result<(), BadBody> {
        todo!()
    }

    /// Nothing is to come: `Framing::None`, `Length(0)`, all of the length seen, or the last chunk and its trailers.
    pub fn is_ended(&self) -> bool {
        todo!()
    }
}

/// Appends `data` to `out` as one chunk. `data` is not empty (an empty chunk would end the body).
pub fn encode_chunk(_data: &[u8], _out: &mut Vec<u8>) {
    todo!()
}

/// Appends the last chunk with `trailers` as [`Piece::End`] holds them.
pub fn encode_last_chunk(_trailers: &[u8], _out: &mut Vec<u8>) {
    todo!()
}
