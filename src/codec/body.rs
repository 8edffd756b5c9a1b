//! Bodies: where they end (RFC 9112 sections 6 and 7), taken apart and put together again.
//!
//! Chunked bodies are never passed through as they came: they are decoded and encoded anew, so that no odd chunk line,
//! chunk extension or trailer reaches the reader behind us.

use std::mem;

use super::{
    fields::BadField,
    trailers::{self, BadTrailer},
};

/// The longest chunk line, its CRLF not counted: 16 digits and what an honest extension needs.
const CHUNK_LINE_MAX: u16 = 256;

/// All chunk extensions of one body together, in bytes: they carry nothing, so they may not cost much either.
const EXTENSIONS_MAX: u16 = 16 * 1024;

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
pub struct Decoder {
    state: State,
    /// Bytes of the chunk line so far.
    line: u16,
    /// Bytes of chunk extensions so far, over the whole body.
    extensions: u16,
    /// Bytes of the trailer section that may still come.
    trailer_room: u32,
    /// Bytes of content left: of the length, or of the chunk. While a chunk's size is read: the size so far.
    left: u64,
    trailers: Vec<u8>,
}

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length,
    UntilClose,
    /// In the digits of a chunk's size.
    Size,
    Extension,
    /// Behind the CR of a chunk line.
    SizeLf,
    Data,
    /// Behind a chunk's data.
    DataCr,
    DataLf,
    Trailers,
    Ended,
}

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
    /// A chunk's size is not 1 to 16 hexadecimal digits, or something else than CRLF or `;` stands behind them.
    ChunkSize,
    /// A chunk extension has a byte that is neither a tab nor printable ASCII.
    ChunkExtension,
    /// A chunk line over 256 bytes, or over 16 KiB of extensions in one body.
    ChunkExtensionTooLong,
    /// No CRLF behind a chunk's data.
    ChunkEnd,
    /// A CR in a chunk line that no LF follows.
    BareCr,
    /// A chunk line or a chunk's data ends with LF alone.
    BareLf,
    /// The trailer section is over its limit.
    TrailersTooLarge,
    /// A trailer line breaks a rule of fields.
    Trailer(BadField),
    /// A trailer field that frames or routes the message.
    ForbiddenTrailer,
}

impl BadBody {
    /// The rule that was broken, in a few words, stable: for the log and the answer's body.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "truncated body",
            Self::ChunkSize => "bad chunk size",
            Self::ChunkExtension => "bad chunk extension",
            Self::ChunkExtensionTooLong => "chunk extensions too long",
            Self::ChunkEnd => "bad end of chunk",
            Self::BareCr => "bare CR in chunk line",
            Self::BareLf => "bare LF in chunk line",
            Self::TrailersTooLarge => "trailers too large",
            Self::Trailer(problem) => problem.reason(),
            Self::ForbiddenTrailer => "forbidden trailer",
        }
    }
}

impl From<BadTrailer> for BadBody {
    fn from(problem: BadTrailer) -> Self {
        match problem {
            BadTrailer::Field(problem) => Self::Trailer(problem),
            BadTrailer::Forbidden => Self::ForbiddenTrailer,
        }
    }
}

impl Decoder {
    /// At the start of a body. `trailer_bytes` bounds the trailer section, its empty line included.
    pub fn new(framing: Framing, trailer_bytes: usize) -> Self {
        let (state, left) = match framing {
            Framing::None => (State::Length, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        let trailer_room = u32::try_from(trailer_bytes).unwrap_or(u32::MAX);
        Self { state, line: 0, extensions: 0, trailer_room, left, trailers: Vec::new() }
    }

    /// Takes the next piece from the start of `input` and moves `input` past it. `None`: all of `input` was taken and
    /// more is needed. With `Framing::None` and `Length(0)` the first call answers `End`, also for an empty input.
    /// After `End` it is not called again.
    ///
    /// # Errors
    /// The first rule that the bytes break. The same one however the bytes were split over calls.
    pub fn next<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Piece<'b>>, BadBody> {
        loop {
            match self.state {
                State::Length if self.left == 0 => {
                    self.state = State::Ended;
                    return Ok(Some(Piece::End(Vec::new())));
                }
                State::Ended => return Ok(Some(Piece::End(Vec::new()))),
                _ if input.is_empty() => return Ok(None),
                State::UntilClose => return Ok(Some(Piece::Data(mem::take(input)))),
                State::Length => return Ok(Some(Piece::Data(self.content(input)))),
                State::Data => {
                    let data = self.content(input);
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                State::Trailers => {
                    if self.trailer_line(input)? {
                        self.state = State::Ended;
                        return Ok(Some(Piece::End(mem::take(&mut self.trailers))));
                    }
                }
                State::Size | State::Extension | State::SizeLf | State::DataCr | State::DataLf => {
                    let (&byte, rest) = input.split_first().expect("the input is not empty, asked above");
                    *input = rest;
                    self.state = self.framing_byte(byte)?;
                }
            }
        }
    }

    /// The connection ended where more was expected.
    ///
    /// # Errors
    /// [`BadBody::Truncated`] for everything but [`Framing::UntilClose`] and a body that has ended.
    pub fn eof(&self) -> Result<(), BadBody> {
        if self.state == State::UntilClose || self.is_ended() { Ok(()) } else { Err(BadBody::Truncated) }
    }

    /// Nothing is to come: `Framing::None`, `Length(0)`, all of the length seen, or the last chunk and its trailers.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended || (self.state == State::Length && self.left == 0)
    }

    /// As much of the content that is left as `input` has.
    fn content<'b>(&mut self, input: &mut &'b [u8]) -> &'b [u8] {
        let len = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(len);
        *input = rest;
        self.left -= len as u64;
        data
    }

    /// One byte around the chunks; answers where the next one is.
    fn framing_byte(&mut self, byte: u8) -> Result<State, BadBody> {
        match self.state {
            State::Size => self.size_byte(byte),
            State::Extension => self.extension_byte(byte),
            State::SizeLf if byte != b'\n' => Err(BadBody::BareCr),
            State::SizeLf => {
                self.line = 0;
                Ok(if self.left == 0 { State::Trailers } else { State::Data })
            }
            State::DataCr => match byte {
                b'\r' => Ok(State::DataLf),
                b'\n' => Err(BadBody::BareLf),
                _ => Err(BadBody::ChunkEnd),
            },
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::DataLf => Err(BadBody::ChunkEnd),
            state => Ok(state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, BadBody> {
        if let Some(digit) = (byte as char).to_digit(16) {
            self.line += 1;
            if self.line > 16 {
                return Err(BadBody::ChunkSize);
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        match byte {
            b'\n' => Err(BadBody::BareLf),
            _ if self.line == 0 => Err(BadBody::ChunkSize),
            b'\r' => Ok(State::SizeLf),
            b';' => self.extension_byte(byte),
            _ => Err(BadBody::ChunkSize),
        }
    }

    fn extension_byte(&mut self, byte: u8) -> Result<State, BadBody> {
        match byte {
            b'\r' => return Ok(State::SizeLf),
            b'\n' => return Err(BadBody::BareLf),
            b'\t' | b' '..=b'~' => {}
            _ => return Err(BadBody::ChunkExtension),
        }
        if self.line == CHUNK_LINE_MAX || self.extensions == EXTENSIONS_MAX {
            return Err(BadBody::ChunkExtensionTooLong);
        }
        self.line += 1;
        self.extensions += 1;
        Ok(State::Extension)
    }

    /// Takes the rest of one trailer line; answers whether it was the empty one.
    fn trailer_line(&mut self, input: &mut &[u8]) -> Result<bool, BadBody> {
        let end = memchr::memchr(b'\n', input).map(|at| at + 1);
        let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        let taken_len = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        self.trailer_room = self.trailer_room.checked_sub(taken_len).ok_or(BadBody::TrailersTooLarge)?;
        self.trailers.extend_from_slice(taken);
        if end.is_none() {
            return Ok(false);
        }
        // While trailers are read, `left` is where the unfinished line begins: the chunks are over.
        let start = usize::try_from(self.left).expect("an offset into the trailers");
        let ended = trailers::finish_line(&mut self.trailers, start)?;
        self.left = self.trailers.len() as u64;
        Ok(ended)
    }
}

/// Appends `data` to `out` as one chunk. `data` is not empty (an empty chunk would end the body).
pub fn encode_chunk(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    debug_assert!(!data.is_empty(), "an empty chunk would end the body");
    let len = data.len();
    let nibbles = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    out.reserve(nibbles as usize + len + 4);
    out.extend((0..nibbles).rev().map(|nibble| DIGITS[len >> (4 * nibble) & 0xf]));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk with `trailers` as [`Piece::End`] holds them.
pub fn encode_last_chunk(trailers: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
