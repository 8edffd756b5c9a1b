//! Whose files are: what root makes in somebody else's directory belongs to that one, so that a run by hand leaves nothing that
//! the service cannot read; and what to do where somebody did leave it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use nix::unistd::{Uid, User};

/// Gives `made`, which this process has just made at `path`, to whoever owns the directory, if this is root. Only ever what did
/// not exist: a link that was laid there may lead anywhere.
pub fn follows_its_directory(made: &File, path: &Path) {
    let Some(directory) = path.parent().filter(|_| Uid::effective().is_root()) else { return };
    let given = fs::metadata(directory).and_then(|directory| match directory.uid() {
        0 => Ok(()),
        uid => fchown(made, Some(uid), Some(directory.gid())),
    });
    if let Err(error) = given {
        tracing::warn!(path = %path.display(), %error, "stays root's: a service of another user cannot use it");
    }
}

/// What went wrong at `path`, and what to do where something there is another user's.
pub fn explained(error: &io::Error, path: &Path) -> String {
    let what = format!("{}: {error}", path.display());
    match foreign(path).filter(|_| error.kind() == io::ErrorKind::PermissionDenied) {
        Some((at, owner)) => {
            let own = name(Uid::effective());
            // Never of what is above it: that may be everybody's.
            let mend = match path.parent() {
                _ if Path::new(&at) == path => format!(": `chown {own}: {at}` mends it"),
                Some(parent) if !parent.exists() => {
                    format!(": `install -d -o {own} {}` mends it", parent.display())
                }
                _ => String::new(),
            };
            format!("{what} ({at} belongs to {owner}, this process runs as {own}{mend})")
        }
        None => what,
    }
}

/// The first that is there of `path` and what is above it, if it is another user's; and whose.
fn foreign(path: &Path) -> Option<(String, String)> {
    let mut found = path.ancestors().filter_map(|at| Some((at, fs::symlink_metadata(at).ok()?)));
    let (at, file) = found.next()?;
    let owner = Uid::from_raw(file.uid());
    (owner != Uid::effective()).then(|| (at.display().to_string(), name(owner)))
}

fn name(uid: Uid) -> String {
    let known = User::from_uid(uid).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_is_named_with_what_to_do() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("none/x");
        assert_eq!(explained(&denied, &own), format!("{}: {denied}", own.display()));
        // Whoever runs this is either root or not.
        let (foreign, owner) = if Uid::effective().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(54_321), None).unwrap();
            (own, "54321")
        } else {
            (Path::new("/none/x").to_owned(), "root")
        };
        let text = explained(&denied, &foreign);
        assert!(text.contains(&format!("belongs to {owner}, this process runs as ")), "{text}");
        assert!(text.contains("`install -d -o ") && !text.contains("chown"), "{text}");
        let other = io::Error::from(io::ErrorKind::NotFound);
        assert!(!explained(&other, &foreign).contains("chown"));
    }
}
