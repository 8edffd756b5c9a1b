//! Our codec against hyper: generated and mutated messages through both. What both accept they must read alike; what
//! only one accepts must be in a list that says why.
//!
//! Both stand on httparse, so this says little about tokens. It is about what comes after them: where a message ends,
//! which is all that request smuggling is about. The cases are random but seeded: the same in every run.

mod answers;
mod generate;
mod oracle;
mod requests;

use std::collections::BTreeMap;

use stickyd::codec::{
    HeadLimits,
    body::{BadBody, Decoder, Framing, Piece},
    fields::BadField,
};

/// hyper's own limits are set to these.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, headers: 100 };

const TRAILER_BYTES: usize = 16 * 1024;

/// Fields by name in lower case; the values of one name in their order, escaped.
type Fields = BTreeMap<String, Vec<String>>;

fn fields<'f>(lines: impl Iterator<Item = (&'f str, &'f [u8])>) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.entry(name.to_ascii_lowercase()).or_default().push(value.escape_ascii().to_string());
    }
    fields
}

/// A body as somebody read it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Body {
    /// Escaped.
    content: String,
    trailers: Fields,
}

/// Why somebody read no further.
#[derive(Clone, Debug, PartialEq)]
enum End<P> {
    /// All was read, or the connection is to be closed.
    Clean,
    /// Nothing wrong, but the bytes end inside a message.
    Incomplete,
    Refused(P),
}

/// Reads a body with our decoder and moves `rest` past it.
fn read_body(framing: Framing, rest: &mut &[u8]) -> Result<Body, End<BadBody>> {
    let mut decoder = Decoder::new(framing, TRAILER_BYTES);
    let mut content = Vec::new();
    while let Some(piece) = decoder.next(rest).map_err(End::Refused)? {
        match piece {
            Piece::Data(data) => content.extend_from_slice(data),
            Piece::End(trailers) => {
                let mut slots = [httparse::EMPTY_HEADER; 64];
                let section = [&trailers[..], b"\r\n"].concat();
                let Ok(httparse::Status::Complete((_, lines))) =
                    httparse::parse_headers(&section, &mut slots)
                else {
                    panic!("not clean: {}", trailers.escape_ascii());
                };
                let trailers = fields(lines.iter().map(|line| (line.name, line.value)));
                return Ok(Body { content: content.escape_ascii().to_string(), trailers });
            }
        }
    }
    decoder.eof().map_err(|_| End::Incomplete)?;
    Ok(Body { content: content.escape_ascii().to_string(), trailers: Fields::new() })
}

/// What hyper passes on of trailers, less what we drop.
fn without_dropped(mut trailers: Fields) -> Fields {
    trailers.retain(|name, _| name != "age" && !name.starts_with("x-forwarded-"));
    trailers
}

/// Why our decoder refuses a body that hyper reads; `None`: hyper has to refuse it too.
fn why_body_stricter(problem: BadBody) -> Option<&'static str> {
    match problem {
        BadBody::ChunkSize => {
            Some("hyper takes blanks behind a chunk's size, and any number of leading zeros")
        }
        BadBody::ChunkExtension => Some("hyper reads over any byte of an extension but LF"),
        BadBody::ChunkExtensionTooLong => Some("hyper bounds the sum of extensions only"),
        BadBody::Trailer(BadField::BareLf) => {
            Some("hyper reads trailers with httparse, which takes a bare LF for a line's end")
        }
        BadBody::ForbiddenTrailer => Some("hyper leaves the meaning of trailers to the application"),
        BadBody::Trailer(_)
        | BadBody::Truncated
        | BadBody::ChunkEnd
        | BadBody::BareCr
        | BadBody::BareLf
        | BadBody::TrailersTooLarge => None,
    }
}

/// hyper reads a Content-Length with any number of leading zeros; ours has 19 digits at most.
fn is_padded(theirs: &Fields) -> bool {
    theirs
        .get("content-length")
        .is_some_and(|values| values.iter().any(|value| value.len() > 19 && value.starts_with('0')))
}

/// Cases by what became of them.
#[derive(Debug, Default)]
struct Tally {
    /// Messages that both read, and alike.
    agreed: usize,
    /// Cases in which both read to the same place, and neither beyond it.
    ended_together: usize,
    /// Explanations that were needed, with how often.
    explained: BTreeMap<&'static str, usize>,
    /// The first of the cases that nothing explains.
    unexplained: Vec<String>,
}

impl Tally {
    fn explain(&mut self, why: Option<&'static str>, case: impl FnOnce() -> String) {
        match why {
            Some(why) => *self.explained.entry(why).or_default() += 1,
            None if self.unexplained.len() < 10 => self.unexplained.push(case()),
            None => {}
        }
    }

    /// Nothing is unexplained, and each explanation was needed: one that is not is stale, or out of the generator's
    /// reach.
    fn check(&self, explanations: usize, agreed_min: usize) {
        println!("agreed {}, ended together {}, {:#?}", self.agreed, self.ended_together, self.explained);
        assert!(self.unexplained.is_empty(), "nothing explains\n{}", self.unexplained.join("\n\n"));
        assert_eq!(self.explained.len(), explanations, "{:#?}", self.explained);
        assert!(self.agreed >= agreed_min, "only {} messages were read alike", self.agreed);
    }
}
