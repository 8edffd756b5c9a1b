//! The thread that tells the service manager how things are, and that the process is alive. There is one only where somebody
//! listens.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Manager;
use super::watchdog::Watchdog;
use super::words::Standing;
use crate::control::publisher::Publisher;
use crate::control::watch::Digest;
use crate::local::clock;
use crate::worker::Pulse;

/// From one look to the next.
const EACH: Duration = Duration::from_millis(500);

/// How often the number of tunnels alone is worth a word.
const COUNTS: Duration = Duration::from_secs(5);

/// A shorter patience than this would be up before a thread that is only busy has beaten.
const SHORTEST: Duration = Duration::from_secs(5);

/// The thread.
#[derive(Debug)]
pub(in crate::control) struct Herald {
    /// Closed: the thread ends.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Herald {
    /// Begins to tell; `pulses`: of those who have to be alive.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(in crate::control) fn begin(
        manager: Manager,
        publisher: Arc<Publisher>,
        pulses: &[Arc<Pulse>],
    ) -> io::Result<Self> {
        let now = || clock::now().since_boot();
        let within = manager.watchdog();
        if let Some(within) = within.filter(|within| *within < SHORTEST) {
            tracing::warn!(
                ?within,
                "WatchdogSec= is shorter than {SHORTEST:?}: a busy moment may end the process"
            );
        }
        let mut watchdog = within.map(|within| Watchdog::new(pulses, within, now()));
        let (stop, stopped) = sync_channel(0);
        let mut said = standing(&publisher);
        let mut at = now();
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(move || {
            while stopped.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
                if watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now())) {
                    manager.alive();
                }
                let standing = standing(&publisher);
                let counts = standing != said && now().saturating_sub(at) >= COUNTS;
                if counts || standing.differs_from(&said) {
                    manager.status(&standing.to_string());
                    (said, at) = (standing, now());
                }
            }
        })?;
        Ok(Herald { stop, thread })
    }

    /// Ends it.
    pub(in crate::control) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that tells the service manager panicked");
        }
    }
}

/// How things are, as the service manager shows it.
pub(in crate::control) fn status(publisher: &Publisher) -> String {
    standing(publisher).to_string()
}

fn standing(publisher: &Publisher) -> Standing {
    let (generation, last) = (publisher.current(), publisher.reloads.last());
    let instances = || generation.upstreams.iter().flat_map(|upstream| upstream.named());
    let tunnels = generation.all().flat_map(|upstream| &upstream.instances);
    Standing {
        up: instances().filter(|instance| instance.vitals.passes()).count(),
        instances: instances().count(),
        tunnels: tunnels.map(|instance| u64::from(instance.load.tunnels())).sum(),
        config: last.digest.map(Digest::short),
        loaded: last.loaded,
        refusal: last.refusal.map(|why| (last.at, why)),
    }
}
