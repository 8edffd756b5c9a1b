//! The new process, as the old one sees it: started, talked to, and ended if it does not take over.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command as Program, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::HANDOVER;
use super::channel::Channel;
use super::estate::left;
use super::wire::{Answered, Offered, Serving, VERSION, decode, encode};
use crate::local::clock::{self, Moment};

/// Lines of its standard error that are kept.
const LINES: usize = 20;

/// Bytes of a line of it; what is longer is cut into several.
const LINE: usize = 4 << 10;

/// It ends by itself when the channel does, and may still write down why.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How a program is started as this process was.
#[derive(Clone, Debug)]
pub(in crate::control) struct Started {
    binary: PathBuf,
    arguments: Vec<OsString>,
}

impl Started {
    /// As this process was; to be asked before it changes its directory. The name by which it was called, and not the file that it
    /// is: a link leads to the new binary.
    pub(in crate::control) fn as_it_was() -> Self {
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from).unwrap_or_default();
        let binary = if called.components().count() > 1 {
            std::path::absolute(&called).ok()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(&called)).find(|file| file.is_file())
        };
        let binary = binary.filter(|file| file.exists()).or_else(|| std::env::current_exe().ok());
        Started { binary: binary.unwrap_or(called), arguments: arguments.collect() }
    }
}

/// Whether a file can be a program at all: what people mistype is told before anything is begun.
///
/// # Errors
/// What is wrong with it.
pub(in crate::control) fn check(binary: &Path) -> Result<(), String> {
    let found = fs::metadata(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    if found.is_file() { Ok(()) } else { Err(format!("{} is no file", binary.display())) }
}

/// Why not. This process serves on.
#[derive(Debug)]
pub(in crate::control) enum Refused {
    /// The new process does not take the configuration.
    Configuration(String),
    Otherwise(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Otherwise(error.to_string())
    }
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It said so.
    Failed {
        code: u8,
        why: String,
    },
    /// It ended.
    Ended,
    Late,
    /// It is another process than the one that was started.
    Another(u32),
    Other(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Wrong::Late,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Wrong::Ended,
            _ => Wrong::Other(error.to_string()),
        }
    }
}

/// The new process.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) child: Child,
    pub(super) channel: Channel,
    /// Whatever is not done by then is late.
    pub(super) until: Moment,
    binary: PathBuf,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Heir {
    /// Starts `binary`, or the one that this process was started from.
    pub(super) fn start(started: &Started, binary: Option<&Path>, until: Moment) -> Result<Self, Refused> {
        let binary = binary.unwrap_or(&started.binary).to_owned();
        let (channel, theirs) = Channel::pair()?;
        let mut program = Program::new(&binary);
        program.args(&started.arguments).env(HANDOVER, VERSION.to_string());
        // Those are for one process, by its number; it is given its sockets otherwise.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            program.env_remove(variable);
        }
        program.stdin(theirs.into_descriptor()).stderr(Stdio::piped());
        let cannot = |error| Refused::Otherwise(format!("cannot start {}: {error}", binary.display()));
        let mut child = program.spawn().map_err(cannot)?;
        tracing::info!(binary = %binary.display(), pid = child.id(), "the new process is started");
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let stderr = child.stderr.take();
        let mut heir = Heir { child, channel, until, binary, lines: lines.clone() };
        let copy = move || stderr.into_iter().for_each(|stderr| copy(stderr, &lines));
        match std::thread::Builder::new().name("heir".to_owned()).spawn(copy) {
            Ok(_) => Ok(heir),
            Err(error) => {
                let _ = heir.child.kill();
                let _ = heir.child.wait();
                Err(error.into())
            }
        }
    }

    pub(super) fn say(&self, message: &Offered) -> Result<(), Wrong> {
        self.give(message, &[])
    }

    pub(super) fn give(&self, message: &Offered, descriptors: &[BorrowedFd<'_>]) -> Result<(), Wrong> {
        self.channel.within(left(self.until))?;
        match self.channel.send(&encode(message), descriptors) {
            // It may have said why.
            Err(error) if error.kind() != io::ErrorKind::TimedOut => match self.next() {
                Ok(other) => Err(unexpected(other)),
                Err(Wrong::Ended) => Err(error.into()),
                Err(wrong) => Err(wrong),
            },
            other => Ok(other?),
        }
    }

    /// It has everything.
    pub(super) fn is_ready(&self) -> Result<(), Wrong> {
        match self.next()? {
            Answered::Ready { pid } if pid == self.child.id() => Ok(()),
            Answered::Ready { pid } => Err(Wrong::Another(pid)),
            other => Err(unexpected(other)),
        }
    }

    /// It serves.
    pub(super) fn serves(&self) -> Result<Serving, Wrong> {
        match self.next()? {
            Answered::Serving(serving) => Ok(serving),
            other => Err(unexpected(other)),
        }
    }

    /// It is not heard from now on: one that has not said that it serves can do so no more. What it said before.
    pub(super) fn is_cut(&self) -> Result<Serving, Wrong> {
        self.channel.end()?;
        self.serves()
    }

    fn next(&self) -> Result<Answered, Wrong> {
        self.channel.within(left(self.until))?;
        let received = self.channel.receive()?.ok_or(Wrong::Ended)?;
        decode(&received.bytes).map_err(Wrong::Other)
    }

    /// Sees to it that it has ended; how it did.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        let until = clock::now().after(LAST_WORDS);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && !left(until).is_zero() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // An error: it has ended.
        let _ = self.child.kill();
        let status = self.child.wait();
        // What it wrote last may be on its way.
        std::thread::sleep(Duration::from_millis(20));
        status
    }

    /// Why it did not take over, once it has ended so.
    pub(super) fn explain(&self, wrong: Wrong, status: io::Result<ExitStatus>) -> Refused {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
        let said = if said.is_empty() { said } else { format!("; it said:\n  {said}") };
        let who = self.binary.display();
        Refused::Otherwise(match wrong {
            Wrong::Failed { code: 78, why } => return Refused::Configuration(why),
            Wrong::Failed { why, .. } => why,
            Wrong::Ended => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                format!("{who} ended before it took over ({how}){said}")
            }
            Wrong::Late => format!("{who} was not ready in time, and was ended (--timeout){said}"),
            Wrong::Another(pid) => format!(
                "{who} started stickyd as another process, {pid}, and waits for it: a script has to become stickyd \
                 (`exec stickyd \"$@\"` in its last line)"
            ),
            Wrong::Other(why) => format!("{who}: {why}{said}"),
        })
    }
}

fn unexpected(answer: Answered) -> Wrong {
    match answer {
        Answered::Failed { code, why } => Wrong::Failed { code, why },
        other => Wrong::Other(format!("it says {other:?}, which is not expected now")),
    }
}

/// What it writes goes where our own does, until it has that descriptor itself; the last lines are kept.
fn copy(stderr: ChildStderr, lines: &Mutex<VecDeque<String>>) {
    let mut stderr = BufReader::new(stderr);
    while let Some(line) = next_line(&mut stderr) {
        let _ = writeln!(io::stderr(), "{line}");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// A line, or the next part of a long one; `None`: there is no more.
fn next_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    from.by_ref().take(LINE as u64).read_until(b'\n', &mut line).ok().filter(|length| *length > 0)?;
    line.pop_if(|last| *last == b'\n');
    Some(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The regression: a process that wrote without end, and no line, was kept in memory.
    #[test]
    fn lines_are_bounded() {
        let long = "x".repeat(3 * LINE - 1);
        let text = format!("first\n\n{long}\nlast");
        let mut from = text.as_bytes();
        let lengths: Vec<usize> =
            std::iter::from_fn(|| next_line(&mut from)).map(|line| line.len()).collect();
        assert_eq!(lengths, [5, 0, LINE, LINE, LINE - 1, 4]);
    }
}
