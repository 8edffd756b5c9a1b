//! Lines on their way from the workers to the writer. Bounded in bytes; nobody waits here but the writer.
//!
//! There is a buffer for each worker, so that workers do not meet: the only one who takes a worker's lock besides
//! itself is the writer, for as long as it takes to swap the buffer for an empty one. Lines of one worker stay in
//! their order; lines of two workers are in order to within [`super::writer::BATCH`].

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use super::time::Stamp;

/// Most bytes that wait, over all buffers; as many again may be on their way to the disk. 16 MiB are some 30 000 lines:
/// a disk may stall for a while.
const BYTES_MAX: usize = 16 << 20;

/// Most buffers; with more workers than that some share.
const SHARDS_MAX: usize = 16;

/// A buffer with this much in it is written without waiting for more.
const PRESSING: usize = 128 << 10;

/// Capacity that an empty buffer keeps.
const KEPT: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Queue {
    shards: Box<[Shard]>,
    shard_bytes_max: usize,
    /// Lines lost. Shared by all, but only touched when something is wrong.
    dropped: AtomicU64,
    /// The writer sleeps until it is woken.
    idle: AtomicBool,
    closing: AtomicBool,
    reopening: AtomicBool,
    writer: OnceLock<Thread>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    bytes: Vec<u8>,
    stamp: Stamp,
    /// The writer took the last lines and is gone.
    closed: bool,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        // A panic while it was held can have left half a line, not a broken buffer.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX);
        Self::with(count, BYTES_MAX / count)
    }

    fn with(shards: usize, shard_bytes_max: usize) -> Self {
        let shard = || Shard(Mutex::new(Lines { bytes: Vec::new(), stamp: Stamp::new(), closed: false }));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            shard_bytes_max,
            dropped: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            reopening: AtomicBool::new(false),
            writer: OnceLock::new(),
        }
    }

    /// Lets `push` append a line to this thread's buffer, or drops the line when the buffer is full.
    pub(super) fn line(&self, push: impl FnOnce(&mut Vec<u8>, &mut Stamp)) {
        let mut lines = self.shards[ordinal() % self.shards.len()].lock();
        let before = lines.bytes.len();
        // A buffer ends up at most one line longer than the limit.
        if lines.closed || before >= self.shard_bytes_max {
            drop(lines);
            return self.lost(1);
        }
        let Lines { bytes, stamp, .. } = &mut *lines;
        push(bytes, stamp);
        let is_pressing = before < PRESSING && bytes.len() >= PRESSING;
        drop(lines);
        // The writer goes idle before it looks into the buffers a last time, and the lock orders that look and this
        // line: whoever comes second sees the other.
        let is_first = self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::AcqRel);
        if is_first || is_pressing {
            self.wake();
        }
    }

    /// Counts lost lines.
    pub(super) fn lost(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn reopen(&self) {
        self.reopening.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Names the writer; before that nobody is woken.
    pub(super) fn attend(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    // From here on: for the writer's thread.

    /// Gives each buffer's lines to `write`; `false` when there were none. `last`: no line is taken any more.
    pub(super) fn sweep(&self, spare: &mut Vec<u8>, last: bool, mut write: impl FnMut(&[u8])) -> bool {
        let mut any = false;
        for shard in &self.shards {
            spare.clear();
            spare.shrink_to(KEPT);
            {
                let mut lines = shard.lock();
                mem::swap(&mut lines.bytes, spare);
                lines.closed |= last;
            }
            if !spare.is_empty() {
                any = true;
                write(spare);
            }
        }
        any
    }

    /// Sleeps until there is a line, or something to do. There may be none: look again.
    pub(super) fn rest(&self) {
        self.idle.store(true, Ordering::Release);
        let is_empty = |shard: &Shard| shard.lock().bytes.is_empty();
        if self.shards.iter().all(is_empty) {
            while self.idle.load(Ordering::Acquire) && !self.is_urgent() {
                thread::park();
            }
        }
        self.idle.store(false, Ordering::Release);
    }

    /// Something is to be done now, not with the next batch.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_closing() || self.reopening.load(Ordering::Acquire)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether the file is to be opened anew; asked once per wish.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopening.swap(false, Ordering::AcqRel)
    }
}

/// A small number of this thread's own: workers start one after the other and get neighbouring ones.
fn ordinal() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static ORDINAL: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ORDINAL.with(|ordinal| *ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue, text: &str) {
        queue.line(|out, _| out.extend_from_slice(text.as_bytes()));
    }

    fn sweep(queue: &Queue, last: bool) -> String {
        let mut all = Vec::new();
        let any = queue.sweep(&mut Vec::new(), last, |lines| all.extend_from_slice(lines));
        assert_eq!(any, !all.is_empty());
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let queue = Queue::with(1, 6);
        for text in ["one\n", "two\n", "three\n"] {
            push(&queue, text);
        }
        assert_eq!((sweep(&queue, false).as_str(), queue.dropped()), ("one\ntwo\n", 1));
        push(&queue, "four\n");
        assert_eq!((sweep(&queue, false).as_str(), queue.dropped()), ("four\n", 1));
    }

    #[test]
    fn after_the_last_sweep_lines_are_counted_as_lost() {
        let queue = Queue::with(3, 100);
        push(&queue, "one\n");
        assert_eq!(sweep(&queue, true), "one\n");
        push(&queue, "two\n");
        assert_eq!((sweep(&queue, true).as_str(), queue.dropped()), ("", 1));
    }

    #[test]
    fn a_long_stall_leaves_no_large_buffer_behind() {
        let queue = Queue::with(1, BYTES_MAX);
        let mut spare = Vec::new();
        for _ in 0..4 {
            push(&queue, &"x".repeat(4 * PRESSING));
            queue.sweep(&mut spare, false, |_| {});
        }
        queue.sweep(&mut spare, false, |_| {});
        queue.sweep(&mut spare, false, |_| {});
        let capacity = queue.shards[0].lock().bytes.capacity();
        assert!(capacity <= KEPT && spare.capacity() <= KEPT, "{capacity}, {}", spare.capacity());
    }
}
