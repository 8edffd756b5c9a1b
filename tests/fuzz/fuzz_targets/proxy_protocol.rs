//! Any bytes at the start of a connection: nothing panics, a header lies in what has come, whatever was decided stays decided when more
//! comes, and before that it was open. The first byte says where it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::listener::proxy_protocol::{HEADER_MAX, Parsed, parse};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (first, whole) = (parse(&bytes[..bytes.len().min(cut.into())]), parse(bytes));
    match first {
        Ok(Parsed::Partial) => {}
        decided => assert_eq!(decided, whole),
    }
    match whole {
        Ok(Parsed::Partial) => assert!(bytes.len() < HEADER_MAX),
        Ok(Parsed::Header { len, .. }) => assert!(len <= bytes.len() && len <= HEADER_MAX),
        _ => {}
    }
});
