//! The access log: one line for an HTTP exchange, two for a tunnel.
//!
//! Workers format; a thread of its own writes. A worker never waits for a disk.

mod entry;

pub use entry::{Entry, Event};

use std::io;
use std::path::Path;

use crate::config::model::{AccessFormat, AccessTarget};

/// Where access lines go. Shared by all workers.
#[derive(Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// Opens the target and starts the writer. `logs_directory` is the one that the service manager names, for
    /// [`AccessTarget::Auto`].
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(
        _target: &AccessTarget,
        _format: AccessFormat,
        _logs_directory: Option<&Path>,
    ) -> io::Result<Self> {
        todo!()
    }

    /// One that writes nothing.
    pub fn off() -> Self {
        todo!()
    }

    /// Whether lines go anywhere: ask before you fill an [`Entry`].
    #[inline]
    pub fn is_on(&self) -> bool {
        todo!()
    }

    /// Queues a line, or drops and counts it when the queue is full.
    pub fn line(&self, _entry: &Entry<'_>) {
        todo!()
    }

    /// Lines lost so far: queue full, or not written.
    pub fn dropped(&self) -> u64 {
        todo!()
    }

    /// Opens the file anew, soon and on the writer's thread (USR1, after the file was renamed).
    pub fn reopen(&self) {
        todo!()
    }

    /// Writes what is queued and ends the writer; lines after it are dropped and counted. Waits 2 s at most. Also done
    /// by `Drop`.
    pub fn close(&self) {
        todo!()
    }
}
