//! The secrets that seal cookies: read, or made once and kept.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::OFlags;

use crate::affinity::cookie::Keys;
use crate::config::model::SecretSource;
use crate::observe::owner;

/// Name of the file in the state directory.
const FILE: &str = "cookie.secret";

/// Bytes of such a file: a thousand secrets.
const LARGEST: u64 = 64 << 10;

/// The keys of `source`.
///
/// # Errors
/// What is wrong with the file, never what is in it.
pub(super) fn load(source: &SecretSource, state: Option<&Path>) -> Result<Keys, String> {
    match source {
        SecretSource::File(path) => read(path),
        SecretSource::Auto => match state {
            Some(state) => made_once(&state.join(FILE)).or_else(|error| {
                tracing::warn!(
                    error,
                    "the cookie's secret cannot be kept: after a restart clients are bound anew"
                );
                Ok(fresh())
            }),
            None => Ok(fresh()),
        },
    }
}

/// The keys of `source` as they are now; `None`: none were made yet. Makes nothing.
///
/// # Errors
/// What is wrong with the file, never what is in it.
pub(super) fn existing(source: &SecretSource, state: Option<&Path>) -> Result<Option<Keys>, String> {
    match (source, state) {
        (SecretSource::File(path), _) => read(path).map(Some),
        (SecretSource::Auto, Some(state)) if state.join(FILE).exists() => read(&state.join(FILE)).map(Some),
        (SecretSource::Auto, _) => Ok(None),
    }
}

/// The keys in the file at `path`.
///
/// # Errors
/// What is wrong with the file, never what is in it.
pub(crate) fn read(path: &Path) -> Result<Keys, String> {
    let content = owner::read(path, LARGEST)
        .map_err(|error| format!("secret_file {}", owner::explained(&error, path)))?;
    let content = str::from_utf8(&content).map_err(|_| format!("secret_file {}: no text", path.display()))?;
    Keys::parse(content).map_err(|error| format!("secret_file {}: {error}", path.display()))
}

/// The kept secret; made now if there is none.
fn made_once(path: &Path) -> Result<Keys, String> {
    if path.exists() {
        return read(path);
    }
    match write_new(path, &Keys::generate()) {
        // Another process was quicker: its secret is as good.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(owner::explained(&error, path)),
        _ => read(path),
    }
}

/// Written under another name first, so that nobody ever reads half a secret.
fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    // What a crash left there.
    let _ = fs::remove_file(&temporary);
    let mut file = owner::make(&temporary, OFlags::WRONLY, 0o600)?;
    let written = file.write_all(content.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary)?;
    linked
}

fn fresh() -> Keys {
    Keys::parse(&Keys::generate()).expect("what was generated is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_readable_to_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let first = load(&SecretSource::Auto, Some(&state)).unwrap();
        let again = load(&SecretSource::Auto, Some(&state)).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let mode = fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert!(existing(&SecretSource::Auto, Some(&state)).unwrap().is_none());
        assert!(existing(&SecretSource::Auto, None).unwrap().is_none());
        assert!(!state.exists());
        let made = load(&SecretSource::Auto, Some(&state)).unwrap();
        let found = existing(&SecretSource::Auto, Some(&state)).unwrap().unwrap();
        assert_eq!(found.fingerprint(), made.fingerprint());
    }

    #[test]
    fn a_bad_file_is_named_and_its_content_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "hunter2\n").unwrap();
        let error = load(&SecretSource::File(path.clone()), None).unwrap_err();
        assert!(error.contains(path.to_str().unwrap()) && !error.contains("hunter2"), "{error}");
        assert!(load(&SecretSource::File(directory.path().join("none")), None).is_err());
    }
}
