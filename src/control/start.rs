//! From a configuration to a running proxy: what is bound and made. How it begins to serve, and its end, have files of their own.

mod begin;
mod desk;
mod stop;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::admin::{self, Admin};
use super::by::By;
use super::certificates::{Certificates, Prepared, Renewal};
use super::follow::{File, Followed};
use super::gate::Gate;
use super::handover::{Adoption, Elders, Estate, Goods, Lingering};
use super::health::{self, Supervisor};
use super::kept::Kept;
use super::lifecycle::{Administrator, Refusal};
use super::notify::herald::{self, Herald};
use super::pages::{Page, Pages};
use super::publisher::Publisher;
use super::reload::Reloader;
use super::retire::Rotation;
use super::scrape::Scrape;
use super::surroundings::Surroundings;
use super::watch::Watcher;
use super::{assemble, files, lock, sockets};
use crate::config::Config;
use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::http::{Door, Shared};
use crate::listener::inherited::Inherited;
use crate::listener::permit::Permits;
use crate::local::clock;
use crate::observe::access_log::AccessLog;
use crate::tunnel::{Order, Reason};
use crate::worker::{Closing, Command, Orders, Parts, Pulse, Which, Worker};

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
    /// What begins only when the process serves waits for it.
    gate: Gate,
    pub(super) publisher: Arc<Publisher>,
    /// Where metrics and the status page are shown, and by whom.
    pages: Pages,
    admin: Option<Admin>,
    pub(super) admin_socket: Option<PathBuf>,
    kept: Arc<Kept>,
    followed: Option<Followed>,
    watcher: Option<Watcher>,
    herald: Option<Herald>,
    pub(super) surroundings: Surroundings,
    pub(super) shared: Shared,
    listeners: sockets::Named,
    doors: Vec<Arc<Door>>,
    certificates: Arc<Certificates>,
    renewal: Option<Renewal>,
    /// Files of unix sockets.
    leaves: Vec<PathBuf>,
    pub(super) connections_limit: usize,
    pub(super) ready: Arc<AtomicBool>,
    started: SystemTime,
    estate: Arc<Estate>,
    elders: Arc<Elders>,
    lingering: Arc<Lingering>,
    /// Signs of life of the workers, and at the end of the thread that checks.
    pulses: Vec<Arc<Pulse>>,
    pub(super) rotation: Arc<Rotation>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What tells this process from others of the machine: the lock against a second start and what is kept are about it.
    pub identity: String,
    /// The file that is followed; `None`: there is none.
    pub file: Option<File>,
}

/// What is bound besides listeners: of metrics, of the status page, of commands.
type Others = (Option<sockets::ForPage>, Option<sockets::ForPage>, Option<admin::Socket>);

/// Starts to serve. `origin`: `None` takes no lock, keeps nothing and follows no file.
///
/// # Errors
/// Nothing is left running then.
pub fn start(
    config: Config,
    surroundings: &Surroundings,
    origin: Option<Origin>,
) -> Result<Running, StartError> {
    start_with(config, surroundings, origin, Vec::new(), None, &mut || false)
}

/// The same, with listening sockets that somebody else has opened, or after another process from which this one takes over.
/// `told_to_end`: a signal has said so.
///
/// # Errors
/// Nothing is left running then, and the other process serves on.
pub(super) fn start_with(
    config: Config,
    surroundings: &Surroundings,
    origin: Option<Origin>,
    inherited: Vec<Inherited>,
    mut adoption: Option<Adoption>,
    told_to_end: &mut dyn FnMut() -> bool,
) -> Result<Running, StartError> {
    let identity = origin.as_ref().map(|origin| origin.identity.as_str());
    let lock = match (adoption.as_mut().and_then(Adoption::lock), &surroundings.runtime, identity) {
        (Some(lock), ..) => Some(lock),
        (None, Some(runtime), Some(identity)) => {
            lock::take(runtime, identity).map_err(StartError::Unavailable)?
        }
        _ => None,
    };
    let workers = config.workers.get();
    let certificates = Prepared::load(&config).map_err(|unusable| StartError::Config(unusable.why))?;
    let generation = assemble::generation(config, surroundings, None).map_err(StartError::Config)?;
    let generation = match &adoption {
        Some(adoption) => adoption.with_members(generation),
        None => generation,
    };
    let kept = Arc::new(Kept::of(surroundings.state.as_deref(), identity));
    let config = generation.config.clone();
    let open_files = files::raise_limit();
    let checks = health::at_a_time(&generation);
    let limit = config
        .limits
        .max_connections
        .unwrap_or_else(|| files::connections_that_fit(open_files, workers, checks));
    tracing::info!(open_files, connections = limit, "open-file limit");

    let listeners = sockets::listen(&config, inherited, adoption.as_mut())?;
    let certificates = certificates.serve(&listeners.doors);
    let metrics_socket = sockets::page(Page::Metrics, &config, adoption.as_mut())?;
    let page_socket = sockets::page(Page::Status, &config, adoption.as_mut())?;
    let pages_for_later = sockets::for_later([metrics_socket.as_ref(), page_socket.as_ref()])?;
    let commands = admin::bind(
        &config.admin,
        surroundings.runtime.as_deref(),
        adoption.as_ref().and_then(Adoption::commands),
    )?;
    let access_log =
        AccessLog::open(&config.log.access, config.log.access_format, surroundings.logs.as_deref())
            .map_err(|error| StartError::Config(format!("[log] access: {error}")))?;

    let shared = Shared::new(generation, access_log, adoption.as_ref().map(Adoption::secret));
    let publisher = Arc::new(Publisher::new(shared.published.clone()));
    let elders = Arc::new(Elders::of(adoption.as_ref().map(Adoption::elders).unwrap_or_default()));
    let goods = Goods { listeners: listeners.all, pages: pages_for_later, lock };
    let mut running = Running {
        workers: Vec::new(),
        supervisor: None,
        gate: Gate::default(),
        estate: Arc::new(Estate::new(goods, shared.clone(), publisher.clone(), kept.clone())),
        publisher,
        surroundings: surroundings.clone(),
        pages: Pages::default(),
        admin: None,
        admin_socket: None,
        kept,
        followed: None,
        watcher: None,
        herald: None,
        certificates,
        renewal: None,
        pulses: (0..=workers).map(|_| Arc::default()).collect(),
        shared,
        listeners: listeners.names,
        leaves: listeners.leaves,
        doors: listeners.doors,
        connections_limit: limit,
        ready: Arc::new(AtomicBool::new(true)),
        started: clock::wall(),
        elders,
        lingering: Arc::default(),
        rotation: Arc::default(),
    };
    let permits = Permits::new(limit);
    for (number, listeners) in listeners.of_workers.into_iter().enumerate() {
        running.workers.push(
            Worker::start(Parts {
                number,
                listeners,
                shared: running.shared.clone(),
                permits: permits.clone(),
                pulse: running.pulses[number].clone(),
            })
            .map_err(unavailable)?,
        );
    }
    if let Some(adoption) = &mut adoption {
        adoption.learns(&running.shared, &running.publisher).map_err(unavailable)?;
    }
    // Until it is the main process nobody would hear it.
    running.surroundings.manager.be_silent(adoption.is_some());
    running.prepare(origin, (metrics_socket, page_socket, commands))?;
    if let Some(adoption) = &mut adoption {
        adoption.is_ready(&running.shared, &running.publisher).map_err(unavailable)?;
        if told_to_end() {
            return Err(unavailable("this process was told to end before it had taken over"));
        }
    }
    running.serve(adoption)?;
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
        self.pages.address(Page::Metrics)
    }

    fn scrape(&self) -> Scrape {
        Scrape {
            publisher: self.publisher.clone(),
            doors: self.doors.clone(),
            certificates: self.certificates.clone(),
            access_log: self.shared.access_log.clone(),
            connections_limit: self.connections_limit,
            started: self.started,
            elders: self.elders.clone(),
        }
    }

    /// Waits until this process has lingered to its end; for ever if it does not linger.
    pub(super) async fn is_over(&self) {
        self.lingering.over().await;
    }

    /// Where the status page is.
    pub fn page(&self) -> Option<SocketAddr> {
        self.pages.address(Page::Status)
    }

    /// What is in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.shared.published.load_full()
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
        Reloader::new(self.administrator(), self.surroundings.clone(), self.certificates.clone())
    }

    /// The way of orders to all workers.
    pub(super) fn orders(&self) -> Orders {
        Orders::to(&self.workers)
    }

    /// Opens the access log's file anew; those that linger do too.
    pub fn reopen_logs(&self) {
        self.shared.access_log.reopen();
        self.elders.reopen_logs();
    }
}
