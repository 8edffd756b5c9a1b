//! What is around this process: where it may keep what (the directories that the service manager names, or those of a run by
//! hand), and who knows the addresses of names.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fmt, io};

/// What is around this process. A directory that is `None` is not there: nothing is kept or written then.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Kept over restarts: secrets that were made.
    pub state: Option<PathBuf>,
    /// Gone with the machine: locks.
    pub runtime: Option<PathBuf>,
    /// Access log.
    pub logs: Option<PathBuf>,
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
            resolver: Resolver::default(),
        }
    }
}
