//! Numbers that a seed decides (`SplitMix64`): the same on every machine, so that a run can be repeated.
//!
//! Pure.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        // Neighbouring seeds begin far apart.
        dice.0 = dice.roll();
        dice
    }

    /// A sequence of its own for what is called `what` and has this number.
    pub(crate) fn of(seed: u64, what: &str, number: u64) -> Self {
        let start = Dice::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Dice::new(
            what.bytes().fold(start.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `range`, both ends included.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.roll() % (range.end() - range.start() + 1)
    }

    /// True in so many of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    /// One of them.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.roll() % of.len() as u64) as usize]
    }

    /// Appends so many bytes.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, count: usize) {
        let end = out.len() + count;
        while out.len() + 8 <= end {
            out.extend_from_slice(&self.roll().to_be_bytes());
        }
        let rest = end - out.len();
        out.extend_from_slice(&self.roll().to_be_bytes()[..rest]);
    }
}
