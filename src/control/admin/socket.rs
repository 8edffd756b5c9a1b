//! The admin socket: who may connect is who may open it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
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
    let group = group(&admin.group).map_err(|why| {
        StartError::Config(format!("[admin] group of the socket {}: {why}", path.display()))
    })?;
    let error = match bind_at(&path, admin, group.as_ref()) {
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
fn bind_at(path: &Path, admin: &Admin, group: Option<&Group>) -> io::Result<Socket> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    remove_stale(path)?;
    let unready = path.with_extension(format!("{}.new", std::process::id()));
    remove_stale(&unready)?;
    let listener = UnixListener::bind(&unready)?;
    let opened = permit(&unready, admin, group)
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

/// Nobody else can have replaced it: whoever may write in its directory could have bound there as well. No link is followed.
fn permit(path: &Path, admin: &Admin, group: Option<&Group>) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(admin.mode))?;
    let Some(group) = group else { return Ok(()) };
    match lchown(path, None, Some(group.gid.as_raw())) {
        // A process that somebody runs by hand may not.
        Err(error) if admin.group != GROUP => Err(error),
        _ => Ok(()),
    }
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

    #[test]
    fn a_path_that_is_too_long_is_fatal_where_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(120));
        let loaded =
            crate::config::parse("listen = \":80\"\n[upstream.a]\ninstances = [\"a:1\"]\n", "x.toml");
        let mut admin = loaded.unwrap_or_else(|report| panic!("{report}")).config.admin;
        assert!(matches!(bind(&admin, Some(&long)), Ok(None)));
        admin.socket = AdminSocket::Path(usual(&long));
        assert!(matches!(bind(&admin, None), Err(StartError::Config(why)) if !why.contains("group")));
        admin.group = "no-such-group".to_owned();
        admin.socket = AdminSocket::Auto;
        let refused = bind(&admin, Some(directory.path()));
        assert!(matches!(refused, Err(StartError::Config(why)) if why.contains("groupadd")));
    }
}
