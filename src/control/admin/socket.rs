//! The admin socket: who may connect is who may open it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::unistd::Group;
use rustix::fs::{AtFlags, Mode, OFlags, chownat, open};

use crate::config::model::{Admin, AdminSocket, GROUP};
use crate::control::start::StartError;
use crate::listener::bind::remove_stale;

/// What it is called in the runtime directory.
const NAME: &str = "admin.sock";

/// A bound one.
#[derive(Debug)]
pub(in crate::control) struct Socket {
    pub(super) listener: UnixListener,
    pub(in crate::control) place: Arc<Place>,
}

/// Where a socket can be found. That moves when another process takes its path; its file goes when it is dropped.
#[derive(Debug)]
pub(in crate::control) struct Place {
    path: Mutex<PathBuf>,
    /// Where it belongs.
    final_path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Place {
    /// Where it is.
    pub(in crate::control) fn path(&self) -> PathBuf {
        self.lock().clone()
    }

    /// Puts it where it belongs, in the place of another process's if there is one.
    ///
    /// # Errors
    /// The file system's.
    pub(in crate::control) fn put(&self) -> io::Result<()> {
        let mut path = self.lock();
        if *path != self.final_path {
            if identity(&self.final_path).is_ok_and(|id| id == self.id) {
                // It has stepped aside, and nobody has come: a rename of the one name of a file to the other does nothing.
                fs::remove_file(&*path)?;
            } else {
                fs::rename(&*path, &self.final_path)?;
            }
            path.clone_from(&self.final_path);
        }
        Ok(())
    }

    /// Where the one is that serves.
    pub(in crate::control) fn serves_now(&self) -> PathBuf {
        self.final_path.clone()
    }

    /// Where it is once it has stepped aside.
    pub(in crate::control) fn aside(&self) -> PathBuf {
        let extension = self.final_path.extension().unwrap_or(OsStr::new("sock"));
        let own = Path::new(&std::process::id().to_string()).with_extension(extension);
        self.final_path.with_extension(own)
    }

    /// It can be found at a path of its own too, `admin.PID.sock`, so that another one can take this one; which.
    ///
    /// # Errors
    /// The file system's.
    pub(in crate::control) fn step_aside(&self) -> io::Result<PathBuf> {
        let mut path = self.lock();
        let aside = self.aside();
        if *path == aside {
            return Ok(aside);
        }
        // What another process of this number has left.
        remove_stale(&aside)?;
        fs::hard_link(&*path, &aside)?;
        path.clone_from(&aside);
        Ok(aside)
    }

    fn lock(&self) -> MutexGuard<'_, PathBuf> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let path = self.path();
        for path in [&path, &self.final_path] {
            // Another process may have put its own there.
            if identity(path).is_ok_and(|id| id == self.id) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Where it is when the configuration says nothing.
pub(super) fn usual(runtime: &Path) -> PathBuf {
    runtime.join(NAME)
}

/// Binds it; `None`: there is none. `beside`: another process serves at its path, until this one is [put](Place::put) there.
///
/// # Errors
/// When the configuration names one, or a group, that cannot be had.
pub(in crate::control) fn bind(
    admin: &Admin,
    runtime: Option<&Path>,
    beside: bool,
) -> Result<Option<Socket>, StartError> {
    let (path, required) = match (&admin.socket, runtime) {
        (AdminSocket::Off, _) | (AdminSocket::Auto, None) => return Ok(None),
        (AdminSocket::Path(path), _) => (path.clone(), true),
        (AdminSocket::Auto, Some(runtime)) => (usual(runtime), false),
    };
    let group = group(&admin.group).map_err(|why| {
        StartError::Config(format!("[admin] group of the socket {}: {why}", path.display()))
    })?;
    let error = match bind_at(&path, admin, group.as_ref(), beside) {
        Ok(socket) => return Ok(Some(socket)),
        Err(error) => error,
    };
    let who = if error.kind() == io::ErrorKind::AddrInUse { ": another process serves there" } else { "" };
    let why = format!("cannot listen for commands on [admin] socket {}: {error}{who}", path.display());
    match error.kind() {
        // A path that is too long for a socket.
        io::ErrorKind::InvalidInput if required => Err(StartError::Config(why)),
        _ if required => Err(StartError::Unavailable(why)),
        _ => {
            tracing::warn!("{why}; this process takes no commands (name another [admin] socket)");
            Ok(None)
        }
    }
}

/// Under another name first: from the first moment at which it can be found, only those can open it who may.
fn bind_at(path: &Path, admin: &Admin, group: Option<&Group>, beside: bool) -> io::Result<Socket> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if !beside {
        remove_stale(path)?;
    }
    let unready = path.with_extension(format!("{}.new", std::process::id()));
    remove_stale(&unready)?;
    let listener = UnixListener::bind(&unready)?;
    let opened = listener.set_nonblocking(true).and_then(|()| permit(&unready, admin, group));
    let place = |id| Place { path: Mutex::new(unready.clone()), final_path: path.to_owned(), id };
    match opened.map(place).and_then(|place| if beside { Ok(place) } else { place.put().map(|()| place) }) {
        Ok(place) => Ok(Socket { listener, place: Arc::new(place) }),
        Err(error) => {
            let _ = fs::remove_file(&unready);
            Err(error)
        }
    }
}

/// Opens it to those who may, and says which file it is. Whoever may write in its directory could have bound there as well, or have laid
/// something in its place: what is there is changed only if it is a socket, and no link is followed.
fn permit(path: &Path, admin: &Admin, group: Option<&Group>) -> io::Result<(u64, u64)> {
    let file = File::from(open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    let found = file.metadata()?;
    if !found.file_type().is_socket() {
        return Err(io::Error::other("another process has laid something in its place"));
    }
    // By its descriptor, the only way that every kernel has.
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(admin.mode))?;
    if let Some(group) = group {
        let gid = Some(rustix::fs::Gid::from_raw(group.gid.as_raw()));
        match chownat(&file, "", None, gid, AtFlags::EMPTY_PATH) {
            // A process that somebody runs by hand may not.
            Err(error) if admin.group != GROUP => return Err(error.into()),
            _ => {}
        }
    }
    Ok((found.dev(), found.ino()))
}

/// The group whose members may command; `None`: the usual one, which is not there.
///
/// # Errors
/// What to do.
fn group(name: &str) -> Result<Option<Group>, String> {
    match Group::from_name(name) {
        Ok(None) if name != GROUP => {
            Err(format!("there is no group {name}: make it (groupadd --system {name}) or name another one"))
        }
        Err(error) if name != GROUP => Err(format!("group {name} cannot be looked up: {error}")),
        found => Ok(found.ok().flatten()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The regression: a link that was laid in its place had the file behind it opened to others.
    #[test]
    fn only_a_socket_is_opened_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let (precious, at) = (directory.path().join("precious"), directory.path().join("admin.new"));
        fs::write(&precious, "mine").unwrap();
        fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&precious, &at).unwrap();
        let loaded =
            crate::config::parse("listen = \":80\"\n[upstream.a]\ninstances = [\"a:1\"]\n", "x.toml");
        let admin = loaded.unwrap_or_else(|report| panic!("{report}")).config.admin;
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert!(permit(&at, &admin, None).is_err() && mode(&precious) == 0o600);
        fs::remove_file(&at).unwrap();
        let _socket = UnixListener::bind(&at).unwrap();
        assert_eq!(permit(&at, &admin, None).unwrap(), identity(&at).unwrap());
        assert_eq!(mode(&at), admin.mode);
    }

    #[test]
    fn a_path_that_is_too_long_is_fatal_where_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(120));
        let loaded =
            crate::config::parse("listen = \":80\"\n[upstream.a]\ninstances = [\"a:1\"]\n", "x.toml");
        let mut admin = loaded.unwrap_or_else(|report| panic!("{report}")).config.admin;
        assert!(matches!(bind(&admin, Some(&long), false), Ok(None)));
        admin.socket = AdminSocket::Path(usual(&long));
        assert!(matches!(bind(&admin, None, false), Err(StartError::Config(why)) if !why.contains("group")));
        admin.group = "no-such-group".to_owned();
        admin.socket = AdminSocket::Auto;
        let refused = bind(&admin, Some(directory.path()), false);
        assert!(matches!(refused, Err(StartError::Config(why)) if why.contains("groupadd")));
    }
}
