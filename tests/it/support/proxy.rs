//! The proxy under test, in this process.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use stickyd::config::model::{Check, Config, InstanceState, Upstream};
use stickyd::tunnel::Reason;
use stickyd::upstream::lifecycle::Emptying;
use stickyd::{Caution, Resolver, Running, Surroundings, config};

use super::metrics::Scrape;
use super::{Message, Socket, eventually};

/// A running proxy; stops when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    running: Option<Running>,
}

/// Panics in workers: tokio keeps them from the process, so a test would not notice.
static PANICS: AtomicUsize = AtomicUsize::new(0);

impl Proxy {
    /// In front of one instance, and nothing else: no affinity, so that no cookie is set.
    pub(crate) fn before(instance: &impl Display) -> Self {
        Self::configured(instance, "")
    }

    /// In front of one instance, without affinity; `more`: sections.
    pub(crate) fn configured(instance: &impl Display, more: &str) -> Self {
        Self::start(&format!(
            "[upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = []\n{more}"
        ))
    }

    /// As `toml` says. It need not say what every test wants the same: one listener on a free port, one worker, metrics, a
    /// quick stop, and without a word of `health` no checks.
    pub(crate) fn start(toml: &str) -> Self {
        Self::among(toml, &Surroundings::default())
    }

    /// The same, where `resolver` knows the addresses of names that are expanded; as often as it can be asked, without a word of
    /// `resolve`.
    pub(crate) fn resolving(toml: &str, resolver: Resolver) -> Self {
        Self::among(toml, &Surroundings { resolver, ..Surroundings::default() })
    }

    fn among(toml: &str, surroundings: &Surroundings) -> Self {
        watch_for_panics();
        let config = Self::config(toml).unwrap_or_else(|report| panic!("{report}"));
        let running = stickyd::start(config, surroundings, None).unwrap();
        Proxy { running: Some(running) }
    }

    /// What `toml` comes to, with what it need not say.
    fn config(toml: &str) -> Result<Config, String> {
        let listen = if toml.contains("listen") { "" } else { "listen = \"127.0.0.1:0\"\n" };
        let workers = if toml.contains("workers") { "" } else { "workers = 1\n" };
        let own = toml.contains("[shutdown]");
        let shutdown = if own { "" } else { "[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n" };
        let log = if toml.contains("[log]") { "" } else { "[log]\naccess = \"off\"\n" };
        let text = format!("{listen}{workers}{toml}\n[metrics]\naddress = \"127.0.0.1:0\"\n{shutdown}{log}");
        let mut loaded = config::parse(&text, "test.toml")
            .map_err(|report| format!("{}\n{text}", report.render(config::Style::Plain)))?;
        if !toml.contains("health.") && !toml.contains(".health]") && !toml.contains("health =") {
            // A scripted instance takes whoever connects for the next step of its script.
            loaded.config.upstreams.iter_mut().for_each(|upstream| upstream.health.check = Check::Off);
        }
        let expands = |upstream: &&mut Upstream| upstream.expand && !toml.contains("resolve =");
        for upstream in loaded.config.upstreams.iter_mut().filter(expands) {
            upstream.resolve.every = Duration::from_millis(50);
        }
        Ok(loaded.config)
    }

    /// Puts another configuration in force; what it says of the difference, or why not.
    pub(crate) fn reload(&self, toml: &str) -> Result<String, String> {
        let plan = self.running().reloader().reload(Self::config(toml)?, Caution::Asked);
        plan.map(|plan| plan.difference.to_string())
    }

    /// The same, as when nobody asked for it.
    pub(crate) fn reload_watched(&self, toml: &str) -> Result<String, String> {
        let plan = self.running().reloader().reload(Self::config(toml)?, Caution::Watched);
        plan.map(|plan| plan.difference.to_string())
    }

    /// Wants `state` of an instance of the upstream `app`.
    pub(crate) fn want(&self, instance: &impl Display, state: InstanceState) {
        self.running().want("app", &instance.to_string(), state).unwrap();
    }

    /// How an instance of the upstream `app` is emptied.
    pub(crate) fn emptying(&self, instance: &impl Display) -> Option<Emptying> {
        let generation = self.running().generation();
        let name = instance.to_string();
        let instance = generation.upstreams[0].instances.iter().find(|known| known.name == name);
        instance.unwrap().lifecycle.emptying()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// Where its first listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().listeners()[0].1.unwrap()
    }

    /// Where each of its listeners listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.running().listeners().iter().filter_map(|listener| listener.1).collect()
    }

    pub(crate) fn connect(&self) -> Socket {
        Socket::connect(self.address())
    }

    /// One request on a connection of its own; `fields`: whole lines.
    pub(crate) fn get(&self, path: &str, fields: &str) -> Message {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n{fields}\r\n"));
        client.answer()
    }

    /// Stops, and returns when that is done.
    pub(crate) fn stop(self) {
        drop(self);
    }

    pub(crate) fn close_tunnels(&self, reason: Reason) {
        self.running().close(reason);
    }

    pub(crate) fn scrape(&self) -> Scrape {
        Scrape::of(self.running().metrics().unwrap())
    }

    /// What the samples with all of `labels` come to, now.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.scrape().sum(name, labels) as u64
    }

    /// Waits until the samples with all of `labels` come to `expected`: counted is a moment after what is seen.
    #[track_caller]
    pub(crate) fn counts(&self, name: &str, labels: &[(&str, &str)], expected: u64) {
        let what = format!("{name}{labels:?} = {expected}, but {}", self.count(name, labels));
        eventually(&what, || (self.count(name, labels) == expected).then_some(()));
    }

    /// Waits until they come to at least `least`.
    pub(crate) fn counts_at_least(&self, name: &str, labels: &[(&str, &str)], least: u64) {
        eventually(name, || (self.count(name, labels) >= least).then_some(()));
    }

    /// One tunnel closed, for this reason with this code; and none is lost to the count.
    #[track_caller]
    pub(crate) fn closed_one(&self, reason: &str, code: &str) {
        self.counts("stickyd_tunnels_open", &[], 0);
        let scrape = self.scrape();
        let closed = |labels: &[(&str, &str)]| scrape.sum("stickyd_tunnels_closed_total", labels) as u64;
        let text = format!("{scrape:?}");
        let lines: Vec<&str> =
            text.split("\\n").filter(|line| line.starts_with("stickyd_tunnels_closed")).collect();
        assert_eq!(closed(&[("reason", reason), ("code", code)]), 1, "{reason} {code}: {lines:#?}");
        assert_eq!(closed(&[]), scrape.sum("stickyd_tunnels_opened_total", &[]) as u64);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
        let panics = PANICS.load(Ordering::SeqCst);
        if !thread::panicking() {
            assert_eq!(panics, 0, "a worker panicked: see above");
        }
    }
}

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name().is_some_and(|name| name.starts_with("worker-") || name == "health") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            report(panic);
        }));
    });
}
