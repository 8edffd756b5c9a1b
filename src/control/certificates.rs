//! The certificates of all listeners: loaded before anything is bound and with each reload, and again when their files change.
//!
//! A renewed certificate is no other configuration: it makes no generation, and whoever is connected notices nothing. What cannot
//! be used changes nothing: at a reload the whole reload is refused, and when only a file changed the old one stays, which the log,
//! `status` and a metric say until it is mended.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::certificates::{Facts, Unusable};
use crate::config::Config;
use crate::config::model::{ListenTls, Listener};
use crate::http::{Door, Ways};
use crate::listener::tls::{self, Loaded, Tickets};
use crate::local::clock;
use crate::observe::events;
use crate::observe::metrics::CertificatesView;
use crate::upstream::connect::Secured;

/// How often the files are looked at; one that has changed must look the same once more, for a certificate and its key are written
/// one after the other.
const EACH: Duration = Duration::from_secs(1);

/// All listeners, and what they meet their clients with.
#[derive(Debug)]
pub(super) struct Certificates(Mutex<Vec<Place>>);

/// One listener.
#[derive(Debug)]
struct Place {
    door: Arc<Door>,
    served: Served,
    /// As its files looked at the last look.
    looked: Vec<Look>,
    /// Why what is in the files now is not served.
    refused: Option<String>,
    renewals: u64,
    refusals: u64,
}

/// What a listener meets its clients with, and what that is made of.
#[derive(Debug)]
struct Served {
    listener: Listener,
    /// Nobody uses them where there is no TLS.
    tickets: Arc<Tickets>,
    loaded: Option<Loaded>,
    /// As its files looked when they were read.
    read: Vec<Look>,
}

/// How a file looks from outside, with what a link leads to: whether it is still the same. `None`: it cannot be seen.
type Look = Option<(u64, u64, u64, i64, i64)>;

/// What is to be served, loaded and not yet served.
#[derive(Debug)]
pub(super) struct Prepared(Vec<Served>);

/// What is known of a listener's certificates.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) listener: String,
    pub(super) facts: Vec<Facts>,
    /// Why what is in the files now is not served.
    pub(super) refused: Option<String>,
}

impl Prepared {
    /// What the listeners of `config` need.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(super) fn load(config: &Config) -> Result<Self, Unusable> {
        let listeners = config.listeners.iter();
        listeners.map(|listener| Served::load(listener, None)).collect::<Result<_, _>>().map(Prepared)
    }

    /// What somebody should look at, and what is known of each listener that has certificates.
    fn tells(&self) -> (Vec<String>, Vec<Facts>) {
        let loaded = self.0.iter().filter_map(|served| served.loaded.as_ref());
        let warnings = loaded.clone().flat_map(|loaded| loaded.warnings.clone()).collect();
        (warnings, loaded.flat_map(|loaded| loaded.facts.clone()).collect())
    }

    fn warn(&self) {
        let (warnings, facts) = self.tells();
        let overdue = facts.iter().filter_map(|facts| overdue(facts, clock::epoch_seconds()));
        for warning in warnings.into_iter().chain(overdue) {
            tracing::warn!("{warning}");
        }
    }

    /// Serves at `doors`, which are those of the same listeners.
    pub(super) fn serve(self, doors: &[Arc<Door>]) -> Arc<Certificates> {
        self.warn();
        let place = |(served, door): (Served, &Arc<Door>)| {
            let looked = served.read.clone();
            let place = Place { door: door.clone(), served, looked, refused: None, renewals: 0, refusals: 0 };
            place.publish();
            place
        };
        Arc::new(Certificates(Mutex::new(self.0.into_iter().zip(doors).map(place).collect())))
    }
}

impl Served {
    /// `before`: what the same listener serves.
    fn load(listener: &Listener, before: Option<&Served>) -> Result<Self, Unusable> {
        let read = look(listener.tls.as_ref());
        let known =
            before.filter(|before| before.asks_as(listener, &read)).map(|before| before.tickets.clone());
        let tickets = match known {
            Some(tickets) => tickets,
            None => Arc::new(Tickets::new().ok_or_else(|| {
                Unusable::new(Path::new("/dev/urandom"), "there is no randomness for session tickets")
            })?),
        };
        let loaded = listener.tls.as_ref().map(|tls| tls::load(tls, &tickets)).transpose()?;
        Ok(Served { listener: listener.clone(), tickets, loaded, read })
    }

    /// It asks its clients for the same certificates: what a session was given then is good here.
    fn asks_as(&self, listener: &Listener, read: &[Look]) -> bool {
        let ca = |listener: &Listener| listener.tls.as_ref().and_then(|tls| tls.client_ca.clone());
        let (was, is) = (ca(&self.listener), ca(listener));
        // Its file is looked at last.
        was == is && (is.is_none() || self.read.last() == read.last())
    }
}

impl Place {
    fn publish(&self) {
        let Served { listener, loaded, .. } = &self.served;
        let tls = loaded.as_ref().map(|loaded| loaded.config.clone());
        self.door.ways.store(Arc::new(Ways { tls, redirect: listener.redirect }));
    }

    fn serve(&mut self, served: Served) {
        self.looked.clone_from(&served.read);
        self.served = served;
        self.refused = None;
        self.publish();
    }

    /// Looks at the files; those that have changed, and then not again, are read anew.
    fn look(&mut self) {
        let now = look(self.served.listener.tls.as_ref());
        let still = now == self.looked;
        let known = now == self.served.read;
        self.looked = now;
        if !still || known {
            return;
        }
        let listener = self.door.name.as_str();
        match Served::load(&self.served.listener, Some(&self.served)) {
            Ok(served) => {
                self.renewals += 1;
                for facts in served.loaded.iter().flat_map(|loaded| &loaded.facts) {
                    let (subject, file) = (facts.subject(), facts.file.display());
                    tracing::info!(target: events::RELOAD, listener, subject, %file, "the certificate is read anew");
                }
                self.serve(served);
            }
            Err(unusable) => {
                self.refusals += 1;
                // Not again, until it has changed again.
                self.served.read.clone_from(&self.looked);
                let why = unusable.why;
                tracing::error!(target: events::REFUSAL, listener, why, "a changed certificate is refused, the old one stays");
                self.refused = Some(why);
            }
        }
    }
}

impl Certificates {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads again what the listeners of `config` need that are there; the others begin with the next start.
    ///
    /// # Errors
    /// The first file that cannot be used, also one of a listener that is to come.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, Unusable> {
        let places = self.places();
        let place = |listener: &Listener| {
            let known = places.iter().find(|place| place.served.listener.address == listener.address);
            Served::load(listener, known.map(|place| &place.served))
        };
        config.listeners.iter().map(place).collect::<Result<_, _>>().map(Prepared)
    }

    /// Serves what was prepared.
    pub(super) fn serve(&self, prepared: Prepared) {
        prepared.warn();
        let mut places = self.places();
        for served in prepared.0 {
            let same = |place: &&mut Place| place.served.listener.address == served.listener.address;
            if let Some(place) = places.iter_mut().find(same) {
                place.serve(served);
            }
        }
    }

    /// Looks at all files once.
    fn look(&self) {
        self.places().iter_mut().filter(|place| place.served.loaded.is_some()).for_each(Place::look);
    }

    /// What is known of the listeners that have certificates.
    pub(super) fn known(&self) -> Vec<Known> {
        let known = |place: &Place| {
            let facts = place.served.loaded.as_ref()?.facts.clone();
            Some(Known { listener: place.door.name.clone(), facts, refused: place.refused.clone() })
        };
        self.places().iter().filter_map(known).collect()
    }

    /// For a scrape.
    pub(super) fn view(&self) -> Vec<CertificatesView> {
        let view = |place: &Place| {
            let facts = &place.served.loaded.as_ref()?.facts;
            Some(CertificatesView {
                listener: place.door.name.clone(),
                expiry: facts.iter().map(|facts| (facts.subject(), facts.valid.1)).collect(),
                renewals: place.renewals,
                refusals: place.refusals,
            })
        };
        self.places().iter().filter_map(view).collect()
    }
}

/// Less than this, in days, and somebody should see to it; renewal is usually tried a month before.
const SOON: i64 = 14;

const DAY: i64 = 24 * 3600;

/// What the certificates of a configuration come to.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// One for each certificate of a listener.
    pub(crate) lines: String,
    /// What somebody should look at.
    pub(crate) warnings: Vec<String>,
}

/// Reads certificates and keys, at both ends of TLS, as a start reads them.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn inspect(config: &Config) -> Result<Inspected, String> {
    let (mut warnings, facts) = Prepared::load(config).map_err(|unusable| unusable.why)?.tells();
    let now = clock::epoch_seconds();
    let line = |facts: &Facts| {
        let (names, file) = (facts.names.join(", "), facts.file.display());
        format!("certificate {file}: {names}; {}\n", validity(facts.valid, now))
    };
    warnings.extend(facts.iter().filter_map(|facts| overdue(facts, now)));
    for upstream in &config.upstreams {
        if let Some(tls) = &upstream.tls {
            let loaded = Secured::load(tls, None);
            loaded.map_err(|unusable| format!("`upstream.{}.tls`: {}", upstream.name, unusable.why))?;
        }
    }
    Ok(Inspected { lines: facts.iter().map(line).collect(), warnings })
}

/// For people: `valid for 61 days`. `valid`: when it begins and ceases to be so, `now`: the moment, all in seconds since the epoch.
pub(crate) fn validity(valid: (i64, i64), now: u64) -> String {
    let (begins, ends) = valid;
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if now < begins {
        format!("NOT VALID for another {}", days(begins - now))
    } else if now < ends {
        format!("valid for {}", days(ends - now))
    } else {
        format!("EXPIRED {} ago", days(now - ends))
    }
}

/// A sentence about a certificate that somebody should look at.
fn overdue(facts: &Facts, now: u64) -> Option<String> {
    let (begins, ends) = facts.valid;
    let moment = i64::try_from(now).unwrap_or(i64::MAX);
    let is_good = begins <= moment && moment + SOON * DAY < ends;
    (!is_good)
        .then(|| format!("{}: {} ({})", facts.file.display(), validity(facts.valid, now), facts.subject()))
}

/// How the files that `tls` names look now; that of `client_ca` last.
fn look(tls: Option<&ListenTls>) -> Vec<Look> {
    let Some(ListenTls { certificates, client_ca }) = tls else { return Vec::new() };
    let of = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    let files = certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    files.chain(client_ca).map(|path| of(path)).collect()
}

/// The thread that looks at the files.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Closed: the thread ends.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Renewal {
    /// Begins to look.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn begin(certificates: Arc<Certificates>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            while stopped.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
                certificates.look();
            }
        })?;
        Ok(Renewal { stop, thread })
    }

    /// Ends it.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks at certificates panicked");
        }
    }
}
