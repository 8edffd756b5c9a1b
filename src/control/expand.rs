//! Looks up the names that an upstream expands, and puts the instances of the answers in force.
//!
//! ```text
//! look up -> upstream::expand::hear -> a generation with other members, or nothing -> orders as after a reload -> wait
//! ```
//!
//! One task for each name of an upstream, on the thread `health`; each lookup on a thread of its own, so many at a time: a
//! resolver that hangs holds up nothing but names. A lookup is not given up, a second one beside it would only hang too.
//!
//! Must not: know what an answer makes of members (`upstream::expand`).

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::publisher::Publisher;
use super::reload;
use super::surroundings::Resolver;
use crate::config::model;
use crate::generation::Generation;
use crate::local::{clock, random, timer};
use crate::upstream::expand::Presence::{self, Present};
use crate::upstream::expand::{self, Member, Members, Rules};
use crate::worker::Orders;

/// Lookups at a time.
const AT_A_TIME: usize = 32;
/// A lookup that takes longer has failed: so long that the resolver of the C library has asked a second name server.
const LATE: Duration = Duration::from_secs(10);
/// How soon a name is looked up again that nothing is known of, and one whose last lookup failed. (Or `resolve`, if that is shorter.)
const UNKNOWN_AGAIN: Duration = Duration::from_secs(1);
const FAILED_AGAIN: Duration = Duration::from_secs(5);
/// Addresses in one line of the log.
const SHOWN: usize = 20;

/// All names that are looked up.
#[derive(Debug)]
pub(super) struct Names {
    common: Rc<Common>,
    /// By upstream and name.
    asked: HashMap<(String, String), Asked>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Common {
    publisher: Arc<Publisher>,
    orders: Orders,
    resolver: Resolver,
    permits: Arc<Semaphore>,
}

/// One name that is looked up. Dropped, it is not; a lookup that runs comes to its end and is not heard.
#[derive(Debug)]
struct Asked {
    pace: Rc<Pace>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How often a name is looked up: a reload may change that.
#[derive(Debug)]
struct Pace {
    every: Cell<Duration>,
    changed: Notify,
}

impl Names {
    pub(super) fn new(publisher: Arc<Publisher>, orders: Orders, resolver: Resolver) -> Self {
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        let common = Rc::new(Common { publisher, orders, resolver, permits });
        Names { common, asked: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Looks up what this generation expands, and nothing else. What is new is looked up at once.
    pub(super) fn follow(&mut self, generation: &Generation) {
        let mut asked = HashMap::new();
        for upstream in &generation.config.upstreams {
            for name in upstream.expanded() {
                let key = (upstream.name.clone(), name.host.clone());
                // A name with several ports is looked up once.
                if asked.contains_key(&key) {
                    continue;
                }
                let before = self.asked.remove(&key).filter(|asked| !asked.task.is_finished());
                let every = upstream.resolve.every;
                let next = match before {
                    Some(asked) => asked.at_pace(every),
                    None => self.begin(&key, every),
                };
                asked.insert(key, next);
            }
        }
        self.asked = asked;
        while self.tasks.try_join_next().is_some() {}
    }

    fn begin(&mut self, (upstream, name): &(String, String), every: Duration) -> Asked {
        let pace = Rc::new(Pace { every: Cell::new(every), changed: Notify::new() });
        let asking = ask(self.common.clone(), upstream.clone(), name.clone(), pace.clone());
        Asked { pace, task: self.tasks.spawn_local(asking) }
    }
}

impl Asked {
    fn at_pace(self, every: Duration) -> Self {
        if self.pace.every.replace(every) != every {
            self.pace.changed.notify_one();
        }
        self
    }
}

impl Pace {
    /// Waits until it is time for the next lookup.
    async fn wait(&self, heard: &Heard) {
        let began = clock::now();
        loop {
            let every = self.every.get();
            let most = match heard {
                Heard::Answer => every,
                Heard::Failure { known: true } => every.min(FAILED_AGAIN),
                Heard::Failure { known: false } => every.min(UNKNOWN_AGAIN),
            };
            // Names that begin together do not stay together.
            let most = most.saturating_sub(random::up_to(most / 10));
            let rest = most.saturating_sub(clock::now().since(began));
            tokio::select! {
                () = tokio::time::sleep(rest) => return,
                () = self.changed.notified() => {}
            }
        }
    }
}

/// What came of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Answer,
    /// `known`: the name has members nevertheless.
    Failure {
        known: bool,
    },
}

/// Looks up one name for as long as it is expanded.
async fn ask(common: Rc<Common>, upstream: String, name: String, pace: Rc<Pace>) {
    let mut words = Words { upstream, name, fails: false, left_out: 0 };
    loop {
        let (upstream, name) = (words.upstream.clone(), words.name.clone());
        let mut lookup = pin!(common.look_up(&name));
        let mut late = false;
        let answer = if let Some(answer) = timer::within(LATE, lookup.as_mut()).await {
            answer
        } else {
            late = true;
            common.failed(&mut words, "no answer in time");
            lookup.await
        };
        let heard = match answer {
            Ok(answer) if !answer.is_empty() => {
                common.hear(&mut words, &answer).await;
                Heard::Answer
            }
            // One that was late has been counted.
            _ if late => Heard::Failure { known: common.knows(&upstream, &name) },
            Ok(_) => common.failed(&mut words, "no address"),
            Err(error) => common.failed(&mut words, &error.to_string()),
        };
        pace.wait(&heard).await;
    }
}

impl Common {
    /// Asks the resolver, on a thread of its own.
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (tell, hear) = oneshot::channel();
        let (resolver, name) = (self.resolver.clone(), name.to_owned());
        // Nobody waits for its end: a resolver may hang for good, and the process ends all the same.
        thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            // Held for as long as the thread is there, whoever still wants to hear of it.
            let _permit = permit;
            // An error: nobody does.
            let _ = tell.send(resolver.look_up(&name));
        })?;
        hear.await.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
    }

    fn knows(&self, upstream: &str, name: &str) -> bool {
        let generation = self.publisher.current();
        generation.upstream(upstream).is_some_and(|upstream| !upstream.members.of(name).is_empty())
    }

    /// A lookup failed, which changes nothing.
    fn failed(&self, words: &mut Words, error: &str) -> Heard {
        let known = self.knows(&words.upstream, &words.name);
        if let Some(upstream) = self.publisher.current().upstream(&words.upstream) {
            upstream.lookup_failed();
        }
        words.failed(known, error);
        Heard::Failure { known }
    }

    /// An answer: puts what it makes of the members in force.
    async fn hear(&self, words: &mut Words, answer: &[IpAddr]) {
        let mut heard = None;
        let followed = self.publisher.follow(|before| {
            let (upstream, name) = (words.upstream.as_str(), words.name.as_str());
            let (file, members) = members(before, upstream, name).ok_or(())?;
            let rules = Rules::of(file, members, name);
            let now = clock::now().since_boot();
            let said = heard.insert(expand::hear(members.of(name), answer, rules, now));
            if said.members == members.of(name) {
                return Err(());
            }
            Ok(with(before, file, members.with(name, said.members.clone())))
        });
        let Some(heard) = heard else { return };
        words.answered(heard.left_out);
        // An error: nothing has changed.
        let Ok((before, next)) = followed else { return };
        let was = members(&before, &words.upstream, &words.name).map(|(_, members)| members.of(&words.name));
        words.changed(was.unwrap_or_default(), &heard.members);
        for command in reload::commands(&before, &next) {
            self.orders.send(command).await;
        }
    }
}

/// What the file says of an upstream, and the members of its names; `None`: the name is not expanded any more.
fn members<'g>(
    generation: &'g Generation,
    upstream: &str,
    name: &str,
) -> Option<(&'g model::Upstream, &'g Members)> {
    let file = generation.config.upstreams.iter().find(|file| file.name == upstream)?;
    file.expanded().find(|instance| instance.host == name)?;
    Some((file, &generation.upstream(upstream)?.members))
}

/// The next generation, in which the names of one upstream have these members.
fn with(before: &Generation, file: &model::Upstream, members: Members) -> Generation {
    let mut upstreams = before.upstreams.clone();
    if let Some(upstream) = upstreams.iter_mut().find(|upstream| upstream.config.name == file.name) {
        *upstream = Arc::new(upstream.with_members(file.clone(), members));
    }
    Generation { config: before.config.clone(), upstreams, leaving: before.leaving.clone() }
}

/// Says what there is to say of a name, each thing once.
#[derive(Debug)]
struct Words {
    upstream: String,
    name: String,
    fails: bool,
    left_out: usize,
}

impl Words {
    fn failed(&mut self, known: bool, error: &str) {
        let Words { upstream, name, .. } = self;
        if !std::mem::replace(&mut self.fails, true) {
            let what = if known { "its instances are kept" } else { "it has no instances yet" };
            tracing::warn!(upstream, name, error, "a name cannot be looked up: {what}");
        }
    }

    fn answered(&mut self, left_out: usize) {
        let Words { upstream, name, .. } = self;
        if std::mem::replace(&mut self.fails, false) {
            tracing::info!(upstream, name, "a name can be looked up");
        }
        if std::mem::replace(&mut self.left_out, left_out) == 0 && left_out > 0 {
            let most = expand::INSTANCES_MAX;
            tracing::warn!(
                upstream,
                name,
                left_out,
                most,
                "a name has more addresses than there is room for"
            );
        }
    }

    fn changed(&self, before: &[Member], after: &[Member]) {
        let Words { upstream, name, .. } = self;
        let of = |members: &[Member], member: &Member| {
            members.iter().find(|other| other.address == member.address).map(|member| member.presence)
        };
        // Those of which it was this before, and is that.
        let those = |members: &[Member], which: fn(Option<Presence>, Option<Presence>) -> bool| {
            let changed = members.iter().filter(|member| which(of(before, member), of(after, member)));
            let changed: Vec<IpAddr> = changed.map(|member| member.address).collect();
            (!changed.is_empty()).then(|| list(&changed))
        };
        if let Some(addresses) = those(after, |was, _| was.is_none()) {
            tracing::info!(upstream, name, addresses, "a name has other addresses: instances are added");
        }
        if let Some(addresses) = those(after, |was, is| was == Some(Present) && is != Some(Present)) {
            tracing::warn!(
                upstream,
                name,
                addresses,
                "a name lacks addresses: their instances take no new clients"
            );
        }
        if let Some(addresses) =
            those(after, |was, is| was.is_some_and(|was| was != Present) && is == Some(Present))
        {
            tracing::info!(upstream, name, addresses, "a name has addresses again");
        }
        if let Some(addresses) = those(before, |_, is| is.is_none()) {
            tracing::warn!(
                upstream,
                name,
                addresses,
                "a name has lacked addresses for too long: their instances are removed"
            );
        }
    }
}

/// For a line of the log.
fn list(addresses: &[IpAddr]) -> String {
    let mut text: Vec<String> = addresses.iter().take(SHOWN).map(IpAddr::to_string).collect();
    if addresses.len() > SHOWN {
        text.push(format!("and {} more", addresses.len() - SHOWN));
    }
    text.join(" ")
}
