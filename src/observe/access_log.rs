//! The access log: a line for each HTTP exchange, two for a tunnel. Nothing here reads a clock or knows what a line
//! means.
//!
//! ```text
//! worker: Entry -> format (mask, escape, time) -> queue (its own buffer, bounded) -> writer's thread -> file
//! ```
//!
//! A worker never waits for a disk. What does not fit or cannot be written is dropped and counted; a full disk or a
//! removed directory is logged once and never fatal.

mod entry;
mod escape;
mod format;
mod mask;
mod queue;
pub(in crate::observe) mod time;
mod writer;

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use entry::{Entry, Event};

use self::queue::Queue;
use self::writer::Target;
use crate::config::model::{AccessFormat, AccessTarget};

/// How long [`AccessLog::close`] waits for a disk that takes nothing: less than any shutdown has.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Name of the file in the directory that the service manager names.
const FILE_NAME: &str = "access.log";

/// Where access lines go. One for all workers.
#[derive(Debug)]
pub struct AccessLog(Option<On>);

#[derive(Debug)]
struct On {
    queue: Arc<Queue>,
    format: AccessFormat,
    writer: Mutex<Option<Writer>>,
}

/// The writer's thread, and a channel that ends when it does.
#[derive(Debug)]
struct Writer {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// Opens the target and starts the writer. `logs_directory` is the one that the service manager names, for
    /// [`AccessTarget::Auto`].
    ///
    /// # Errors
    /// When the file cannot be opened (the error names it) or the thread not started.
    pub fn open(
        target: &AccessTarget,
        format: AccessFormat,
        logs_directory: Option<&Path>,
    ) -> io::Result<Self> {
        let target = match (target, logs_directory) {
            (AccessTarget::Off, _) | (AccessTarget::Auto, None) => return Ok(Self::off()),
            (AccessTarget::Stdout, _) => Target::stdout()?,
            (AccessTarget::File(path), _) => Target::file(path)?,
            (AccessTarget::Auto, Some(directory)) => Target::file(&directory.join(FILE_NAME))?,
        };
        let queue = Arc::new(Queue::new());
        let (end, ended) = sync_channel(1);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || {
                writer::run(&queue, target);
                drop(end);
            }
        })?;
        queue.attend(thread.thread().clone());
        let writer = Mutex::new(Some(Writer { thread, ended }));
        Ok(Self(Some(On { queue, format, writer })))
    }

    /// One that writes nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether lines go anywhere: ask before you fill an [`Entry`].
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a line, or drops and counts it when the queue is full. Never waits.
    pub fn line(&self, entry: &Entry<'_>) {
        if let Some(on) = &self.0 {
            on.queue.line(|out, stamp| format::line(out, on.format, stamp, entry));
        }
    }

    /// Lines lost so far: queue full, or not written.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |on| on.queue.dropped())
    }

    /// Opens the file anew, soon and on the writer's thread (USR1, after the file was renamed). What was queued before
    /// goes to the old one.
    pub fn reopen(&self) {
        if let Some(on) = &self.0 {
            on.queue.reopen();
        }
    }

    /// Writes what is queued and ends the writer; lines after it are dropped and counted. Waits 2 s at most, then
    /// leaves the writer to its disk. `Drop` does this too.
    pub fn close(&self) {
        let Some(on) = &self.0 else { return };
        let Some(writer) = on.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        on.queue.close();
        // Nothing is ever sent: the wait ends with the thread or with the time.
        if writer.ended.recv_timeout(CLOSE_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("access log: the last lines cannot be written, they are lost");
        } else if writer.thread.join().is_err() {
            tracing::error!("access log: the writer panicked");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
