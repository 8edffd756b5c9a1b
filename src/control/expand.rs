//! Looks up the names that an upstream expands, and puts the instances of the answers in force.
//!
//! ```text
//! look up -> upstream::expand::hear -> a generation with other members, or nothing -> orders as after a reload -> wait
//! ```
//!
//! One task for each name of an upstream, on the thread `health`; each lookup, and what follows from it, on a thread of its own, so
//! many at a time: a resolver that hangs holds up nothing but names. A lookup is not given up, a second one beside it would only
//! hang too.
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

use super::lifecycle::Administrator;
use super::reload;
use super::surroundings::Resolver;
use crate::config::model;
use crate::generation::Generation;
use crate::local::{clock, random, timer};
use crate::observe::events;
use crate::upstream::expand::Presence::{self, Present};
use crate::upstream::expand::{self, Member, Members, Rules};

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
    common: Arc<Common>,
    asked: HashMap<Key, Asked>,
    tasks: JoinSet<()>,
}

/// A name of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    upstream: String,
    name: String,
}

#[derive(Debug)]
struct Common {
    administrator: Administrator,
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
    pub(super) fn new(administrator: Administrator, resolver: Resolver) -> Self {
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        let common = Arc::new(Common { administrator, resolver, permits });
        Names { common, asked: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Looks up what this generation expands, and nothing else. What is new is looked up at once.
    pub(super) fn follow(&mut self, generation: &Generation) {
        let mut asked = HashMap::new();
        for upstream in &generation.config.upstreams {
            for name in upstream.expanded() {
                let key = Key { upstream: upstream.name.clone(), name: name.host.clone() };
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

    fn begin(&mut self, key: &Key, every: Duration) -> Asked {
        let pace = Rc::new(Pace { every: Cell::new(every), changed: Notify::new() });
        let asking = ask(self.common.clone(), key.clone(), pace.clone());
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
    async fn wait(&self, heard: Heard) {
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
    Failure {
        /// The name has members nevertheless.
        known: bool,
    },
}

/// Looks up one name for as long as it is expanded.
async fn ask(common: Arc<Common>, key: Key, pace: Rc<Pace>) {
    let mut words = Words { key: key.clone(), fails: false, left_out: 0 };
    loop {
        let mut lookup = pin!(common.look_up(&key));
        let mut late = false;
        let answer = if let Some(answer) = timer::within(LATE, lookup.as_mut()).await {
            answer
        } else {
            late = true;
            let known = common.fails(&key);
            words.failed(known, "no answer in time");
            lookup.await
        };
        let heard = match answer {
            Ok(left_out) => {
                words.answered(left_out);
                Heard::Answer
            }
            // One that was late has been counted.
            Err(_) if late => Heard::Failure { known: common.knows(&key) },
            Err(error) => {
                let known = common.fails(&key);
                words.failed(known, &error.to_string());
                Heard::Failure { known }
            }
        };
        pace.wait(heard).await;
    }
}

impl Common {
    /// Asks the resolver, on a thread of its own, and puts in force what the answer comes to; for how many addresses of it there was
    /// no room.
    async fn look_up(self: &Arc<Self>, key: &Key) -> io::Result<usize> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (tell, hear) = oneshot::channel();
        let (common, key) = (self.clone(), key.clone());
        // Nobody waits for its end: a resolver may hang for good, and the process ends all the same.
        thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            // Held for as long as the thread is there, whoever still wants to hear of it.
            let _permit = permit;
            let answer = common.resolver.look_up(&key.name);
            let result = answer.and_then(|answer| match &*answer {
                [] => Err(io::Error::other("no address")),
                answer => Ok(common.hear(&key, answer)),
            });
            // An error: nobody does.
            let _ = tell.send(result);
        })?;
        hear.await.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
    }

    fn knows(&self, Key { upstream, name }: &Key) -> bool {
        let generation = self.administrator.publisher.current();
        generation.upstream(upstream).is_some_and(|upstream| !upstream.members.of(name).is_empty())
    }

    /// A lookup failed, which changes nothing; whether the name has members.
    fn fails(&self, key: &Key) -> bool {
        if let Some(upstream) = self.administrator.publisher.current().upstream(&key.upstream) {
            upstream.lookup_failed();
        }
        self.knows(key)
    }

    /// An answer: puts what it makes of the members in force. Not on a thread that others wait for.
    fn hear(&self, key: &Key, answer: &[IpAddr]) -> usize {
        let _one = self.administrator.publisher.alone();
        let mut heard = None;
        // An error: nothing has changed.
        let _ = reload::put_in_force(&self.administrator, |before| {
            // An error: the name is not expanded any more.
            let (file, members) = members(before, key).ok_or(())?;
            let (was, now) = (members.of(&key.name), clock::now().since_boot());
            let said = expand::hear(was, answer, Rules::of(file, members, &key.name), now);
            let said = heard.insert(said);
            if said.members == was {
                return Err(());
            }
            changed(key, was, &said.members);
            let next = with(before, file, members.with(&key.name, said.members.clone()));
            // Before anybody sees them.
            self.administrator.kept.recall(&next, |upstream, instance| {
                let known = before.upstream(&upstream.config.name);
                known.is_some_and(|known| known.index(instance).is_none())
            });
            Ok(next)
        });
        heard.map_or(0, |heard| heard.left_out)
    }
}

/// What the file says of an upstream, and the members of its names; `None`: the name is not expanded any more.
fn members<'g>(generation: &'g Generation, key: &Key) -> Option<(&'g model::Upstream, &'g Members)> {
    let file = generation.config.upstreams.iter().find(|file| file.name == key.upstream)?;
    file.expanded().find(|instance| instance.host == key.name)?;
    Some((file, &generation.upstream(&key.upstream)?.members))
}

/// The next generation, in which the names of one upstream have these members.
fn with(before: &Generation, file: &model::Upstream, members: Members) -> Generation {
    let mut upstreams = before.upstreams.clone();
    if let Some(upstream) = upstreams.iter_mut().find(|upstream| upstream.config.name == file.name) {
        *upstream = Arc::new(upstream.with_members(file.clone(), members));
    }
    Generation { config: before.config.clone(), upstreams, leaving: before.leaving.clone() }
}

/// Says what there is to say of the lookups of a name, each thing once.
#[derive(Debug)]
struct Words {
    key: Key,
    fails: bool,
    left_out: usize,
}

impl Words {
    fn failed(&mut self, known: bool, error: &str) {
        let Key { upstream, name } = &self.key;
        if !std::mem::replace(&mut self.fails, true) {
            let what = if known { "its instances are kept" } else { "it has no instances yet" };
            tracing::warn!(target: events::NAME, upstream, name, error, "a name cannot be looked up: {what}");
        }
    }

    fn answered(&mut self, left_out: usize) {
        let Key { upstream, name } = &self.key;
        if std::mem::replace(&mut self.fails, false) {
            tracing::info!(target: events::NAME, upstream, name, "a name can be looked up");
        }
        if std::mem::replace(&mut self.left_out, left_out) == 0 && left_out > 0 {
            let most = expand::INSTANCES_MAX;
            tracing::warn!(
                target: events::NAME, upstream,
                name,
                left_out,
                most,
                "a name has more addresses than there is room for"
            );
        }
    }
}

/// Says what has changed.
fn changed(key: &Key, before: &[Member], after: &[Member]) {
    let Key { upstream, name } = key;
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
        tracing::info!(target: events::NAME, upstream, name, addresses, "a name has other addresses: instances are added");
    }
    if let Some(addresses) = those(after, |was, is| was == Some(Present) && is != Some(Present)) {
        tracing::warn!(
            target: events::NAME, upstream,
            name,
            addresses,
            "a name lacks addresses: their instances take no new clients"
        );
    }
    if let Some(addresses) =
        those(after, |was, is| was.is_some_and(|was| was != Present) && is == Some(Present))
    {
        tracing::info!(target: events::NAME, upstream, name, addresses, "a name has addresses again");
    }
    if let Some(addresses) = those(before, |_, is| is.is_none()) {
        tracing::warn!(
            target: events::NAME, upstream,
            name,
            addresses,
            "a name has lacked addresses for too long: their instances are removed"
        );
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
