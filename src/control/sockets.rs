//! The sockets of a process that starts: bound, or taken over from another process; and which worker has which.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::handover::{Adoption, Listens};
use super::pages::Page;
use super::start::{StartError, unavailable};
use crate::config::{Config, model};
use crate::http::Door;
use crate::listener::bind::{self, Bound, Listening};
use crate::listener::inherited::{self, Inherited};
use crate::observe::metrics::ListenerCounters;

/// Listeners as people write them, with their address where there is one.
pub(super) type Named = Vec<(String, Option<SocketAddr>)>;

/// All listeners.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) names: Named,
    pub(super) doors: Vec<Arc<Door>>,
    /// Each worker's sockets.
    pub(super) of_workers: Vec<Vec<(Arc<Listening>, Arc<Door>)>>,
    /// For whoever takes over from this process.
    pub(super) all: Vec<Listens>,
    /// Files of unix sockets.
    pub(super) leaves: Vec<PathBuf>,
}

/// Listens as `config` says. Sockets that others have opened, or that are taken over, are used as they are; none is closed that the
/// file still has, for connections may wait in it.
///
/// # Errors
/// When an address cannot be had.
pub(super) fn listen(
    config: &Config,
    mut inherited: Vec<Inherited>,
    adoption: Option<&mut Adoption>,
) -> Result<Listeners, StartError> {
    let workers = config.workers.get();
    let mut adoption = adoption;
    inherited.extend(adoption.as_deref_mut().map(Adoption::listeners).unwrap_or_default());
    let mut listeners = Listeners {
        names: Vec::new(),
        doors: Vec::new(),
        of_workers: (0..workers).map(|_| Vec::new()).collect(),
        all: Vec::new(),
        leaves: Vec::new(),
    };
    for listener in &config.listeners {
        let bound = bind::bind(listener, workers, config.timeouts.unacked, &mut inherited);
        let Bound { name, address, sockets, leaves } = bound.map_err(|error| {
            // To start again would find the same socket unit.
            if error.is_of_the_socket_unit() {
                StartError::Config(error.to_string())
            } else {
                unavailable(error)
            }
        })?;
        let counters = (0..workers).map(|_| ListenerCounters::default()).collect();
        let (proxy_protocol, ways) = (listener.proxy_protocol, ArcSwap::default());
        let door = Arc::new(Door { name: name.clone(), counters, proxy_protocol, ways });
        let sockets: Vec<Arc<Listening>> = sockets.into_iter().map(Arc::new).collect();
        for (number, socket) in sockets.iter().enumerate() {
            listeners.of_workers[number % workers].push((socket.clone(), door.clone()));
        }
        listeners.names.push((name.clone(), address));
        listeners.doors.push(door);
        listeners.leaves.extend(leaves.clone());
        listeners.all.push(Listens { called: listener.address.to_string(), door: name, leaves, sockets });
    }
    if let Some(adoption) = adoption {
        for one in &inherited {
            tracing::info!(socket = %one, "the configuration no longer has this listener");
        }
        adoption.is_without(&inherited);
    } else {
        inherited::warn_of(&inherited);
    }
    Ok(listeners)
}

/// Sockets that listened before are as the file has them from now on. What cannot be set stays as it was.
pub(super) fn configure(config: &Config, all: &[Listens]) {
    for (listener, listens) in config.listeners.iter().zip(all) {
        for socket in &listens.sockets {
            if let Err(error) = socket.configure(listener, config.timeouts.unacked) {
                tracing::warn!(listener = listens.door, %error, "it listens, but not quite as the configuration says");
            }
        }
    }
}

/// A socket at which something is shown, and what another process is told of it.
pub(super) type ForPage = (String, TcpListener);

/// Listens at the `address` of `[metrics]`, or of `[admin]`; `None`: there is none, or something else listens where it usually is.
/// `adoption`: of the process before, if it had the same.
///
/// # Errors
/// When an address that the file names cannot be had.
pub(super) fn page(
    page: Page,
    config: &Config,
    adoption: Option<&mut Adoption>,
) -> Result<Option<ForPage>, StartError> {
    let (wanted, section, of, what) = match page {
        Page::Metrics => (config.metrics, "metrics", "metrics", "metrics"),
        Page::Status => (config.admin.page, "admin", "status", "status page"),
    };
    let Some(model::Page { address, named }) = wanted else { return Ok(None) };
    let called = format!("{of} {address}");
    if let Some(adopted) = adoption.and_then(|adoption| adoption.page(&called)) {
        return Ok(Some((called, adopted)));
    }
    match TcpListener::bind(address) {
        Ok(socket) => Ok(Some((called, socket))),
        Err(error) if named => {
            Err(unavailable(format!("cannot listen on [{section}] address {address}: {error}")))
        }
        Err(error) => {
            tracing::warn!(
                "no {what}: cannot listen on {address}: {error} ([{section}] address names another one)"
            );
            Ok(None)
        }
    }
}

/// Descriptors of them, for whoever takes over.
///
/// # Errors
/// When there is none left.
pub(super) fn for_later(pages: [Option<&ForPage>; 2]) -> Result<Vec<(String, OwnedFd)>, StartError> {
    let descriptor = |(called, socket): &ForPage| Ok((called.clone(), socket.as_fd().try_clone_to_owned()?));
    pages.into_iter().flatten().map(descriptor).collect::<std::io::Result<_>>().map_err(unavailable)
}

/// Whoever connects next shall hear that nobody is there, not find a socket that nobody serves.
pub(super) fn remove_unix<'p>(leaves: impl IntoIterator<Item = &'p PathBuf>) {
    for path in leaves {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(path = %path.display(), %error, "cannot remove the socket");
        }
    }
}
