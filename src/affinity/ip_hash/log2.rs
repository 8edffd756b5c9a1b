//! The logarithm of the rendezvous hash, in whole numbers: a platform's `ln` may differ in its last bit from another's, and
//! one bit can move a client.
//!
//! The mantissa's first 7 bits choose one of 128 segments; inside it a parabola through the exact values at both ends and in the
//! middle stands for the curve. It is off by less than 2^-26, so shares are right to about one in a hundred thousand. The
//! segments are computed by the compiler, bit by bit, from nothing but squaring.

/// Bits behind the point of what [`negative_log2`] returns.
const FRACTION_BITS: u32 = 48;
const SEGMENT_BITS: u32 = 7;
const SEGMENTS: usize = 1 << SEGMENT_BITS;
/// Bits of a mantissa behind the segment's: how far into the segment.
const INSIDE_BITS: u32 = 63 - SEGMENT_BITS;

/// A piece of `log2` over [1, 2).
#[derive(Clone, Copy)]
struct Segment {
    /// Where the curve starts.
    base: u64,
    /// How far it rises to the next segment.
    rise: u64,
    /// By how much its middle lies over the chord's.
    bulge: u64,
}

static SEGMENTS_TABLE: [Segment; SEGMENTS] = segments();

/// `-log2(draw / 2^64)` with 48 bits behind the point: 0 to 64. The lowest bit of `draw` counts as set, since 0 has
/// no logarithm.
pub(super) fn negative_log2(draw: u64) -> u64 {
    let draw = draw | 1;
    let zeros = draw.leading_zeros();
    ((u64::from(zeros) + 1) << FRACTION_BITS) - mantissa_log2(draw << zeros)
}

/// `log2(mantissa / 2^63)` of a mantissa whose highest bit is set.
fn mantissa_log2(mantissa: u64) -> u64 {
    // The highest byte is the set bit and the segment.
    let Segment { base, rise, bulge } = SEGMENTS_TABLE[usize::from(mantissa.to_be_bytes()[0]) % SEGMENTS];
    // How far into the segment, as a part of 2^64.
    let inside = mantissa << (1 + SEGMENT_BITS);
    let (_, chord) = rise.carrying_mul(inside, 0);
    // x * (1 - x) is a quarter in the middle; 32 bits of it are enough for so flat a bulge.
    let x = inside >> 32;
    let quarter = (x * ((1 << 32) - x)) >> 32;
    base + chord + ((bulge * quarter) >> 30)
}

const fn segments() -> [Segment; SEGMENTS] {
    let mut table = [Segment { base: 0, rise: 0, bulge: 0 }; SEGMENTS];
    let mut index = 0;
    while index < SEGMENTS {
        let start = (1 << 63) | ((index as u64) << INSIDE_BITS);
        let base = exact_log2(start);
        let middle = exact_log2(start | (1 << (INSIDE_BITS - 1)));
        let end =
            if index + 1 < SEGMENTS { exact_log2(start + (1 << INSIDE_BITS)) } else { 1 << FRACTION_BITS };
        table[index] = Segment { base, rise: end - base, bulge: middle - u64::midpoint(base, end) };
        index += 1;
    }
    table
}

/// `log2(mantissa / 2^63)`, every bit: squaring doubles the logarithm, and whether the square reaches 2 is its next bit.
const fn exact_log2(mantissa: u64) -> u64 {
    let mut square = mantissa as u128;
    let mut log = 0;
    let mut bit = 0;
    while bit < FRACTION_BITS {
        square = (square * square) >> 63;
        log <<= 1;
        if square >= 1 << 64 {
            square >>= 1;
            log |= 1;
        }
        bit += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FRACTION_BITS, SEGMENTS, negative_log2};

    /// Expected: floored values of a calculation with 60 digits.
    #[test]
    fn golden_values() {
        for (draw, expected) in [
            (0, 64 << FRACTION_BITS),
            (1, 64 << FRACTION_BITS),
            (2, 17_568_271_226_504_233),
            (3, 17_568_271_226_504_233),
            (0x1234_5678_9abc_def0, 1_073_483_971_977_353),
            (0x5555_5555_5555_5555, 446_127_282_977_750),
            (0x7fff_ffff_ffff_ffff, 1 << FRACTION_BITS),
            (0x8000_0000_0000_0000, 1 << FRACTION_BITS),
            (0xb504_f333_f9de_6484, 140_737_488_355_327),
            (0xff00_0000_0000_0000, 1_589_366_228_648),
            (0xffff_ffff_0000_0000, 94_548),
            (u64::MAX, 0),
        ] {
            let close = negative_log2(draw).abs_diff(expected) < 1 << (FRACTION_BITS - 26);
            assert!(close, "{draw:#x}: {} {expected}", negative_log2(draw));
        }
        // Near 1 the logarithm is small, and what counts is how far off it is for its size.
        assert!(negative_log2(0xffff_ffff_0000_0000).abs_diff(94_548) <= 2);
        assert!(
            negative_log2(0xff00_0000_0000_0000).abs_diff(1_589_366_228_648) < 1_589_366_228_648 / 100_000
        );
    }

    /// The least significant bits are part of the frozen hash too.
    #[test]
    fn frozen_to_the_last_bit() {
        let sum = (0..SEGMENTS as u64 * 16)
            .fold(0, |sum: u64, n| sum.rotate_left(7) ^ negative_log2(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        assert_eq!(sum, 1_483_920_721_760_253_359);
    }

    #[test]
    fn never_rises() {
        let ends = (0..SEGMENTS as u64).map(|segment| (1 << 63) | (segment << 56));
        for end in ends.flat_map(|start| (0..63).map(move |zeros| start >> zeros)) {
            assert!(negative_log2(end - 1) >= negative_log2(end), "{end:#x}");
            assert!(negative_log2(end) >= negative_log2(end.saturating_add(1)), "{end:#x}");
        }
    }

    proptest! {
        #[test]
        fn is_the_logarithm(draw: u64, zeros in 0..60_u32) {
            let draw = draw >> zeros;
            #[expect(clippy::cast_precision_loss, reason = "a comparison to eight digits")]
            let (ours, exact) =
                (negative_log2(draw) as f64 / (1_u64 << FRACTION_BITS) as f64, 64.0 - ((draw | 1) as f64).log2());
            prop_assert!((ours - exact).abs() < 2_f64.powi(-26), "{ours} {exact}");
        }
    }
}
