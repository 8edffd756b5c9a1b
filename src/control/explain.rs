//! `stickyd explain`: where a client goes, and why. The question is written out as a request and read as the data path reads it; route,
//! cookie, keys and choice are found by the same code.
//!
//! Either of the running process, which knows health, sessions and who rests from where, or of a configuration alone. They differ in
//! what is [known](known::Known), and in nothing else.
//!
//! Says neither secrets nor what clients sent as such: cookies, sids, values of headers and queries.

mod known;
mod request;
#[cfg(test)]
mod tests;
mod words;

use std::net::IpAddr;

use serde::Serialize;

use super::Surroundings;
use crate::affinity::cookie::{self, Binding, Keys, Rejected};
use crate::affinity::engine_io;
use crate::affinity::rest::Rest;
use crate::affinity::sid::table::Table;
use crate::affinity::value_hash::ValueKey;
use crate::codec::request::{self as head, RequestHead};
use crate::codec::{HeadLimits, Parsed, header_slots};
use crate::config::model::{Config, StickyKey, Upstream};
use crate::generation::Generation;
use crate::local::clock;
use crate::routing::explain::{Explained, explain as ask};
use crate::routing::pick::{Client, Cookie, Need, Policy};
use crate::routing::route;
use crate::upstream::load::Home;
use known::{Known, Source};

pub use request::{Field, Question, Url};

/// Where a client goes, and why: for people as text ([`std::fmt::Display`]), for scripts as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who was asked: `process` (how everything is now) or `file` (as if everything were well).
    pub source: &'static str,
    /// The client's address.
    pub client: IpAddr,
    /// The host that it asks.
    pub host: String,
    /// Nobody named the host: this is one that the routes take.
    pub host_is_assumed: bool,
    /// The path, without the query.
    pub path: String,
    /// What it wants: `start` (a session start: the only requests that are placed anew), `plain`, `session`.
    pub wants: &'static str,
    /// The route that takes it; `None`: none does.
    pub route: Option<RouteTaken>,
    /// The route's upstream.
    pub upstream: Option<String>,
    /// The upstream's instances, as the file has them, and of a process as they are.
    pub instances: Vec<Member>,
    /// What each key of `sticky.by` says, in their order.
    pub keys: Vec<KeySays>,
    /// Where it goes.
    pub result: Placed,
    /// Where it would go if that instance were down.
    pub if_down: Option<Placed>,
    /// What nobody but the running proxy knows, and what is taken for granted instead.
    pub assumed: Vec<String>,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTaken {
    /// Counted from 1, in the order of the file.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// As the file has it; `*`: any.
    pub host: String,
    /// As the file has it; `*`: any.
    pub path: String,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `ready`, `cordon`, `drain`, `maintain`
    pub state: &'static str,
    /// 1 to 1000
    pub weight: u32,
    /// Takes clients only when no other can.
    pub backup: bool,
    /// How it is; `None`: only the running process knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<MemberNow>,
}

/// How an instance is, as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberNow {
    /// `up`, `degraded`, `down`; as far as its checks are believed.
    pub health: &'static str,
    /// Why, and since when; empty: nothing is known.
    pub evidence: String,
    /// Its share of new clients in percent: below 100 while it is in its slow start.
    pub share: u8,
    /// It has as many tunnels as it may.
    pub full: bool,
    /// The client was moved away from it, and rests.
    pub away: bool,
}

/// What one key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeySays {
    /// As the file has it.
    pub key: String,
    /// `decides`, `passed_over` (its instance may not be used), `silent`, `ends` (the session is gone), `fails` (`on_down`). Of a key
    /// that was not asked: what it would do.
    pub does: &'static str,
    /// No key before it decided.
    pub asked: bool,
    /// Why it does so, in one word; of one that decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The instance that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Of a hash: the instances in the order in which the client comes to them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// Of `ip_hash`: the part of the address that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Of a cookie that was opened: when it was issued, seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<u64>,
    /// Of a cookie that was opened: its binding id, as hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// The same for people.
    pub text: String,
}

/// Where a client goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The instance; `None`: to none, or `balance` takes one of `among`.
    pub instance: Option<String>,
    /// What decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// Those from which `balance` takes one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub among: Vec<String>,
    /// Why it is not the instance that its cookie names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebind: Option<&'static str>,
    /// The answer sets the cookie (unless caches may keep it).
    pub sets_cookie: bool,
    /// Why it goes to none: `bad_request`, `health_path`, `no_route`, `session_gone`, `fail`, `nowhere`; or `unknown`: the upstream
    /// expands names, and its instances are known to the running process only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'static str>,
    /// The same for people.
    pub text: String,
}

/// What the cookies of a request say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Carried {
    /// There is none of the upstream's name.
    Nothing,
    /// The secret that it could be opened with is not here.
    NoSecret,
    /// The last of those that came.
    Ignored { why: Rejected, issued: Option<u64>, sealed_by: Option<String>, ours: String },
    /// The first that counts, and its instance if it is still there.
    Bound { binding: Binding, instance: Option<usize> },
}

/// What is known about a request of one upstream.
struct Facts<'c> {
    upstream: &'c Upstream,
    /// Names of its instances, those that are leaving too.
    names: Vec<String>,
    /// A running process was asked.
    live: bool,
    need: Need,
    address: IpAddr,
    path: &'c str,
    engine_io: bool,
    carried: Carried,
    cookie: Cookie,
    /// Seconds since the epoch.
    now: u64,
}

/// Answers `question` by the configuration alone: every instance is taken to be up and to have room, and no session is known.
///
/// # Errors
/// What is wrong with a secret that is needed.
pub fn explain(
    config: &Config,
    question: &Question,
    surroundings: &Surroundings,
) -> Result<Explanation, String> {
    by(config, question, &Source::File(config, surroundings))
}

/// Answers `question` as the process would place that client now. Nothing is changed by it: no session is used, no turn taken.
///
/// # Errors
/// When a question has no end, which would be a bug.
pub(super) fn explain_live(
    generation: &Generation,
    sids: &Table<Home>,
    rest: &Rest,
    question: &Question,
) -> Result<Explanation, String> {
    by(&generation.config, question, &Source::Process { generation, sids, rest })
}

fn by(config: &Config, question: &Question, source: &Source<'_>) -> Result<Explanation, String> {
    let written = request::write(config, question);
    let mut slots = header_slots();
    let limits = HeadLimits { bytes: config.limits.header, headers: config.limits.headers };
    let mut explanation = Explanation {
        source: source.name(),
        client: question.address,
        host: written.host,
        host_is_assumed: written.host_is_assumed,
        path: written.path,
        wants: "plain",
        route: None,
        upstream: None,
        instances: Vec::new(),
        keys: Vec::new(),
        result: Placed::default(),
        if_down: None,
        assumed: Vec::new(),
    };
    let head = match head::parse(&written.head, &mut slots, limits) {
        Ok(Parsed::Complete { head, .. }) => head,
        Ok(Parsed::Partial) => return Err("the request has no end".to_owned()),
        Err(bad) => {
            explanation.result = words::refused("bad_request", format!("no clean request: {}", bad.reason()));
            return Ok(explanation);
        }
    };
    if config.health_path.as_deref() == Some(head.path()) {
        let text = "stickyd answers it itself: health_path".to_owned();
        explanation.result = words::refused("health_path", text);
        return Ok(explanation);
    }
    let Some(index) = route::find(&config.routes, head.host, head.path()) else {
        explanation.result = words::refused("no_route", "no route takes this host and path".to_owned());
        return Ok(explanation);
    };
    explanation.route = Some(words::route(&config.routes, index));
    let known = source.of_upstream(config.routes[index].upstream);
    of_upstream(&mut explanation, &known, question, &head, written.upgrades)?;
    Ok(explanation)
}

fn of_upstream(
    explanation: &mut Explanation,
    known: &Known<'_>,
    question: &Question,
    head: &RequestHead<'_, '_>,
    upgrades: bool,
) -> Result<(), String> {
    let now = clock::epoch_seconds();
    let upstream = known.upstream();
    let query = engine_io::Query::of(head.target, &upstream.engine_io_paths);
    let polls = query.as_ref().is_some_and(|query| query.polling);
    let sid = query.as_ref().and_then(|query| query.sid.as_deref());
    let need = Need::of(sid.map(|sid| known.session(sid)), upgrades, polls);
    explanation.wants = match need {
        Need::Start => "start",
        Need::Plain => "plain",
        Need::Session(_) => "session",
    };
    explanation.upstream = Some(upstream.name.clone());
    if let Some(name) = known.has_unknown() {
        explanation.instances = known.members(&[]);
        explanation.result = words::unknown(name);
        return Ok(());
    }
    let carried = carried(known, question, head, now)?;
    let (cookie, binding) = match &carried {
        Carried::Bound { binding, instance: Some(instance) } => (Cookie::To(*instance), Some(binding.id)),
        Carried::Bound { binding, instance: None } => (Cookie::Removed, Some(binding.id)),
        Carried::Nothing | Carried::NoSecret | Carried::Ignored { .. } => (Cookie::None, None),
    };
    let values = ValueKey::of_request(&upstream.sticky.by, head.target, |name| head.header(name));
    let client = Client { need, address: question.address, cookie, values: &values };
    let policy = Policy::of(upstream);
    let candidates = known.candidates(policy.looks_at_loads(need), client, binding);
    let Explained { keys, result, if_down } = ask(policy, client, &candidates);

    let facts = Facts {
        upstream,
        names: known.names(),
        live: known.is_live(),
        need,
        address: question.address,
        path: head.path(),
        engine_io: query.is_some(),
        carried,
        cookie,
        now,
    };
    explanation.instances = known.members(&candidates);
    explanation.keys = upstream.sticky.by.iter().zip(keys).map(|(key, said)| facts.key(key, &said)).collect();
    explanation.result = facts.placed(&result);
    explanation.if_down = if_down.map(|placed| facts.placed(&placed));
    explanation.assumed = if known.is_live() { Vec::new() } else { facts.assumed() };
    Ok(())
}

/// Opens the cookies that came.
fn carried(
    known: &Known<'_>,
    question: &Question,
    head: &RequestHead<'_, '_>,
    now: u64,
) -> Result<Carried, String> {
    let sticky = &known.upstream().sticky;
    let name = &sticky.cookie.name;
    let given = question.cookie.as_ref().map(|cookie| {
        // A sealed value has no `=`.
        if cookie.contains('=') { cookie.clone() } else { format!("{name}={cookie}") }
    });
    let fields = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("cookie"));
    let fields = given.iter().map(String::as_bytes).chain(fields.map(|header| header.value));
    let values: Vec<&[u8]> =
        fields.flat_map(|field| cookie::values(field, name)).take(cookie::VALUES_MAX).collect();
    if values.is_empty() || !sticky.by.contains(&StickyKey::Cookie) {
        return Ok(Carried::Nothing);
    }
    let Some(keys) = known.keys()? else { return Ok(Carried::NoSecret) };
    Ok(open(known, &keys, &values, now))
}

fn open(known: &Known<'_>, keys: &Keys, values: &[&[u8]], now: u64) -> Carried {
    let upstream = known.upstream();
    let ttl = upstream.sticky.cookie.ttl.as_secs();
    let mut carried = Carried::Nothing;
    for value in values {
        carried = match keys.open(&upstream.name, value, now, ttl) {
            Ok(binding) => {
                let instance = known.bound(&binding, keys);
                return Carried::Bound { binding, instance };
            }
            Err(why) => {
                // Of one that has only expired everything can still be said.
                let opened = keys.open(&upstream.name, value, now, u64::MAX);
                Carried::Ignored {
                    why,
                    issued: opened.ok().map(|binding| binding.issued),
                    sealed_by: cookie::sealed_by(value),
                    ours: keys.fingerprint(),
                }
            }
        };
    }
    carried
}

impl Explanation {
    /// For scripts, with the same for people as `text`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("it has nothing but text and numbers");
        json["text"] = self.to_string().into();
        json
    }
}
