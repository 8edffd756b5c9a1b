//! What a client sends on one connection: nothing panics, what is accepted is clean and is read the same when it comes byte by
//! byte, and what is refused stays refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::codec::body::{Decoder, Framing, Piece};
use stickyd::codec::request::{BadRequest, RequestHead, parse};
use stickyd::codec::fields::BadField;
use stickyd::codec::{HeadLimits, Parsed, Version, header_slots, worth_parsing};

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, headers: 32 };

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while !rest.is_empty() {
        let mut slots = header_slots();
        match parse(rest, &mut slots, LIMITS) {
            Ok(Parsed::Complete { head, len }) => {
                check_clean(&head, &rest[..len]);
                assert_eq!(dribbled(rest), Some(Ok(len)));
                rest = &rest[len..];
                let mut body = Decoder::new(head.framing, 256);
                loop {
                    match body.next(&mut rest) {
                        Ok(Some(Piece::Data(data))) => assert!(!data.is_empty()),
                        Ok(Some(Piece::End(_))) => break,
                        Ok(None) | Err(_) => return,
                    }
                }
                if !head.keep_alive {
                    return;
                }
            }
            Ok(Parsed::Partial) => {
                assert!(rest.len() < LIMITS.bytes);
                assert_eq!(dribbled(rest), None);
                return;
            }
            Err(problem) => {
                assert_ne!(problem, BadRequest::Field(BadField::Malformed), "every refusal has its rule");
                assert!(!matches!(dribbled(rest), Some(Ok(_))));
                return;
            }
        }
    }
});

/// The outcome when the same bytes come one by one; `None`: more are needed.
fn dribbled(bytes: &[u8]) -> Option<Result<usize, BadRequest>> {
    for end in 1..=bytes.len() {
        let mut slots = header_slots();
        if worth_parsing(&bytes[..end], end - 1, LIMITS) {
            match parse(&bytes[..end], &mut slots, LIMITS) {
                Ok(Parsed::Complete { len, .. }) => return Some(Ok(len)),
                Ok(Parsed::Partial) => {}
                Err(problem) => return Some(Err(problem)),
            }
        }
    }
    None
}

fn check_clean(head: &RequestHead<'_, '_>, bytes: &[u8]) {
    assert!(bytes.len() <= LIMITS.bytes && head.headers.len() <= LIMITS.headers);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r'),
            b'\r' => assert_eq!(bytes[at + 1], b'\n'),
            b'\t' => {}
            byte => assert!(!byte.is_ascii_control()),
        }
    }
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert!(!bytes.windows(3).any(|three| three == b"\r\n " || three == b"\r\n\t"));
    assert!(head.target.starts_with('/') || (head.target == "*" && head.method == "OPTIONS"));
    assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    assert!(!head.path().split('/').any(|segment| segment == "." || segment == ".."));
    assert!(!head.host.is_empty() || head.version == Version::Http10);
    assert!(head.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte)));
    let count = |name: &str| head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("host") <= 1);
    match head.framing {
        Framing::None => assert_eq!(count("content-length") + count("transfer-encoding"), 0),
        Framing::Length(_) => assert_eq!((count("content-length"), count("transfer-encoding")), (1, 0)),
        Framing::Chunked => {
            assert_eq!((count("content-length"), count("transfer-encoding")), (0, 1));
            assert_eq!(head.version, Version::Http11);
        }
        Framing::UntilClose => panic!("a request does not end with its connection"),
    }
}
