//! Random numbers for placement and identifiers: fast and well spread, not secret.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

/// A fresh number of this thread's sequence (`SplitMix64`).
pub fn next() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Less than `most`, in milliseconds' steps.
pub fn up_to(most: Duration) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let (_, drawn) = millis.carrying_mul(next(), 0);
    Duration::from_millis(drawn)
}

/// From 0 up to `count`, which it never is; 0 when there is nothing to draw from.
pub fn below(count: usize) -> usize {
    let (_, drawn) = (count as u64).carrying_mul(next(), 0);
    usize::try_from(drawn).unwrap_or(0)
}

/// Bytes that cannot be guessed.
pub fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

fn seed() -> u64 {
    u64::from_ne_bytes(secret())
}
