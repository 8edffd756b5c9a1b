//! Answers: our codec against hyper's client, the final answer of one exchange.

use hyper::{Method, Version as HyperVersion};
use stickyd::codec::{
    Parsed, Version,
    body::BadBody,
    fields::BadField,
    header_slots,
    response::{self, BadResponse},
};

use super::{
    Body, End, Fields, LIMITS, Tally, fields,
    generate::{self, Dice},
    is_padded,
    oracle::{self, HyperAnswer},
    read_body, why_body_stricter, without_dropped,
};

const CASES: u64 = 15_000;

#[derive(Debug)]
struct OurAnswer {
    status: u16,
    version: Version,
    fields: Fields,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Problem {
    Head(BadResponse),
    Body(BadBody),
}

/// Why we refuse what hyper reads as `theirs`; `None`: hyper has to refuse it too.
fn why_stricter(problem: Problem, theirs: &HyperAnswer, to_head: bool) -> Option<&'static str> {
    use BadField::{
        BareLf, BothLengths, ContentLength, RepeatedContentLength, TransferEncoding, TransferEncodingInHttp10,
    };
    let problem = match problem {
        Problem::Head(problem) => problem,
        Problem::Body(problem) => return why_body_stricter(problem),
    };
    let has_no_body = to_head || matches!(theirs.status.as_u16(), 101 | 204 | 304);
    match problem {
        BadResponse::StatusLine => Some("hyper skips empty lines before an answer"),
        BadResponse::LengthWithoutBody => Some("hyper takes 1xx and 204 with a length"),
        BadResponse::Field(BareLf) => Some("hyper takes a bare LF for a line's end"),
        BadResponse::Field(
            BothLengths | RepeatedContentLength | ContentLength | TransferEncoding | TransferEncodingInHttp10,
        ) if has_no_body => Some("hyper looks at no length where there is no body"),
        BadResponse::Field(BothLengths) => Some("hyper lets Transfer-Encoding win"),
        BadResponse::Field(RepeatedContentLength) => Some("hyper takes equal lengths for one"),
        BadResponse::Field(ContentLength) if theirs.fields.contains_key("transfer-encoding") => {
            Some("hyper lets Transfer-Encoding win")
        }
        BadResponse::Field(ContentLength) if is_padded(&theirs.fields) => {
            Some("hyper takes any number of leading zeros")
        }
        BadResponse::Field(TransferEncoding) => Some("hyper reads until close what is not chunked"),
        _ => None,
    }
}

fn ours(bytes: &[u8], to_head: bool) -> Result<OurAnswer, End<Problem>> {
    let mut rest = bytes;
    loop {
        let mut slots = header_slots();
        let (head, len) = match response::parse(rest, &mut slots, LIMITS, to_head) {
            Ok(Parsed::Complete { head, len }) => (head, len),
            Ok(Parsed::Partial) => return Err(End::Incomplete),
            Err(problem) => return Err(End::Refused(Problem::Head(problem))),
        };
        rest = &rest[len..];
        if head.status < 200 && head.status != 101 {
            continue;
        }
        let body = read_body(head.framing, &mut rest).map_err(|end| match end {
            End::Refused(problem) => End::Refused(Problem::Body(problem)),
            End::Clean | End::Incomplete => End::Incomplete,
        })?;
        let fields = fields(head.headers.iter().map(|field| (field.name, field.value)));
        return Ok(OurAnswer { status: head.status, version: head.version, fields, body });
    }
}

fn assert_alike(ours: &OurAnswer, theirs: &HyperAnswer, case: impl Fn() -> String) {
    assert_eq!(ours.status, theirs.status.as_u16(), "{}", case());
    let version = if ours.version == Version::Http10 { HyperVersion::HTTP_10 } else { HyperVersion::HTTP_11 };
    assert_eq!(version, theirs.version, "{}", case());
    assert_eq!(ours.fields, theirs.fields, "{}", case());
    assert_eq!(ours.body.content, theirs.body.content, "{}", case());
    assert_eq!(ours.body.trailers, without_dropped(theirs.body.trailers.clone()), "{}", case());
}

#[test]
fn answers_are_read_as_hyper_reads_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut tally = Tally::default();
    for seed in 0..CASES {
        let mut dice = Dice(seed);
        let method = if dice.one_in(4) { Method::HEAD } else { Method::GET };
        let bytes = generate::answer(&mut dice);
        let ours = ours(&bytes, method == Method::HEAD);
        let theirs = runtime.block_on(oracle::answer(&bytes, method.clone()));
        let case = || format!("{}\nours: {ours:?}\nhyper: {theirs:?}", bytes.escape_ascii());
        match (&ours, &theirs) {
            (Ok(our), Ok(their)) => {
                assert_alike(our, their, case);
                tally.agreed += 1;
            }
            (Err(_), Err(_)) => tally.ended_together += 1,
            (Err(End::Refused(problem)), Ok(their)) => {
                tally.explain(why_stricter(*problem, their, method == Method::HEAD), case);
            }
            (Err(_), Ok(_)) | (Ok(_), Err(_)) => tally.explain(None, case),
        }
    }
    tally.check(12, 4500);
}
