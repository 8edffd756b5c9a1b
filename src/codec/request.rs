//! Request heads (RFC 9112 sections 3, 5, 6), strictly.

use super::{
    HeadLimits, Header, HeaderSlots, Parsed, Version,
    body::Framing,
    fields::{self, BadField, Connection},
    find_header, head_window, target,
};

/// A request's head that has passed every rule, borrowed from the buffer.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// A token, as sent.
    pub method: &'b str,
    /// Path and query, as sent: begins with `/` (taken out of absolute-form) or is `*` (OPTIONS only).
    pub target: &'b str,
    /// The `Host` as it is to be matched and forwarded: the authority of absolute-form, else the Host field; empty
    /// only in HTTP/1.0 without a Host. A name or an address with an optional port, in ASCII.
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
        target::path(self.target)
    }

    /// The value of the first field of that name (ASCII case-insensitive).
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        find_header(self.headers, name)
    }
}

/// Why a request was refused. [`BadRequest::reason`] is what the access log and the answer's body say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Longer than `limits.header`, or more fields than `limits.headers`: 431.
    HeadTooLarge,
    /// CONNECT: 405.
    Connect,
    /// A rule that holds for every head.
    Field(BadField),
    /// More than one empty line before the request line.
    EmptyLines,
    /// The first line is not method, space, target, space, version.
    RequestLine,
    /// A request line without a version: HTTP/0.9.
    Http09,
    /// A version other than `HTTP/1.0` and `HTTP/1.1`, in this spelling.
    Version,
    /// `#` or a byte that is not ASCII in the target.
    TargetByte,
    /// Neither origin-form nor absolute-form of http or https, nor `OPTIONS *`.
    Target,
    /// A segment `.` or `..` in the path, plain or percent-encoded.
    DotSegment,
    /// The authority of absolute-form is none: see [`BadRequest::Host`].
    Authority,
    /// No Host in HTTP/1.1.
    MissingHost,
    /// More than one Host.
    RepeatedHost,
    /// Host is not a name or an address with an optional port; an empty one is not either.
    Host,
    /// Host and the authority of absolute-form differ, be it by a default port.
    HostMismatch,
}

impl BadRequest {
    /// The rule that was broken, in a few words, stable: for the log and the answer's body.
    pub fn reason(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head too large",
            Self::Connect => "connect",
            Self::Field(problem) => problem.reason(),
            Self::EmptyLines => "empty lines before the request",
            Self::RequestLine => "bad request line",
            Self::Http09 => "http/0.9",
            Self::Version => "bad http version",
            Self::TargetByte => "bad byte in target",
            Self::Target => "bad target",
            Self::DotSegment => "dot segment in path",
            Self::Authority => "bad authority in target",
            Self::MissingHost => "missing host",
            Self::RepeatedHost => "repeated host",
            Self::Host => "bad host",
            Self::HostMismatch => "host against target",
        }
    }
}

impl From<BadField> for BadRequest {
    fn from(problem: BadField) -> Self {
        Self::Field(problem)
    }
}

/// Parses a request's head at the start of `buffer`. Empty lines before the request line are refused but for one CRLF
/// (RFC 9112 section 2.2), which counts into `len`.
///
/// # Errors
/// The first rule that the bytes break, as early as it can be known (a partial head may already be refused).
pub fn parse<'h, 'b>(
    buffer: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    limits: HeadLimits,
) -> Result<Parsed<RequestHead<'h, 'b>>, BadRequest> {
    let window = head_window(buffer, limits);
    let Some(skipped) = empty_line(window)? else { return Ok(Parsed::Partial) };
    let window = &window[skipped..];
    let room = &mut slots[..limits.headers.min(super::HEADERS_MAX)];
    let mut tokens = httparse::Request::new(&mut []);
    match tokens.parse_with_uninit_headers(window, room) {
        Ok(httparse::Status::Complete(len)) => {
            fields::check_line_ends(&window[..len])?;
            Ok(Parsed::Complete { head: check(tokens)?, len: skipped + len })
        }
        outcome => match refuse(window, &tokens, outcome.err()) {
            Some(problem) => Err(problem),
            None if buffer.len() >= limits.bytes => Err(BadRequest::HeadTooLarge),
            None => Ok(Parsed::Partial),
        },
    }
}

/// The length of the one CRLF that may stand before a request line; `None`: more bytes are needed to tell.
fn empty_line(buffer: &[u8]) -> Result<Option<usize>, BadRequest> {
    match buffer {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(BadRequest::EmptyLines),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(BadField::BareCr.into()),
        [b'\n', ..] => Err(BadField::BareLf.into()),
        _ => Ok(Some(0)),
    }
}

/// The rules that look at the meaning, once the tokens are there.
fn check<'h, 'b>(tokens: httparse::Request<'h, 'b>) -> Result<RequestHead<'h, 'b>, BadRequest> {
    let httparse::Request { method: Some(method), path: Some(target), version: Some(minor), headers } =
        tokens
    else {
        return Err(BadRequest::RequestLine);
    };
    let headers: &'h [Header<'b>] = headers;
    let version = Version::from_minor(minor);
    let target = target::read(method, target)?;

    let mut connection = Connection::default();
    let mut host = None;
    let mut expects_continue = false;
    for field in headers {
        if field.name.eq_ignore_ascii_case("host") {
            if host.is_some() {
                return Err(BadRequest::RepeatedHost);
            }
            host = Some(read_host(field.value)?);
        } else if field.name.eq_ignore_ascii_case("expect") {
            expects_continue |= fields::list(field.value).any(|it| it.eq_ignore_ascii_case(b"100-continue"));
        } else {
            connection.see(field)?;
        }
    }
    Ok(RequestHead {
        method,
        target: target.path_and_query,
        host: effective_host(host, target.authority, version)?,
        version,
        headers,
        framing: connection.framing(version)?.unwrap_or(Framing::None),
        keep_alive: connection.keep_alive(version),
        expects_continue: expects_continue && version == Version::Http11,
    })
}

fn read_host(value: &[u8]) -> Result<&str, BadRequest> {
    if !target::is_authority(value) {
        return Err(BadRequest::Host);
    }
    str::from_utf8(value).map_err(|_| BadRequest::Host)
}

/// RFC 9112 section 3.2.2, but a Host that differs from the target is refused instead of overruled.
fn effective_host<'b>(
    host: Option<&'b str>,
    authority: Option<&'b str>,
    version: Version,
) -> Result<&'b str, BadRequest> {
    match (host, authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            Err(BadRequest::HostMismatch)
        }
        (None, _) if version == Version::Http11 => Err(BadRequest::MissingHost),
        (_, Some(authority)) => Ok(authority),
        (host, None) => Ok(host.unwrap_or_default()),
    }
}

/// Why the head is refused; `None` when it is only incomplete. `error` is what httparse said, if it said no.
#[cold]
fn refuse(
    window: &[u8],
    tokens: &httparse::Request<'_, '_>,
    error: Option<httparse::Error>,
) -> Option<BadRequest> {
    let (line, rest) = match fields::split_line(window) {
        Ok(split) => split,
        Err(problem) => return Some(problem.into()),
    };
    let ended = line.len() + 2 <= window.len() - rest.len();
    if let Some(problem) = error.and_then(|_| line_problem(line, ended)) {
        return Some(problem);
    }
    if let (Some(method), Some(target)) = (tokens.method, tokens.path)
        && let Err(problem) = target::read(method, target)
    {
        return Some(problem);
    }
    if let Some(problem) = fields::diagnose(rest) {
        return Some(problem.into());
    }
    error.map(|error| match error {
        httparse::Error::TooManyHeaders => BadRequest::HeadTooLarge,
        httparse::Error::Token => BadRequest::RequestLine,
        httparse::Error::Version => BadRequest::Version,
        _ => BadField::Malformed.into(),
    })
}

/// The rule that a request line breaks by its shape. `ended`: its CRLF has been seen.
fn line_problem(line: &[u8], ended: bool) -> Option<BadRequest> {
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    if !fields::is_token(method) || line.contains(&b'\t') {
        return Some(BadRequest::RequestLine);
    }
    let target = words.next();
    if target.is_some_and(|target| !target.is_ascii()) {
        return Some(BadRequest::TargetByte);
    }
    match (target, words.next(), words.next()) {
        (Some([]), Some(_), _) | (_, _, Some(_)) => Some(BadRequest::RequestLine),
        (Some([_, ..]), None, None) if ended => Some(BadRequest::Http09),
        (_, None, None) => ended.then_some(BadRequest::RequestLine),
        (_, Some(version), None) => fields::is_bad_version(version, ended).then_some(BadRequest::Version),
    }
}

#[cfg(test)]
mod tests;
