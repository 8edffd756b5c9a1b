//! Whose files are: what root makes in somebody else's directory belongs to that one, so that a run by hand leaves nothing that
//! the service cannot read; what somebody else has laid there leads root nowhere; and what to do where somebody did leave something.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use nix::unistd::{Uid, User};
use rustix::fs::{Mode, OFlags, open, openat};

/// Makes a file that is not there yet, and opens it as `flags` say; root gives it to whoever owns the directory.
///
/// # Errors
/// The file system's; `AlreadyExists`, also where a link leads to nothing.
pub fn make(path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    let (directory, name) = Directory::of(path)?;
    directory.make(name, flags, mode, path)
}

/// The same, or opens the one that is there. That may be a link, or what is no file, unless the directory is another user's; then root
/// opens a file that has this name alone, and nothing else.
///
/// # Errors
/// The file system's, and what is there instead of a file.
pub fn open_or_make(path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    let (directory, name) = Directory::of(path)?;
    match directory.make(name, flags, mode, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => directory.open(name, flags, mode),
        made => made,
    }
}

/// What a file of at most `largest` bytes holds. Anything but a file is refused: it might say nothing, or never end.
///
/// # Errors
/// The file system's; `FileTooLarge`.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let file = File::from(open(path, OFlags::RDONLY | UNBLOCKED, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Nobody is waited for at the other end of a pipe, and no terminal becomes ours.
const UNBLOCKED: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Where a file is or is to be, held open: whoever owns it may put another one in its place.
struct Directory {
    itself: OwnedFd,
    uid: u32,
    gid: u32,
}

impl Directory {
    /// That of `path`, and the last part of `path`.
    fn of(path: &Path) -> io::Result<(Self, &OsStr)> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let itself = open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let found = rustix::fs::fstat(&itself)?;
        Ok((Directory { itself, uid: found.st_uid, gid: found.st_gid }, name))
    }

    /// This is root, and here somebody else lays what he likes.
    fn is_foreign(&self) -> bool {
        Uid::effective().is_root() && self.uid != 0
    }

    fn make(&self, name: &OsStr, flags: OFlags, mode: u32, path: &Path) -> io::Result<File> {
        let flags = flags | UNBLOCKED | OFlags::CREATE | OFlags::EXCL;
        let made = File::from(openat(&self.itself, name, flags, Mode::from_raw_mode(mode))?);
        if self.is_foreign()
            && let Err(error) = fchown(&made, Some(self.uid), Some(self.gid))
        {
            tracing::warn!(path = %path.display(), %error, "stays root's: a service of another user cannot use it");
        }
        Ok(made)
    }

    fn open(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | UNBLOCKED;
        if !self.is_foreign() {
            // Made too, where a link leads to what is not there yet.
            let flags = if flags.contains(OFlags::NOFOLLOW) { flags } else { flags | OFlags::CREATE };
            return Ok(openat(&self.itself, name, flags, Mode::from_raw_mode(mode))?.into());
        }
        let opened = openat(&self.itself, name, flags | OFlags::NOFOLLOW, Mode::empty());
        let file = opened.map(File::from).map_err(|error| match error {
            rustix::io::Errno::LOOP => laid("a link"),
            // A pipe that nobody reads, or a socket.
            rustix::io::Errno::NXIO => laid("no file"),
            error => error.into(),
        })?;
        match file.metadata()? {
            found if !found.is_file() => Err(laid("no file")),
            // As that one may be anybody's.
            found if found.nlink() > 1 => Err(laid("a file that has another name too")),
            _ => Ok(file),
        }
    }
}

fn laid(what: &str) -> io::Error {
    io::Error::other(format!("there is {what}, in a directory of another user: root does not open that"))
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

    /// The regression: whatever the service's user laid in its own directory root opened, and wrote to.
    #[test]
    fn root_is_led_nowhere() {
        use std::os::unix::fs::{chown, symlink};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("precious"), "mine").unwrap();
        symlink(at("precious"), at("link")).unwrap();
        symlink(at("none"), at("dangling")).unwrap();
        fs::hard_link(at("precious"), at("second")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let open = |name: &str| open_or_make(&at(name), OFlags::WRONLY | OFlags::APPEND, 0o640);
        // Here its own links lead where it wants, and nobody is waited for.
        assert!(open("link").is_ok() && open("second").is_ok() && open("dangling").is_ok());
        assert!(open("pipe").is_err() && at("none").exists());
        if !Uid::effective().is_root() {
            return;
        }
        chown(directory.path(), Some(54_321), Some(54_321)).unwrap();
        for (name, what) in
            [("link", "a link"), ("dangling", "a link"), ("second", "another name"), ("pipe", "no file")]
        {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
        for name in ["new", "new"] {
            assert_eq!(open(name).unwrap().metadata().unwrap().uid(), 54_321);
        }
        assert!(make(&at("dangling"), OFlags::WRONLY, 0o600).is_err());
    }

    /// The regression: a pipe in the place of a small file was waited for, and a device was read for ever.
    #[test]
    fn only_files_are_read_and_not_too_much_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"four");
        assert_eq!(read(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(read(Path::new("/dev/zero"), 4).unwrap_err().to_string().contains("no regular file"));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(read(&pipe, 4).is_err());
    }

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
