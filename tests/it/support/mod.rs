//! What the tests are written with: a proxy under test, scripted instances and clients, both raw.
//!
//! A test is a script in one thread: the client sends, the instance accepts and reads, answers, the client reads. What is
//! waited for is an event, never a time; every wait has a [`DEADLINE`], so that a hang fails its test.

pub(crate) mod engine_io;
pub(crate) mod instance;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod ws;

use std::time::{Duration, Instant};

pub(crate) use instance::{Answering, Instance, behind_one_name};
pub(crate) use message::Message;
pub(crate) use proxy::Proxy;
pub(crate) use socket::{End, Socket};

/// How long anything may take that happens at once on an idle machine. Only a failing test waits for so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Looks until `ready` gives something: for what can only be seen from outside, such as a counter.
pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `len` bytes that are no repetition of a short piece, so that a lost or doubled part shows.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| step()).collect()
}
