//! A `Cookie` field and a sealed value that a client made up: nothing panics, nothing opens, and taking the cookie out leaves none.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stickyd::affinity::cookie::{Binding, InstanceToken, Keys, strip, values};

const NAME: &str = "stickyd-socketio";

/// Secrets that no test vector knows: a corpus made of those must not open anything.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    Keys::parse("fuzz target cookie: the one that seals\nfuzz target cookie: the older one").unwrap()
});

fuzz_target!(|data: &[u8]| {
    // No input can hold a MAC that it does not know.
    assert!(KEYS.open("socketio", data, 1_700_000_000, 86_400).is_err());
    for value in values(data, NAME) {
        assert!(KEYS.open("socketio", value, 1_700_000_000, 86_400).is_err());
    }

    let mut left = b"before".to_vec();
    let something = strip(data, NAME, &mut left);
    assert!(left.starts_with(b"before") && left.len() <= b"before".len() + data.len());
    assert_eq!(values(&left[b"before".len()..], NAME).next(), None);
    assert!(something || left == b"before");

    // What was sealed opens; with one byte changed it does not.
    if let [position, change, id @ ..] = data
        && let Ok(id) = <[u8; 8]>::try_from(id)
    {
        let binding = Binding { instance: InstanceToken(id), issued: 1_700_000_000, id };
        let mut value = Vec::new();
        KEYS.seal("socketio", &binding, &mut value);
        assert_eq!(KEYS.open("socketio", &value, 1_700_000_000, 86_400), Ok(binding));
        let position = usize::from(*position) % value.len();
        value[position] ^= change;
        assert_eq!(KEYS.open("socketio", &value, 1_700_000_000, 86_400).is_ok(), *change == 0);
    }
});
