//! What is around this process: where it may keep what (the directories that the service manager names, or those of a run by
//! hand), and who knows the addresses of names.

use std::fs::{self, DirBuilder};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fmt, io};

use super::notify::Manager;

/// What is around this process. A directory that is `None` is not there: nothing is kept or written then.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Kept over restarts: secrets that were made.
    pub state: Option<PathBuf>,
    /// Gone with the machine: locks.
    pub runtime: Option<PathBuf>,
    /// Access log.
    pub logs: Option<PathBuf>,
    /// The service manager.
    pub manager: Manager,
    /// For the names that an upstream expands (`expand = true`). All others are looked up by whoever connects.
    pub resolver: Resolver,
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Who knows the addresses of names: the system's resolver, unless somebody else is to be asked.
#[derive(Clone)]
pub struct Resolver(Arc<LookUp>);

impl Resolver {
    /// Asks `look_up`, on threads on which it may take its time. An error, or no address: the name cannot be looked up.
    pub fn new(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Resolver(Arc::new(look_up))
    }

    /// All addresses of a name.
    ///
    /// # Errors
    /// The resolver's own.
    pub fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        (self.0)(name)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Makes the runtime directory, if it is not there. In a folder that all share anybody may have made it before, or may have put
/// a link there: it has to be of this user, and nobody else may write in it.
///
/// # Errors
/// When it cannot be made, or is not to be trusted; that is `PermissionDenied`.
pub(super) fn make_runtime(runtime: &Path) -> io::Result<()> {
    if is_shared(runtime) {
        DirBuilder::new().recursive(true).mode(0o700).create(runtime)?;
        trust_runtime(runtime)
    } else {
        fs::create_dir_all(runtime)
    }
}

/// The other half: what somebody else may have made is not used. One that is not there is trusted.
///
/// # Errors
/// `PermissionDenied`, and what is wrong with it.
pub(super) fn trust_runtime(runtime: &Path) -> io::Result<()> {
    if !is_shared(runtime) {
        return Ok(());
    }
    let found = match fs::symlink_metadata(runtime) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let own = found.uid() == rustix::process::geteuid().as_raw();
    let why = match (found.is_dir(), own, found.mode() & 0o022) {
        (false, ..) => "it is no directory",
        (true, false, _) => "it belongs to another user",
        (true, true, 0) => return Ok(()),
        _ => "others may write in it",
    };
    let why = format!("the runtime directory {} is not to be trusted: {why}; remove it", runtime.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn is_shared(runtime: &Path) -> bool {
    runtime.parent() == Some(&env::temp_dir())
}

impl Surroundings {
    /// From the environment: `STATE_DIRECTORY`, `RUNTIME_DIRECTORY`, `LOGS_DIRECTORY` (systemd.exec(5)), else what
    /// is usual for the user who runs it.
    pub fn from_environment() -> Self {
        let named = |variable: &str| {
            let value = env::var_os(variable)?;
            // systemd may name several, separated by colons; the first is ours.
            let first = value.to_str()?.split(':').next()?.to_owned();
            Some(PathBuf::from(first)).filter(|path| path.is_absolute())
        };
        let root = rustix::process::geteuid().is_root();
        let home = |below: &str| env::var_os("HOME").map(|home| PathBuf::from(home).join(below));
        let usual_state = || {
            if root {
                return Some(PathBuf::from("/var/lib/stickyd"));
            }
            named("XDG_STATE_HOME").or_else(|| home(".local/state")).map(|path| path.join("stickyd"))
        };
        let usual_runtime = || {
            if root {
                return Some(PathBuf::from("/run/stickyd"));
            }
            // In a folder that all share the name says whose it is.
            let shared = || env::temp_dir().join(format!("stickyd-{}", rustix::process::geteuid().as_raw()));
            Some(named("XDG_RUNTIME_DIR").map_or_else(shared, |path| path.join("stickyd")))
        };
        Surroundings {
            state: named("STATE_DIRECTORY").or_else(usual_state),
            runtime: named("RUNTIME_DIRECTORY").or_else(usual_runtime),
            logs: named("LOGS_DIRECTORY"),
            manager: Manager::from_environment(),
            resolver: Resolver::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_shared_folder_is_not_trusted() {
        // Directly in the folder that all share.
        let own = tempfile::Builder::new().prefix("stickyd-test-").tempdir().unwrap();
        assert!(is_shared(own.path()));
        let check = |mode, trusted: bool| {
            fs::set_permissions(own.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(make_runtime(own.path()).is_ok(), trusted, "{mode:o}");
            assert_eq!(trust_runtime(own.path()).is_ok(), trusted, "{mode:o}");
        };
        check(0o700, true);
        check(0o755, true);
        check(0o775, false);
        check(0o777, false);
        check(0o1777, false);
        check(0o700, true);
        let path = own.path().to_owned();
        fs::remove_dir(&path).unwrap();
        trust_runtime(&path).unwrap();
        make_runtime(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        // Elsewhere the folder above says who may.
        make_runtime(&path.join("a/b")).unwrap();
        fs::remove_dir_all(&path).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), &path).unwrap();
        assert!(make_runtime(&path).unwrap_err().to_string().contains("no directory"));
        fs::remove_file(&path).unwrap();
    }
}
