//! When a file's content is new and still: looks at points in time in, what to do out.
//!
//! Pure. Must not: look by itself.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

/// Content counts once it has been the same for so long: whoever writes in place is then done, or has stopped.
pub(super) const STILL: Duration = Duration::from_secs(1);

/// Content is read after so long whatever the stamp says: clocks of file systems may be coarse, and of mapped
/// memory late.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// What tells one content from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Of this content.
    pub fn of(content: &[u8]) -> Self {
        Digest(xxh3_128(content))
    }

    /// Four digits of it, by which people tell one file from another.
    pub fn short(self) -> String {
        format!("{:04x}", self.0 >> 112)
    }
}

/// What the file system says of a file. As long as it is the same, the content nearly always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    /// Likewise; nobody can set it back.
    pub(super) changed: (i64, i64),
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// This is new, and still.
    Changed(Vec<u8>),
    /// It could not be read for [`STILL`]; why.
    Lost(String),
    /// It can be read again, which was said to be lost.
    Back,
}

/// A file as it was seen.
#[derive(Debug)]
pub(super) struct Watch {
    /// What it is compared with: handed on last, or there from the start.
    known: Digest,
    seen: Seen,
}

/// The last looks.
#[derive(Debug)]
enum Seen {
    Nothing,
    Content {
        digest: Digest,
        /// The first look that found it.
        since: Duration,
        stamp: Stamp,
        /// The first look that found the stamp.
        stamped: Duration,
        /// The last look that read it.
        read: Duration,
    },
    /// It could not be read.
    Unreadable {
        /// The first look that could not.
        since: Duration,
        is_told: bool,
    },
}

impl Watch {
    /// Of a file that held `known`.
    pub(super) fn new(known: Digest) -> Self {
        Watch { known, seen: Seen::Nothing }
    }

    /// The content must be read: it may be another than was seen, or waits to be still.
    ///
    /// A file may change twice within one tick of its file system's clock, so a stamp is not believed until all has been as
    /// it is for a while.
    pub(super) fn must_read(&self, stamp: Stamp, now: Duration) -> bool {
        let Seen::Content { digest, since, stamp: last, stamped, read } = self.seen else { return true };
        digest != self.known || stamp != last || now < since.max(stamped) + STILL || now >= read + AGAIN
    }

    /// `content` was read at `now` from a file with `stamp`.
    pub(super) fn read(&mut self, stamp: Stamp, content: Vec<u8>, now: Duration) -> Option<Event> {
        let digest = Digest::of(&content);
        let since = match self.seen {
            Seen::Content { digest: last, since, .. } if last == digest => since,
            _ => now,
        };
        let stamped = match self.seen {
            Seen::Content { stamp: last, stamped, .. } if last == stamp => stamped,
            _ => now,
        };
        let is_back = matches!(self.seen, Seen::Unreadable { is_told: true, .. });
        self.seen = Seen::Content { digest, since, stamp, stamped, read: now };
        if is_back {
            return Some(Event::Back);
        }
        if digest == self.known || now < since + STILL {
            return None;
        }
        self.known = digest;
        Some(Event::Changed(content))
    }

    /// It could not be read at `now`: that is no change, and what was seen before must be still anew.
    pub(super) fn could_not_read(&mut self, why: &str, now: Duration) -> Option<Event> {
        let (since, was_told) = match self.seen {
            Seen::Unreadable { since, is_told } => (since, is_told),
            _ => (now, false),
        };
        // Editors take a file away for a moment.
        let is_told = was_told || now >= since + STILL;
        self.seen = Seen::Unreadable { since, is_told };
        (is_told && !was_told).then(|| Event::Lost(why.to_owned()))
    }
}

#[cfg(test)]
#[path = "still_tests.rs"]
mod tests;
