//! Where an instance is: a literal, or a name that is looked up on a blocking thread while others go on.
//!
//! A known address is used at once, and asked for anew behind the back of whoever connects: a resolver that hangs takes no
//! instance out. Only a name without any is waited for, by everybody together, and by none for longer than it likes. A
//! lookup is not given up: a second one beside it would only occupy a second thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Secured;
use super::name::{Change, Name};
use crate::config::model::Resolve;
use crate::local::stream::Stream;
use crate::local::{clock, timer};
use crate::observe::events;

/// A lookup that takes longer has failed: so long that the resolver of the C library has asked a second name server.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Where an instance is. It belongs to the identity of the instance: its address outlives a generation.
#[derive(Debug)]
pub struct Endpoint {
    /// Tells endpoints apart within this process: where connections lead to that wait in a pool.
    pub number: u32,
    host: String,
    port: u16,
    place: Place,
    /// How whoever is there is spoken to; `None`: in the clear.
    pub(in crate::upstream) secured: Option<Arc<Secured>>,
}

#[derive(Debug)]
enum Place {
    /// Never asked for.
    Literal(SocketAddr),
    Name(Named),
}

#[derive(Debug, Default)]
struct Named {
    name: Mutex<Name>,
    /// Something was heard of a lookup.
    heard: Notify,
    failures: AtomicU64,
    /// It has ever had another address.
    moved: AtomicBool,
}

impl Endpoint {
    /// `host` is a name or an address literal.
    pub fn new(host: &str, port: u16, secured: Option<Arc<Secured>>) -> Self {
        let place = match host.parse::<IpAddr>() {
            Ok(ip) => Place::Literal(SocketAddr::new(ip, port)),
            Err(_) => Place::Name(Named::default()),
        };
        Endpoint { secured, ..Self::at(host, port, place) }
    }

    fn at(host: &str, port: u16, place: Place) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Endpoint {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            host: host.to_owned(),
            port,
            place,
            secured: None,
        }
    }

    /// Lookups so far that failed, or had an empty answer.
    pub fn dns_failures(&self) -> u64 {
        match &self.place {
            Place::Literal(_) => 0,
            Place::Name(named) => named.failures.load(Ordering::Relaxed),
        }
    }

    /// The addresses to try, in their order; none: the name has no address.
    pub(super) async fn addresses(self: &Arc<Self>, rules: Resolve) -> Vec<SocketAddr> {
        let named = match &self.place {
            Place::Literal(address) => return vec![*address],
            Place::Name(named) => named,
        };
        // From before the look, so that nothing is missed between the two.
        let mut heard = pin!(named.heard.notified());
        heard.as_mut().enable();
        let found = named.name().find(rules, now());
        if found.ask {
            // Whoever connects may leave; the lookup stays to its end, which is bounded by the resolver's own patience.
            tokio::task::spawn_local(look_up(self.clone(), rules, LOOKUP_MAX));
        }
        if !found.wait {
            return found.addresses;
        }
        heard.await;
        named.name().attempt(now())
    }

    /// Speaks over `socket` as it has to be done here.
    ///
    /// # Errors
    /// Why whoever is there is not trusted, or does not understand.
    pub(super) async fn secure(&self, socket: Stream) -> io::Result<Stream> {
        match &self.secured {
            None => Ok(socket),
            // Boxed: a connect in the clear needs no room for it.
            Some(secured) => Box::pin(secured.shake(socket, &self.host)).await,
        }
    }

    /// Whether a connection that was made to it earlier goes where a new one would.
    pub fn still_leads(&self, stream: &Stream) -> bool {
        match &self.place {
            Place::Name(named) if named.moved.load(Ordering::Relaxed) => {
                stream.peer().is_some_and(|peer| named.name().is_at(peer))
            }
            _ => true,
        }
    }

    /// This address works: it is tried first from now on.
    pub(super) fn works(&self, address: SocketAddr) {
        if let Place::Name(named) = &self.place {
            let change = named.name().works(address);
            named.announce(&self.host, change, "");
        }
    }
}

impl Named {
    fn name(&self) -> MutexGuard<'_, Name> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Says once for each change what there is of a name. `error`: why the lookup failed, if it has.
    fn announce(&self, name: &str, change: Option<Change>, error: &str) {
        match change {
            None => {}
            Some(Change::Fails { kept: None }) => {
                tracing::warn!(target: events::NAME, name, error, "a name cannot be looked up: its instance has no address");
            }
            Some(Change::Fails { kept: Some(address) }) => {
                tracing::warn!(target: events::NAME, name, error, %address, "a name cannot be looked up: its last address is kept");
            }
            Some(Change::Answers) => tracing::info!(target: events::NAME, name, "a name can be looked up"),
            Some(Change::Moved { from, to }) => {
                self.moved.store(true, Ordering::Relaxed);
                tracing::info!(target: events::NAME, name, %from, %to, "an instance has a new address");
            }
            Some(Change::Forgot(address)) => {
                tracing::warn!(target: events::NAME, name, %address, error, "an address is forgotten: no lookup has confirmed it, and no connection");
            }
        }
    }
}

fn now() -> Duration {
    clock::coarse().since_boot()
}

/// Asks the resolver once. After `patience` nobody waits for it any more.
pub(super) async fn look_up(endpoint: Arc<Endpoint>, rules: Resolve, patience: Duration) {
    let Place::Name(named) = &endpoint.place else { return };
    let host = endpoint.host.as_str();
    // Also when this task ends with its thread.
    let _ending = Ending(named);
    let mut lookup = pin!(tokio::net::lookup_host((host, endpoint.port)));
    let in_time = timer::within(patience, lookup.as_mut()).await;
    let is_late = in_time.is_none();
    let answer = if let Some(answer) = in_time {
        answer
    } else {
        named.failed();
        let change = named.name().is_late(rules, now());
        named.announce(host, change, "no answer in time");
        named.heard.notify_waiters();
        lookup.await
    };
    let (addresses, error) = match answer {
        Ok(answer) => (answer.collect::<Vec<_>>(), "no address".to_owned()),
        Err(error) => (Vec::new(), error.to_string()),
    };
    // One that was late has been counted.
    if addresses.is_empty() && !is_late {
        named.failed();
    }
    let change = named.name().hear(&addresses, rules, now());
    named.announce(host, change, &error);
}

/// Lets others ask, and tells those who wait.
struct Ending<'n>(&'n Named);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.name().end();
        self.0.heard.notify_waiters();
    }
}

#[cfg(test)]
impl Endpoint {
    /// A name of which the resolver has just said this; `[]`: it was never asked.
    pub(super) fn named(host: &str, addresses: &[SocketAddr], rules: Resolve) -> Arc<Self> {
        let mut name = Name::default();
        if !addresses.is_empty() {
            name.hear(addresses, rules, now());
        }
        let named = Named { name: Mutex::new(name), ..Named::default() };
        Arc::new(Self::at(host, 80, Place::Name(named)))
    }

    /// As if a lookup had this answer.
    pub(super) fn hears(&self, answer: &[SocketAddr], rules: Resolve) {
        if let Place::Name(named) = &self.place {
            let change = named.name().hear(answer, rules, now());
            named.announce(&self.host, change, "");
        }
    }

    /// What [`Name::find`] finds now.
    pub(super) fn find(&self, rules: Resolve) -> super::name::Found {
        match &self.place {
            Place::Literal(_) => panic!("a literal is never asked for"),
            Place::Name(named) => named.name().find(rules, now()),
        }
    }
}
