//! Requests: our codec against hyper's server, connection by connection.

use hyper::Version as HyperVersion;
use stickyd::codec::{
    Parsed, Version,
    body::BadBody,
    fields::BadField,
    header_slots,
    request::{self, BadRequest},
};

use super::{
    Body, End, Fields, LIMITS, Tally, fields,
    generate::{self, Dice},
    is_padded,
    oracle::{self, HyperRequest},
    read_body, why_body_stricter, without_dropped,
};

const CASES: u64 = 15_000;

#[derive(Debug)]
struct OurRequest {
    method: String,
    target: String,
    host: String,
    version: Version,
    fields: Fields,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Problem {
    Head(BadRequest),
    Body(BadBody),
}

/// Why we refuse what hyper reads as `theirs`; `None`: hyper has to refuse it too.
fn why_stricter(problem: Problem, theirs: &HyperRequest) -> Option<&'static str> {
    let problem = match problem {
        Problem::Head(problem) => problem,
        Problem::Body(problem) => return why_body_stricter(problem),
    };
    match problem {
        BadRequest::Connect => Some("hyper serves CONNECT; we have nothing that it could reach"),
        BadRequest::EmptyLines => Some("hyper skips any number of empty lines"),
        BadRequest::TargetByte => Some("hyper cuts a fragment off, and takes UTF-8 in a target"),
        BadRequest::Target => Some("hyper takes authority-form and asterisk-form with any method"),
        BadRequest::DotSegment => Some("hyper leaves the meaning of a path to the application"),
        BadRequest::Authority => Some("hyper takes userinfo in an authority"),
        BadRequest::MissingHost | BadRequest::RepeatedHost | BadRequest::Host | BadRequest::HostMismatch => {
            Some("hyper leaves Host to the application")
        }
        BadRequest::Field(problem) => match problem {
            BadField::BareLf => Some("hyper takes a bare LF for a line's end"),
            BadField::BothLengths => Some("hyper lets Transfer-Encoding win"),
            BadField::RepeatedContentLength => Some("hyper takes equal lengths for one"),
            BadField::ContentLength if theirs.fields.contains_key("transfer-encoding") => {
                Some("hyper lets Transfer-Encoding win")
            }
            BadField::ContentLength if is_padded(&theirs.fields) => {
                Some("hyper takes any number of leading zeros")
            }
            BadField::TransferEncoding => Some("hyper looks at the last coding only"),
            _ => None,
        },
        _ => None,
    }
}

/// Why hyper refuses what we read as `ours`.
fn why_laxer(theirs: &End<String>, ours: &OurRequest) -> Option<&'static str> {
    match theirs {
        End::Refused(problem) if problem == "invalid URI" && ours.target.contains(['<', '>', '`']) => {
            Some("hyper's URI has neither angle brackets nor backticks, which some clients do not encode")
        }
        _ => None,
    }
}

fn ours(bytes: &[u8]) -> (Vec<OurRequest>, End<Problem>) {
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut slots = header_slots();
        let (head, len) = match request::parse(rest, &mut slots, LIMITS) {
            Ok(Parsed::Complete { head, len }) => (head, len),
            Ok(Parsed::Partial) => return (seen, End::Incomplete),
            Err(problem) => return (seen, End::Refused(Problem::Head(problem))),
        };
        rest = &rest[len..];
        let body = match read_body(head.framing, &mut rest) {
            Ok(body) => body,
            Err(End::Refused(problem)) => return (seen, End::Refused(Problem::Body(problem))),
            Err(_) => return (seen, End::Incomplete),
        };
        seen.push(OurRequest {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            host: head.host.to_owned(),
            version: head.version,
            fields: fields(head.headers.iter().map(|field| (field.name, field.value))),
            body,
        });
        if !head.keep_alive {
            break;
        }
    }
    (seen, End::Clean)
}

fn assert_alike(ours: &OurRequest, theirs: &HyperRequest, case: impl Fn() -> String) {
    assert_eq!(ours.method, theirs.method, "{}", case());
    // RFC 9112 section 3.2.4: what has no path is `*` to the last proxy's server. hyper says `/`.
    let asterisk = ours.target == "*" && theirs.authority.is_some();
    let target = if asterisk { "/" } else { &ours.target };
    assert_eq!(target, theirs.target, "{}", case());
    let host_field = theirs.fields.get("host").and_then(|values| values.first());
    assert_eq!(ours.host, *theirs.authority.as_ref().or(host_field).unwrap_or(&String::new()), "{}", case());
    let version = if ours.version == Version::Http10 { HyperVersion::HTTP_10 } else { HyperVersion::HTTP_11 };
    assert_eq!(version, theirs.version, "{}", case());
    assert_eq!(ours.fields, theirs.fields, "{}", case());
    assert_eq!(ours.body.content, theirs.body.content, "{}", case());
    assert_eq!(ours.body.trailers, without_dropped(theirs.body.trailers.clone()), "{}", case());
}

fn compare(
    bytes: &[u8],
    ours: &(Vec<OurRequest>, End<Problem>),
    theirs: &(Vec<HyperRequest>, End<String>),
    tally: &mut Tally,
) {
    let case = || format!("{}\nours: {ours:?}\nhyper: {theirs:?}", bytes.escape_ascii());
    for (our, their) in ours.0.iter().zip(&theirs.0) {
        assert_alike(our, their, case);
        tally.agreed += 1;
    }
    let common = ours.0.len().min(theirs.0.len());
    if let Some(their) = theirs.0.get(common) {
        let why = match ours.1 {
            End::Refused(problem) => why_stricter(problem, their),
            End::Clean | End::Incomplete => None,
        };
        tally.explain(why, case);
    } else if let Some(our) = ours.0.get(common) {
        tally.explain(why_laxer(&theirs.1, our), case);
    } else {
        tally.ended_together += 1;
    }
}

#[test]
fn requests_are_read_as_hyper_reads_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut tally = Tally::default();
    for seed in 0..CASES {
        let bytes = generate::requests(&mut Dice(seed));
        let theirs = runtime.block_on(oracle::requests(&bytes));
        compare(&bytes, &ours(&bytes), &theirs, &mut tally);
    }
    tally.check(18, 5000);
}
