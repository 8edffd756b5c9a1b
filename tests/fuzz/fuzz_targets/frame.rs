//! A direction of a tunnel: wherever the reads cut the bytes, the scanner lets the same ones pass, counts the same frames and
//! sees the same Close.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::tunnel::frame::{HEADER_MAX, Scanner};

fuzz_target!(|data: &[u8]| {
    let [seed, stream @ ..] = data else { return };

    let mut whole = Scanner::default();
    let at_once = whole.scan(stream);
    assert!(at_once.whole <= stream.len());
    assert!(at_once.bad || stream.len() - at_once.whole < HEADER_MAX);

    let mut scanner = Scanner::default();
    let (mut passed, mut shown, mut frames) = (0, 0, 0);
    let mut cut = u32::from(*seed);
    while shown < stream.len() {
        cut = cut.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        shown = (shown + 1 + (cut >> 16) as usize % 24).min(stream.len());
        let scanned = scanner.scan(&stream[passed..shown]);
        passed += scanned.whole;
        frames += scanned.frames;
        if scanned.bad {
            assert!(at_once.bad);
            break;
        }
    }
    assert_eq!((passed, frames), (at_once.whole, at_once.frames));
    assert_eq!(scanner.left(), whole.left());
    assert_eq!((scanner.close_seen(), scanner.close_code()), (whole.close_seen(), whole.close_code()));
});
