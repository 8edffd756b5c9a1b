//! Buffers lent to whoever has bytes in hand, and taken back when there are none.
//!
//! Nothing at rest holds a buffer: a task that waits gives it back, and keeps at most a small copy of what it could not
//! finish.

use std::cell::RefCell;

/// Bytes that one read can bring: what a socket is read into.
pub const CAPACITY: usize = 64 * 1024;

/// Free bytes before the first byte read, so that a few held-back bytes can be put in front without moving the rest.
pub const HEADROOM: usize = 16;

/// Where an empty buffer begins to be filled.
const START: u32 = 16;
const _: () = assert!(START as usize == HEADROOM);

/// Buffers kept for the next borrower; more are given back to the allocator.
const KEPT: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A borrowed buffer: `filled()` is what has been read and not yet consumed.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    // Two 32-bit positions: what holds a buffer is held thousands of times.
    start: u32,
    end: u32,
}

impl Buffer {
    /// Borrows an empty buffer.
    pub fn take() -> Self {
        let bytes =
            FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; HEADROOM + CAPACITY].into_boxed_slice());
        Buffer { bytes, start: START, end: START }
    }

    /// What was read and not yet consumed.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// The same, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start as usize..self.end as usize]
    }

    /// Where the next read goes.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end as usize..]
    }

    /// `count` bytes of [`Buffer::space`] have been read into.
    pub fn advance(&mut self, count: usize) {
        self.end += position(count);
        debug_assert!(self.end as usize <= self.bytes.len());
    }

    /// The first `count` bytes are done with.
    pub fn consume(&mut self, count: usize) {
        self.start += position(count);
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = START;
            self.end = START;
        }
    }

    /// Puts `bytes` in front of what is filled; at most [`HEADROOM`] bytes, and only before anything was consumed.
    pub fn prepend(&mut self, bytes: &[u8]) {
        let start = self.start - position(bytes.len());
        self.bytes[start as usize..self.start as usize].copy_from_slice(bytes);
        self.start = start;
    }
}

/// A count of bytes of one buffer.
fn position(count: usize) -> u32 {
    u32::try_from(count).expect("a buffer is far smaller than 4 GiB")
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // At the end of a thread the list may be gone already: then the buffer simply is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_empty_again_when_all_is_consumed() {
        let mut buffer = Buffer::take();
        buffer.space()[..3].copy_from_slice(b"abc");
        buffer.advance(3);
        buffer.prepend(b"xy");
        assert_eq!(buffer.filled(), b"xyabc");
        buffer.consume(4);
        assert_eq!(buffer.filled(), b"c");
        buffer.consume(1);
        assert_eq!(buffer.filled(), b"");
        assert_eq!(buffer.space().len(), CAPACITY);
    }

    #[test]
    fn buffers_come_back() {
        let first = Buffer::take();
        let place = first.bytes.as_ptr();
        drop(first);
        assert_eq!(Buffer::take().bytes.as_ptr(), place);
    }
}
