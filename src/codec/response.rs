//! Heads of answers (RFC 9112 sections 4, 6), held to the same rules as requests.

use super::{
    HeadLimits, Header, HeaderSlots, Parsed, Version,
    body::Framing,
    fields::{self, BadField, Connection},
    find_header, head_window,
};

/// An answer's head that has passed every rule, borrowed from the buffer.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 999
    pub status: u16,
    /// The reason phrase, as sent, without control characters; may be empty. One with bytes that are not ASCII is
    /// given as empty: it means nothing to anybody (RFC 9112 section 4).
    pub reason: &'b str,
    /// The minor version.
    pub version: Version,
    /// All fields in their order, values trimmed of surrounding whitespace.
    pub headers: &'h [Header<'b>],
    /// How the body is delimited; [`Framing::None`] where [`parse`] says that there is none.
    pub framing: Framing,
    /// The instance keeps the connection after this answer: never with [`Framing::UntilClose`], and never after a 101,
    /// behind which the connection is no longer HTTP.
    pub keep_alive: bool,
}

impl<'b> ResponseHead<'_, 'b> {
    /// The value of the first field of that name (ASCII case-insensitive).
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        find_header(self.headers, name)
    }
}

/// Why an answer was refused: becomes 502, and the connection is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// Longer than the limits.
    HeadTooLarge,
    /// A rule that holds for every head.
    Field(BadField),
    /// The first line is not version, space, status, with an optional space and reason.
    StatusLine,
    /// A version other than `HTTP/1.0` and `HTTP/1.1`, in this spelling; also an answer without a head (HTTP/0.9).
    Version,
    /// Not three digits from 100 to 999.
    Status,
    /// A 1xx or 204 with Transfer-Encoding or a Content-Length (RFC 9110 section 8.6); a 204 may say `0`.
    LengthWithoutBody,
}

impl BadResponse {
    /// The rule that was broken, in a few words, stable: for the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head too large",
            Self::Field(problem) => problem.reason(),
            Self::StatusLine => "bad status line",
            Self::Version => "bad http version",
            Self::Status => "bad status",
            Self::LengthWithoutBody => "length of an answer without body",
        }
    }
}

impl From<BadField> for BadResponse {
    fn from(problem: BadField) -> Self {
        Self::Field(problem)
    }
}

/// Parses an answer's head at the start of `buffer`. `to_head`: the request was HEAD, so there is no body whatever
/// the fields say. 1xx, 204 and 304 have none either. 1xx and 204 with a Content-Length or Transfer-Encoding are
/// refused, but for a 204 with `Content-Length: 0`, which the `cors` package that Engine.IO uses sends with every
/// preflight; answers to HEAD and 304 may carry either, for the body that they leave out.
///
/// Behind a 101 what follows the head belongs to the tunnel.
///
/// # Errors
/// The first rule that the bytes break.
pub fn parse<'h, 'b>(
    buffer: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    limits: HeadLimits,
    to_head: bool,
) -> Result<Parsed<ResponseHead<'h, 'b>>, BadResponse> {
    let window = head_window(buffer, limits);
    // httparse would skip empty lines here as well, which only requests may have before them.
    match window {
        [b'\n', ..] => return Err(BadField::BareLf.into()),
        [b'\r', ..] => return Err(BadResponse::StatusLine),
        _ => {}
    }
    let room = &mut slots[..limits.headers.min(super::HEADERS_MAX)];
    let mut tokens = httparse::Response::new(&mut []);
    let outcome =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut tokens, window, room);
    match outcome {
        Ok(httparse::Status::Complete(len)) => {
            fields::check_line_ends(&window[..len])?;
            Ok(Parsed::Complete { head: check(tokens, to_head)?, len })
        }
        outcome => match refuse(window, outcome.err()) {
            Some(problem) => Err(problem),
            None if buffer.len() >= limits.bytes => Err(BadResponse::HeadTooLarge),
            None => Ok(Parsed::Partial),
        },
    }
}

/// The rules that look at the meaning, once the tokens are there.
fn check<'h, 'b>(
    tokens: httparse::Response<'h, 'b>,
    to_head: bool,
) -> Result<ResponseHead<'h, 'b>, BadResponse> {
    let httparse::Response { version: Some(minor), code: Some(status), reason, headers } = tokens else {
        return Err(BadResponse::StatusLine);
    };
    let headers: &'h [Header<'b>] = headers;
    let version = Version::from_minor(minor);
    if status < 100 {
        return Err(BadResponse::Status);
    }
    let mut connection = Connection::default();
    for field in headers {
        connection.see(field)?;
    }
    let framing = framing(status, to_head, connection.framing(version)?)?;
    Ok(ResponseHead {
        status,
        reason: reason.unwrap_or_default(),
        version,
        headers,
        framing,
        keep_alive: connection.keep_alive(version) && framing != Framing::UntilClose && status != 101,
    })
}

/// RFC 9112 section 6.3. `said`: what the fields say.
fn framing(status: u16, to_head: bool, said: Option<Framing>) -> Result<Framing, BadResponse> {
    match (status, said) {
        (100..200, None) | (204, None | Some(Framing::Length(0))) | (304, _) => Ok(Framing::None),
        (100..200 | 204, Some(_)) => Err(BadResponse::LengthWithoutBody),
        _ if to_head => Ok(Framing::None),
        (_, said) => Ok(said.unwrap_or(Framing::UntilClose)),
    }
}

/// Why the head is refused; `None` when it is only incomplete. `error` is what httparse said, if it said no.
#[cold]
fn refuse(window: &[u8], error: Option<httparse::Error>) -> Option<BadResponse> {
    let (line, rest) = match fields::split_line(window) {
        Ok(split) => split,
        Err(problem) => return Some(problem.into()),
    };
    let ended = line.len() + 2 <= window.len() - rest.len();
    if let Some(problem) = line_problem(line, ended) {
        return Some(problem);
    }
    if let Some(problem) = fields::diagnose(rest) {
        return Some(problem.into());
    }
    error.map(|error| match error {
        httparse::Error::TooManyHeaders => BadResponse::HeadTooLarge,
        httparse::Error::Version => BadResponse::Version,
        httparse::Error::Status => BadResponse::StatusLine,
        _ => BadField::Malformed.into(),
    })
}

/// The rule that a status line breaks by its shape. `ended`: its CRLF has been seen.
fn line_problem(line: &[u8], ended: bool) -> Option<BadResponse> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let version = words.next().unwrap_or_default();
    let Some(status) = words.next() else {
        let bad = fields::is_bad_version(version, ended);
        return if bad { Some(BadResponse::Version) } else { ended.then_some(BadResponse::StatusLine) };
    };
    if fields::is_bad_version(version, true) {
        return Some(BadResponse::Version);
    }
    let status_ended = ended || words.next().is_some();
    let digits = status.iter().all(u8::is_ascii_digit);
    let fits = if status_ended { status.len() == 3 } else { status.len() <= 3 };
    (!digits || !fits || status.first() == Some(&b'0')).then_some(BadResponse::Status)
}

#[cfg(test)]
mod tests;
