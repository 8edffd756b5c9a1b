//! From a configuration to running workers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::admin::{self, Admin, Desk, View};
use super::by::By;
use super::follow::{File, Followed};
use super::health::{self, Supervisor};
use super::kept::Kept;
use super::lifecycle::{Administrator, Refusal};
use super::lists::Lists;
use super::local_http::Serving;
use super::notify::herald::{self, Herald};
use super::publisher::Publisher;
use super::reload::Reloader;
use super::retire::Rotation;
use super::scrape;
use super::surroundings::Surroundings;
use super::watch::Watcher;
use super::{assemble, files, lifecycle, lock};
use crate::config::Config;
use crate::config::model::{self, InstanceState};
use crate::generation::{Generation, Open};
use crate::http::{Door, Shared};
use crate::listener::bind::{self, Bound};
use crate::listener::inherited::{self, Inherited};
use crate::listener::permit::Permits;
use crate::local::clock;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::ListenerCounters;
use crate::tunnel::{Order, Reason};
use crate::worker::{Closing, Command, Left, Orders, Parts, Pulse, Which, Worker};

/// Why the proxy does not start.
#[derive(Debug)]
pub enum StartError {
    /// Something that the configuration names cannot be used: exit code 78.
    Config(String),
    /// An address cannot be had, or another process serves: exit code 1.
    Unavailable(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(text) | StartError::Unavailable(text) => out.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

pub(super) fn unavailable(error: impl fmt::Display) -> StartError {
    StartError::Unavailable(error.to_string())
}

/// A running proxy.
#[derive(Debug)]
pub struct Running {
    workers: Vec<Worker>,
    supervisor: Option<Supervisor>,
    pub(super) publisher: Arc<Publisher>,
    metrics: Option<Serving>,
    page: Option<Serving>,
    admin: Option<Admin>,
    pub(super) admin_socket: Option<PathBuf>,
    kept: Arc<Kept>,
    followed: Option<Followed>,
    watcher: Option<Watcher>,
    herald: Option<Herald>,
    pub(super) surroundings: Surroundings,
    pub(super) shared: Shared,
    listeners: Named,
    /// Files of unix sockets.
    leaves: Vec<PathBuf>,
    pub(super) connections_limit: usize,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) rotation: Arc<Rotation>,
    _lock: Option<lock::Lock>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What tells this process from others of the machine: the lock against a second start and what is kept are about it.
    pub identity: String,
    /// The file that is followed; `None`: there is none.
    pub file: Option<File>,
}

/// Starts to serve. `origin`: `None` takes no lock, keeps nothing and follows no file.
///
/// # Errors
/// Nothing is left running then.
pub fn start(
    config: Config,
    surroundings: &Surroundings,
    origin: Option<Origin>,
) -> Result<Running, StartError> {
    start_with(config, surroundings, origin, Vec::new())
}

/// The same, with listening sockets that somebody else has opened.
///
/// # Errors
/// Nothing is left running then.
pub(super) fn start_with(
    config: Config,
    surroundings: &Surroundings,
    origin: Option<Origin>,
    mut inherited: Vec<Inherited>,
) -> Result<Running, StartError> {
    let identity = origin.as_ref().map(|origin| origin.identity.as_str());
    let lock = match (&surroundings.runtime, identity) {
        (Some(runtime), Some(identity)) => lock::take(runtime, identity).map_err(StartError::Unavailable)?,
        _ => None,
    };
    let workers = config.workers.get();
    let generation = assemble::generation(config, surroundings, None).map_err(StartError::Config)?;
    let kept = Arc::new(Kept::of(surroundings.state.as_deref(), identity));
    kept.restore(&generation);
    let config = &generation.config;
    let open_files = files::raise_limit();
    let checks = health::at_a_time(&generation);
    let limit = config
        .limits
        .max_connections
        .unwrap_or_else(|| files::connections_that_fit(open_files, workers, checks));
    tracing::info!(open_files, connections = limit, "open-file limit");

    let unacked = config.timeouts.unacked;
    let bound: Vec<Bound> = config
        .listeners
        .iter()
        .map(|listener| bind::bind(listener, workers, unacked, &mut inherited))
        .collect::<Result<_, _>>()
        .map_err(unavailable)?;
    inherited::warn_of(&inherited);
    drop(inherited);
    let metrics_socket = config.metrics.map(scrape::bind).transpose()?;
    let page_socket = admin::page::bind(config.admin.page)?;
    let commands = admin::bind(&config.admin, surroundings.runtime.as_deref())?;
    let access_log =
        AccessLog::open(&config.log.access, config.log.access_format, surroundings.logs.as_deref())
            .map_err(|error| StartError::Config(format!("[log] access: {error}")))?;

    let leaves = bound.iter().filter_map(|bound| bound.leaves.clone()).collect();
    let (listeners, doors, per_worker) = hand_out(bound, workers);
    let shared = Shared::new(generation, access_log);
    let mut running = Running {
        workers: Vec::new(),
        supervisor: None,
        publisher: Arc::new(Publisher::new(shared.published.clone())),
        surroundings: surroundings.clone(),
        metrics: None,
        page: None,
        admin: None,
        admin_socket: None,
        kept,
        followed: None,
        watcher: None,
        herald: None,
        shared,
        listeners,
        leaves,
        connections_limit: limit,
        ready: Arc::new(AtomicBool::new(true)),
        rotation: Arc::default(),
        _lock: lock,
    };
    let permits = Permits::new(limit);
    let pulses: Vec<Arc<Pulse>> = (0..=workers).map(|_| Arc::default()).collect();
    for (number, listeners) in per_worker.into_iter().enumerate() {
        running.workers.push(
            Worker::start(Parts {
                number,
                listeners,
                shared: running.shared.clone(),
                permits: permits.clone(),
                pulse: pulses[number].clone(),
            })
            .map_err(unavailable)?,
        );
    }
    let resolver = surroundings.resolver.clone();
    running.begin_drains();
    let supervisor = health::supervise(running.administrator(), resolver, pulses[workers].clone());
    running.supervisor = Some(supervisor.map_err(unavailable)?);
    running.metrics =
        metrics_socket.map(|socket| scrape::serve(socket, &running, doors.clone())).transpose()?;
    let file = origin.and_then(|origin| origin.file);
    running.followed = file.map(|file| Followed::new(file, running.reloader()));
    running.watcher = running.followed.as_ref().and_then(Followed::watch);
    running.page =
        page_socket.map(|socket| admin::page::serve(socket, running.view(doors.clone()))).transpose()?;
    if let Some(socket) = commands {
        tracing::info!(socket = %socket.path.display(), "commands");
        running.admin_socket = Some(socket.path.clone());
        running.admin = Some(admin::serve(socket, running.desk(doors)).map_err(unavailable)?);
    }
    let manager = surroundings.manager.clone();
    if manager.listens() {
        let herald = Herald::begin(manager, running.publisher.clone(), &pulses);
        running.herald = Some(herald.map_err(unavailable)?);
    }
    Ok(running)
}

impl Running {
    /// Where it listens: as people write it, and as an address where there is one.
    pub fn listeners(&self) -> &[(String, Option<SocketAddr>)] {
        &self.listeners
    }

    /// Tells the service manager that everything listens.
    pub(super) fn tell_ready(&self) {
        self.surroundings.manager.ready(&herald::status(&self.publisher));
    }

    /// Where it shows metrics.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|metrics| metrics.address)
    }

    /// Where the status page is.
    pub fn page(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(|page| page.address)
    }

    /// What is in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.shared.published.load_full()
    }

    /// Empties those that the file, or a command before the restart, wants to be empty.
    fn begin_drains(&self) {
        let (generation, orders) = (self.generation(), self.orders());
        for upstream in &generation.upstreams {
            let begin = |instance: &Arc<_>| lifecycle::begin(upstream, instance);
            upstream.named().iter().filter_map(begin).for_each(|command| orders.send_blocking(command));
        }
    }

    /// The most client connections at a time.
    pub fn connections_limit(&self) -> usize {
        self.connections_limit
    }

    /// Closes every open tunnel and every Engine.IO session that has a poll parked, for this reason, now.
    pub fn close(&self, reason: Reason) {
        self.orders().send_blocking(Command::Close(Closing {
            instance: None,
            which: Which::Waiting,
            order: Order::of(reason),
            over: Duration::ZERO,
        }));
    }

    /// Wants `state` of an instance from now on, also of the last: `drain` and `maintain` empty it, as
    /// `[upstream.NAME.drain]` says.
    ///
    /// # Errors
    /// When there is no such instance, or the file itself wants something else; which.
    pub fn want(&self, upstream: &str, instance: &str, state: InstanceState) -> Result<(), String> {
        let wanted =
            self.administrator().want(&[format!("{upstream}/{instance}")], state, true, By::Command(None));
        match wanted {
            Ok(_) => Ok(()),
            Err(Refusal::Unknown(why)) => Err(why),
            Err(refusal) => Err(format!("{refusal:?}")),
        }
    }

    /// Whoever may want something of instances.
    fn administrator(&self) -> Administrator {
        let (publisher, kept) = (self.publisher.clone(), self.kept.clone());
        Administrator { publisher, orders: self.orders(), kept }
    }

    fn view(&self, doors: Vec<Arc<Door>>) -> View {
        View {
            publisher: self.publisher.clone(),
            doors,
            metrics: self.metrics().map(|address| address.to_string()),
            page: self.page().map(|address| address.to_string()),
            connections_limit: self.connections_limit,
            ready: self.ready.clone(),
            rotation: self.rotation.clone(),
            started: clock::epoch_seconds(),
            file: self.followed.as_ref().map(Followed::name),
        }
    }

    fn desk(&self, doors: Vec<Arc<Door>>) -> Desk {
        let (view, administrator) = (self.view(doors), self.administrator());
        let (sids, rest) = (self.shared.sids.clone(), self.shared.rest.clone());
        let lists = Lists { publisher: self.publisher.clone(), orders: self.orders(), sids: sids.clone() };
        Desk { view, administrator, followed: self.followed.clone(), lists, sids, rest }
    }

    /// Loads the file anew, because somebody asked for it.
    pub(super) fn load_again(&self) {
        if let Some(followed) = &self.followed {
            followed.again();
        } else {
            tracing::warn!("HUP: there is no file to load, the command line said all");
        }
    }

    /// Whoever may put another configuration in force.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(self.administrator(), self.surroundings.clone())
    }

    /// The way of orders to all workers.
    pub(super) fn orders(&self) -> Orders {
        Orders::to(&self.workers)
    }

    /// Opens the access log's file anew.
    pub fn reopen_logs(&self) {
        self.shared.access_log.reopen();
    }

    /// Stops as `[shutdown]` says, and returns when everything has ended; what was left at the deadline, and was cut.
    pub fn stop(self) -> Open {
        let model::Shutdown { ready_delay, spread, deadline } = self.generation().config.shutdown;
        if let Some(watcher) = self.watcher {
            watcher.stop();
        }
        self.surroundings.manager.stopping(ready_delay + deadline);
        self.ready.store(false, Ordering::Relaxed);
        let orders = Orders::to(&self.workers);
        orders.send_blocking(Command::Retire);
        std::thread::sleep(self.rotation.is_left_of(ready_delay));
        orders.send_blocking(Command::Stop { spread, deadline });
        let mut cut = Open::default();
        for Left { tunnels, exchanges } in self.workers.into_iter().map(Worker::join) {
            let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
            cut.tunnels = cut.tunnels.saturating_add(number(tunnels));
            cut.requests = cut.requests.saturating_add(number(exchanges));
        }
        if let Some(supervisor) = self.supervisor {
            supervisor.stop();
        }
        if let Some(metrics) = self.metrics {
            metrics.stop();
        }
        if let Some(page) = self.page {
            page.stop();
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(herald) = self.herald {
            herald.stop();
        }
        self.shared.access_log.close();
        remove_unix_sockets(&self.leaves);
        cut
    }
}

/// Whoever connects next shall hear that nobody is there, not find a socket that nobody serves.
fn remove_unix_sockets(leaves: &[PathBuf]) {
    for path in leaves {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(path = %path.display(), %error, "cannot remove the socket");
        }
    }
}

type PerWorker = Vec<Vec<(bind::Listening, Arc<Door>)>>;

/// Listeners as people write them, with their address where there is one.
type Named = Vec<(String, Option<SocketAddr>)>;

/// Gives each worker its sockets of each listener.
fn hand_out(bound: Vec<Bound>, workers: usize) -> (Named, Vec<Arc<Door>>, PerWorker) {
    let (mut listeners, mut doors) = (Vec::new(), Vec::new());
    let mut per_worker: PerWorker = (0..workers).map(|_| Vec::new()).collect();
    for Bound { name, address, sockets, leaves: _ } in bound {
        let counters = (0..workers).map(|_| ListenerCounters::default()).collect();
        let door = Arc::new(Door { name: name.clone(), counters });
        for (number, socket) in sockets.into_iter().enumerate() {
            per_worker[number % workers].push((socket, door.clone()));
        }
        listeners.push((name, address));
        doors.push(door);
    }
    (listeners, doors, per_worker)
}
