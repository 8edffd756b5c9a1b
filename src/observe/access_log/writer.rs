//! The thread that writes access lines: the only one that waits for a disk or a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::queue::Queue;
use crate::observe::owner;

/// Lines are gathered for this long before they are written: one write for many lines, and at most 50 wake-ups a second.
pub(super) const BATCH: Duration = Duration::from_millis(20);

/// How long a pipe that takes nothing is asked again, and how often.
const BLOCKED_TRIES: u32 = 100;
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

/// Where lines go.
#[derive(Debug)]
pub(super) struct Target {
    file: File,
    /// What to open anew; none for standard output.
    path: Option<PathBuf>,
}

impl Target {
    /// A file, made when it is missing, appended to. Readable for the service's group: whoever ships logs is in it.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self { file: append(path)?, path: Some(path.to_owned()) })
    }

    /// Standard output, without the buffer of `std`.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self { file: File::from(io::stdout().as_fd().try_clone_to_owned()?), path: None })
    }
}

fn append(path: &Path) -> io::Result<File> {
    let opened = owner::open_or_make(path, OFlags::WRONLY | OFlags::APPEND, 0o640);
    opened.map_err(|error| io::Error::new(error.kind(), owner::explained(&error, path)))
}

/// Writes until the queue is closed.
pub(super) fn run(queue: &Queue, target: Target) {
    let mut pen = Pen::new(target.file);
    let mut spare = Vec::new();
    loop {
        // Asked before the sweep: what was queued before the wish goes to the old file.
        let (last, is_reopen) = (queue.is_closing(), queue.take_reopen());
        let any = queue.sweep(&mut spare, last, |lines| {
            let lost = pen.write(lines);
            if lost > 0 {
                queue.lost(lost);
            }
        });
        if last {
            return;
        }
        if is_reopen && let Some(path) = &target.path {
            reopen(&mut pen, path);
        }
        if !any {
            queue.rest();
        }
        if !queue.is_urgent() {
            thread::park_timeout(BATCH);
        }
    }
}

/// On failure the old file is kept: a log in the wrong place is better than none.
fn reopen(pen: &mut Pen<File>, path: &Path) {
    match append(path) {
        Ok(file) => {
            *pen = Pen::new(file);
            tracing::info!(path = %path.display(), "access log: opened anew");
        }
        Err(error) => tracing::error!(%error, "access log: cannot be opened anew, the old file is kept"),
    }
}

/// Writes whole lines as far as that can be done, and says once when it cannot.
#[derive(Debug)]
struct Pen<W> {
    out: W,
    /// The last write stopped inside a line.
    torn: bool,
    /// Lines lost since the last one that was written.
    losing: u64,
}

impl<W: Write> Pen<W> {
    fn new(out: W) -> Self {
        Self { out, torn: false, losing: 0 }
    }

    /// Writes `lines`, each with its end; returns how many of them were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let result = self.mend().and_then(|()| {
            let (written, result) = write_all(&mut self.out, lines);
            self.torn = written > 0 && lines[written - 1] != b'\n';
            result.map_err(|error| (written, error))
        });
        match result {
            Ok(()) => {
                if self.losing > 0 {
                    tracing::info!(lost = self.losing, "access log: lines are written again");
                    self.losing = 0;
                }
                0
            }
            Err((written, error)) => {
                let lost = memchr::memchr_iter(b'\n', &lines[written..]).count() as u64;
                if self.losing == 0 {
                    tracing::error!(%error, "access log: lines are lost");
                }
                self.losing += lost;
                lost
            }
        }
    }

    /// Ends a torn line, so that the next one stands alone.
    fn mend(&mut self) -> Result<(), (usize, io::Error)> {
        if self.torn {
            write_all(&mut self.out, b"\n").1.map_err(|error| (0, error))?;
            self.torn = false;
        }
        Ok(())
    }
}

/// As `Write::write_all`, but it says how much was written, and waits a second for a pipe that takes nothing (standard
/// output may be shared with somebody who made it non-blocking).
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let (mut written, mut blocked) = (0, 0);
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => (written, blocked) = (written + count, 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && blocked < BLOCKED_TRIES => {
                blocked += 1;
                thread::sleep(BLOCKED_PAUSE);
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Does with each write what the script says: takes so many bytes, or fails.
    struct Script {
        steps: VecDeque<Result<usize, ErrorKind>>,
        taken: Vec<u8>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.steps.pop_front().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_fails_is_counted_and_the_next_line_stands_alone() {
        fn check(steps: &[Result<usize, ErrorKind>], lost: &[u64], taken: &str) {
            let mut pen = Pen::new(Script { steps: steps.iter().copied().collect(), taken: Vec::new() });
            let got: Vec<u64> = ["one\ntwo\n", "three\n"].map(|lines| pen.write(lines.as_bytes())).to_vec();
            let text = String::from_utf8_lossy(&pen.out.taken);
            assert_eq!((got.as_slice(), text.as_ref()), (lost, taken), "{steps:?}");
        }
        use ErrorKind::{BrokenPipe, Interrupted, StorageFull, WouldBlock};
        check(&[], &[0, 0], "one\ntwo\nthree\n");
        check(&[Ok(1), Ok(2), Ok(3)], &[0, 0], "one\ntwo\nthree\n");
        check(&[Ok(2), Err(Interrupted), Err(WouldBlock)], &[0, 0], "one\ntwo\nthree\n");
        check(&[Err(StorageFull)], &[2, 0], "three\n");
        check(&[Ok(4), Err(StorageFull)], &[1, 0], "one\nthree\n");
        check(&[Ok(5), Err(StorageFull)], &[1, 0], "one\nt\nthree\n");
        check(&[Ok(2), Err(StorageFull), Err(StorageFull)], &[2, 1], "on");
        check(&[Ok(0)], &[2, 0], "three\n");
        check(&[Err(BrokenPipe), Err(BrokenPipe)], &[2, 1], "");
    }

    #[test]
    fn a_pipe_that_stays_blocked_is_given_up() {
        let steps = std::iter::repeat_n(Err(ErrorKind::WouldBlock), BLOCKED_TRIES as usize + 1).collect();
        let mut pen = Pen::new(Script { steps, taken: Vec::new() });
        assert_eq!(pen.write(b"one\n"), 1);
    }
}
