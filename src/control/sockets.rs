//! The sockets of a process that starts: bound, or taken over from another process; and which worker has which.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::handover::{Adoption, Listens, called};
use super::scrape;
use super::start::{StartError, unavailable};
use crate::config::Config;
use crate::config::model::Listener;
use crate::http::Door;
use crate::listener::bind::{self, Bound, Listening};
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
}

/// Listens as `config` says. Sockets that are taken over are used as they are; none is closed that the file still has, for
/// connections may wait in it.
///
/// # Errors
/// When an address cannot be had.
pub(super) fn listen(config: &Config, mut adoption: Option<&mut Adoption>) -> Result<Listeners, StartError> {
    let workers = config.workers.get();
    let mut listeners = Listeners {
        names: Vec::new(),
        doors: Vec::new(),
        of_workers: (0..workers).map(|_| Vec::new()).collect(),
        all: Vec::new(),
    };
    for listener in &config.listeners {
        let Bound { name, address, sockets } =
            one(listener, workers, config.timeouts.unacked, adoption.as_deref_mut())?;
        let counters = (0..workers).map(|_| ListenerCounters::default()).collect();
        let door = Arc::new(Door { name: name.clone(), counters });
        let sockets: Vec<Arc<Listening>> = sockets.into_iter().map(Arc::new).collect();
        // One that was taken over can have more, or less, than there are workers now.
        for number in 0..workers.max(sockets.len()) {
            let socket = sockets[number % sockets.len()].clone();
            listeners.of_workers[number % workers].push((socket, door.clone()));
        }
        listeners.names.push((name, address));
        listeners.doors.push(door);
        listeners.all.push(Listens { called: called(&listener.address), sockets });
    }
    Ok(listeners)
}

fn one(
    listener: &Listener,
    workers: usize,
    unacked: Duration,
    adoption: Option<&mut Adoption>,
) -> Result<Bound, StartError> {
    let adopted = adoption.map(|adoption| adoption.listener(listener)).transpose().map_err(unavailable)?;
    match adopted.flatten().filter(|sockets| !sockets.is_empty()) {
        Some(sockets) => bind::adopted(sockets).map_err(unavailable),
        None => bind::bind(listener, workers, unacked).map_err(unavailable),
    }
}

/// The metrics listener: its own, and a descriptor for whoever takes over.
pub(super) type MetricsSocket = (TcpListener, Option<(SocketAddr, OwnedFd)>);

/// Listens at `[metrics] address`.
///
/// # Errors
/// When it cannot be had.
pub(super) fn metrics(
    address: SocketAddr,
    adoption: Option<&mut Adoption>,
) -> Result<MetricsSocket, StartError> {
    let adopted = adoption.and_then(|adoption| adoption.metrics(address));
    let socket = adopted.map_or_else(|| scrape::bind(address), Ok)?;
    let other = socket.as_fd().try_clone_to_owned().map_err(unavailable)?;
    Ok((socket, Some((address, other))))
}

/// Whoever connects next shall hear that nobody is there, not find a socket that nobody serves.
pub(super) fn remove_unix(listeners: &Named) {
    for path in listeners.iter().filter_map(|(name, _)| name.strip_prefix("unix:")) {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(path, %error, "cannot remove the socket");
        }
    }
}
