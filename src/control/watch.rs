//! Watches the configuration's file by looking at it, and hands on what it holds once that is new and still.
//!
//! A look each quarter of a second, and no inotify: that watches an inode or a folder, and here the path is what counts. A
//! rename over it, a symlink swapped somewhere along it (Kubernetes swaps `..data`, not the file), a write in place and
//! a file system that tells nobody (NFS, a bind mount) are all the same to a look, and one costs an open and an fstat.
//!
//! Must not: know what is in the file, or what is done about it.

mod still;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config;
use crate::local::clock;
use crate::observe::events;

pub use still::Digest;
use still::{Event, Stamp, Watch};

/// From one look to the next.
const EACH: Duration = Duration::from_millis(250);

/// The thread that looks.
#[derive(Debug)]
pub struct Watcher {
    /// Closed: the thread ends.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// Starts to watch `path`, which held `known` when it was loaded. `changed` is called on the watcher's own thread, with the
/// whole content (cut off after [`config::LARGEST`] bytes and one), once for each that differs from the one before.
///
/// # Errors
/// When there can be no thread.
pub fn watch(
    path: PathBuf,
    known: Digest,
    mut changed: impl FnMut(Vec<u8>) + Send + 'static,
) -> io::Result<Watcher> {
    let (stop, stopped) = sync_channel(0);
    let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
        let mut watch = Watch::new(known);
        while stopped.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
            let file = path.display();
            match look(&path, &mut watch, clock::now().since_boot()) {
                Some(Event::Changed(content)) => changed(content),
                Some(Event::Lost(error)) => {
                    tracing::warn!(target: events::REFUSAL, %file, error, "the configuration cannot be read: what runs stays");
                }
                Some(Event::Back) => tracing::info!(target: events::RELOAD, %file, "the configuration can be read again"),
                None => {}
            }
        }
    })?;
    Ok(Watcher { stop, thread })
}

impl Watcher {
    /// Ends it, after a call of `changed` that runs. Not to be called from there.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that watches the configuration panicked");
        }
    }
}

/// One look at what `path` leads to now.
fn look(path: &Path, watch: &mut Watch, now: Duration) -> Option<Event> {
    let seen = open(path).and_then(|(file, stamp)| {
        if !watch.must_read(stamp, now) {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(config::LARGEST + 1).read_to_end(&mut content)?;
        // The stamp is older than the content: if somebody writes in between, the next look reads again.
        Ok(Some((stamp, content)))
    });
    match seen {
        Ok(None) => None,
        Ok(Some((stamp, content))) => watch.read(stamp, content, now),
        Err(error) => watch.could_not_read(&error.to_string(), now),
    }
}

fn open(path: &Path) -> io::Result<(File, Stamp)> {
    // Whoever opens a pipe waits for its other end: not here.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let stamp = Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    };
    Ok((file, stamp))
}

#[cfg(test)]
mod tests;
