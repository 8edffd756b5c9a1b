//! The admin socket: who may connect is who may open it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::Group;

use crate::config::model::{Admin, AdminSocket, GROUP};
use crate::control::start::StartError;
use crate::listener::bind::remove_stale;

/// What it is called in the runtime directory.
const NAME: &str = "admin.sock";

/// A bound one; its file goes when it is dropped.
#[derive(Debug)]
pub(in crate::control) struct Socket {
    pub(super) listener: UnixListener,
    pub(in crate::control) path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if identity(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where it is when the configuration says nothing.
pub(super) fn usual(runtime: &Path) -> PathBuf {
    runtime.join(NAME)
}

/// Binds it; `None`: there is none.
///
/// # Errors
/// When the configuration names one, or a group, that cannot be had.
pub(in crate::control) fn bind(admin: &Admin, runtime: Option<&Path>) -> Result<Option<Socket>, StartError> {
    let (path, required) = match (&admin.socket, runtime) {
        (AdminSocket::Off, _) | (AdminSocket::Auto, None) => return Ok(None),
        (AdminSocket::Path(path), _) => (path.clone(), true),
        (AdminSocket::Auto, Some(runtime)) => (usual(runtime), false),
    };
    let error = match bind_at(&path, admin) {
        Ok(socket) => return Ok(Some(socket)),
        Err(error) => error,
    };
    let who = if error.kind() == io::ErrorKind::AddrInUse { ": another process serves there" } else { "" };
    let why = format!("cannot listen for commands on [admin] socket {}: {error}{who}", path.display());
    match error.kind() {
        // The group that the file names.
        io::ErrorKind::InvalidInput => Err(StartError::Config(why)),
        _ if required => Err(StartError::Unavailable(why)),
        _ => {
            tracing::warn!("{why}; this process takes no commands (name another [admin] socket)");
            Ok(None)
        }
    }
}

/// Under another name first: from the first moment at which it can be found, only those can open it who may.
fn bind_at(path: &Path, admin: &Admin) -> io::Result<Socket> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    remove_stale(path)?;
    let unready = path.with_extension(format!("{}.new", std::process::id()));
    remove_stale(&unready)?;
    let listener = UnixListener::bind(&unready)?;
    let opened = permit(&unready, admin)
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| fs::rename(&unready, path))
        .and_then(|()| identity(path));
    match opened {
        Ok(id) => Ok(Socket { listener, path: path.to_owned(), id }),
        Err(error) => {
            let _ = fs::remove_file(&unready);
            Err(error)
        }
    }
}

fn permit(path: &Path, admin: &Admin) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(admin.mode))?;
    let (name, usual) = (&admin.group, admin.group == GROUP);
    match Group::from_name(name)? {
        // A process that somebody runs by hand may not.
        Some(group) => chown(path, None, Some(group.gid.as_raw()))
            .or_else(|error| if usual { Ok(()) } else { Err(error) }),
        None if usual => Ok(()),
        None => {
            let text =
                format!("there is no group {name}: make it (groupadd --system {name}) or name another one");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
