//! How long the messages of one tunnel are, in both directions, against `limits.message`.
//!
//! A message is a frame with an opcode of data and the continuations behind it (RFC 6455 section 5.4); its size is the payload as
//! it passes, so compressed if it is. Control frames may come in between and do not count, but none is longer than a
//! message may be either.
//!
//! Pure. Must not: judge anything else about a frame.

use super::Way;
use super::frame::{FrameHeader, Watch};

/// A limit of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimit {
    /// Payload bytes of one message.
    pub bytes: u64,
    /// A larger one ends the tunnel; `false`: it is only told.
    pub enforce: bool,
}

/// Opcodes of RFC 6455 section 11.8: from here on frames are control.
const CONTROL: u8 = 0x8;
const CONTINUATION: u8 = 0x0;

/// A tunnel's messages.
#[derive(Debug)]
pub(super) struct Messages {
    limit: MessageLimit,
    /// Payload so far of the message that passes.
    up: u64,
    down: u64,
    /// Messages that have become too large since this was last asked.
    found: u32,
}

impl Messages {
    pub(super) fn new(limit: MessageLimit) -> Self {
        Messages { limit, up: 0, down: 0, found: 0 }
    }

    /// For the frames of one direction: stops before the frame with which a message becomes too large, if it is to.
    pub(super) fn watch(&mut self, way: Way) -> impl Watch {
        let sum = match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        };
        Sizes { limit: self.limit, sum, found: &mut self.found }
    }

    /// Messages that have become too large since the last time.
    pub(super) fn take_found(&mut self) -> u32 {
        std::mem::take(&mut self.found)
    }

    pub(super) fn enforces(&self) -> bool {
        self.limit.enforce
    }
}

struct Sizes<'m> {
    limit: MessageLimit,
    sum: &'m mut u64,
    found: &'m mut u32,
}

impl Watch for Sizes<'_> {
    fn begins(&mut self, header: FrameHeader, _frame: &[u8]) -> bool {
        let before = if header.opcode == CONTINUATION { *self.sum } else { 0 };
        let size = before.saturating_add(header.payload);
        if header.opcode < CONTROL {
            *self.sum = size;
        }
        // Once for each message, however long it goes on.
        let is_found = size > self.limit.bytes && before <= self.limit.bytes;
        *self.found += u32::from(is_found);
        is_found && self.limit.enforce
    }

    fn passes(&mut self, _payload: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::frame::Scanner;

    /// Frames without a mask: first byte and length of the payload.
    fn bytes(frames: &[(u8, usize)]) -> Vec<u8> {
        let frame = |&(first, len): &(u8, usize)| {
            let len = u16::try_from(len).unwrap().to_be_bytes();
            [&[first, 126, len[0], len[1]], &*vec![b'x'; usize::from(u16::from_be_bytes(len))]].concat()
        };
        frames.iter().flat_map(frame).collect()
    }

    /// How many frames pass of these with a limit of 1000, and how many are found when none is stopped.
    fn check(frames: &[(u8, usize)], pass: usize, found: u32) {
        let stream = bytes(frames);
        for enforce in [true, false] {
            let mut messages = Messages::new(MessageLimit { bytes: 1000, enforce });
            for way in [Way::Up, Way::Down] {
                let scanned = Scanner::default().scan_with(&stream, &mut messages.watch(way));
                let whole = bytes(&frames[..if enforce { pass } else { frames.len() }]).len();
                assert_eq!(scanned.whole, whole, "{frames:?}");
                let found = if enforce { u32::from(pass < frames.len()) } else { found };
                assert_eq!(messages.take_found(), found, "{frames:?}");
            }
        }
    }

    #[test]
    fn a_message_is_all_of_its_fragments() {
        check(&[(0x82, 1000), (0x81, 1000), (0x82, 0)], 3, 0);
        check(&[(0x82, 1001)], 0, 1);
        check(&[(0x01, 500), (0x00, 400), (0x80, 100), (0x82, 1000)], 4, 0);
        check(&[(0x01, 500), (0x00, 400), (0x80, 101), (0x82, 1000)], 2, 1);
        // Pings and the like in between.
        check(&[(0x01, 500), (0x89, 125), (0x8a, 125), (0x80, 500)], 4, 0);
        check(&[(0x01, 500), (0x89, 125), (0x80, 501)], 2, 1);
        // Each is found once, and the next one is another.
        check(&[(0x02, 900), (0x00, 900), (0x80, 900), (0x82, 10), (0x82, 2000), (0x82, 1)], 1, 2);
        // No control frame is that long, and opcodes of extensions are data.
        check(&[(0x89, 1001)], 0, 1);
        check(&[(0x83, 1001)], 0, 1);
        check(&[(0x03, 600), (0x80, 600)], 1, 1);
        // A continuation of nothing is the instance's to judge, but it is no way around the limit.
        check(&[(0x82, 600), (0x80, 600)], 1, 1);
    }
}
