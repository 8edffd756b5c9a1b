//! One process per configuration: a second one would bind silently, because listeners share their ports.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use xxhash_rust::xxh3::xxh3_64;

use crate::observe::owner;

use super::surroundings::{make_runtime, trust_runtime};

/// Held for as long as the process serves.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// That of a process from which this one takes over: it belongs to whoever has the file open.
    pub(super) fn taken_over(file: OwnedFd) -> Self {
        let mut file = File::from(file);
        if let Err(error) = note(&mut file) {
            tracing::warn!(%error, "cannot note who holds the lock");
        }
        Lock { file }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Writes down who holds it.
fn note(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid {}", std::process::id())
}

/// Takes the lock of what is called `identity` (the configuration's path, or the addresses of a run without a file).
/// `None`: locks cannot be kept here, which is logged and not fatal.
///
/// # Errors
/// Who holds it.
pub(super) fn take(runtime: &Path, identity: &str) -> Result<Option<Lock>, String> {
    let path = runtime.join(format!("{:016x}.lock", xxh3_64(identity.as_bytes())));
    trust_runtime(runtime).map_err(|error| error.to_string())?;
    let opened = make_runtime(runtime)
        .and_then(|()| owner::open_or_make(&path, OFlags::RDWR | OFlags::NOFOLLOW, 0o644));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => {
            let error = owner::explained(&error, &path);
            tracing::warn!(error, "cannot make the lock against a second start");
            return Ok(None);
        }
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        // An unreadable holder is still a holder.
        let _ = file.read_to_string(&mut holder);
        let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
        return Err(format!("stickyd already runs with {identity} ({holder})"));
    }
    if let Err(error) = note(&mut file) {
        tracing::warn!(path = %path.display(), %error, "cannot note who holds the lock");
    }
    Ok(Some(Lock { file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_is_refused_and_told_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path(), "/etc/stickyd/config.toml").unwrap();
        assert!(first.is_some());
        let refused = take(directory.path(), "/etc/stickyd/config.toml").unwrap_err();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert!(take(directory.path(), "/etc/stickyd/other.toml").unwrap().is_some());
        drop(first);
        assert!(take(directory.path(), "/etc/stickyd/config.toml").unwrap().is_some());
    }
}
