//! An answer's head, to HEAD when the first byte is odd: nothing panics, what is accepted is clean, is read the same when it comes
//! byte by byte, and is framed as RFC 9112 section 6.3 says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::codec::body::Framing;
use stickyd::codec::fields::BadField;
use stickyd::codec::response::{BadResponse, ResponseHead, parse};
use stickyd::codec::{HeadLimits, Parsed, Version, header_slots, worth_parsing};

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, headers: 32 };

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let to_head = first & 1 == 1;
    let mut slots = header_slots();
    match parse(bytes, &mut slots, LIMITS, to_head) {
        Ok(Parsed::Complete { head, len }) => {
            check_clean(&head, &bytes[..len], to_head);
            assert_eq!(dribbled(bytes, to_head), Some(Ok(len)));
        }
        Ok(Parsed::Partial) => {
            assert!(bytes.len() < LIMITS.bytes);
            assert_eq!(dribbled(bytes, to_head), None);
        }
        Err(problem) => {
            assert_ne!(problem, BadResponse::Field(BadField::Malformed), "every refusal has its rule");
            assert!(!matches!(dribbled(bytes, to_head), Some(Ok(_))));
        }
    }
});

/// The outcome when the same bytes come one by one; `None`: more are needed.
fn dribbled(bytes: &[u8], to_head: bool) -> Option<Result<usize, BadResponse>> {
    for end in 1..=bytes.len() {
        let mut slots = header_slots();
        if worth_parsing(&bytes[..end], end - 1, LIMITS) {
            match parse(&bytes[..end], &mut slots, LIMITS, to_head) {
                Ok(Parsed::Complete { len, .. }) => return Some(Ok(len)),
                Ok(Parsed::Partial) => {}
                Err(problem) => return Some(Err(problem)),
            }
        }
    }
    None
}

fn check_clean(head: &ResponseHead<'_, '_>, bytes: &[u8], to_head: bool) {
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
    assert!((100..=999).contains(&head.status));
    let without_body = to_head || head.status < 200 || head.status == 204 || head.status == 304;
    assert_eq!(without_body, head.framing == Framing::None);
    assert!(head.framing != Framing::Chunked || head.version == Version::Http11);
    assert!(!head.keep_alive || head.framing != Framing::UntilClose);
}
