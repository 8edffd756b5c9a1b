//! `stickyd explain`: where a client goes, and why. The question is written out as a request and read as the data path reads it; route,
//! cookie, keys and choice are found by the same code.
//!
//! Says neither secrets nor what clients sent as such: cookies, sids, values of headers and queries.

mod request;
#[cfg(test)]
mod tests;
mod words;

use std::net::IpAddr;

use serde::Serialize;

use super::{Surroundings, secrets};
use crate::affinity::cookie::{self, Binding, Keys, Rejected};
use crate::affinity::engine_io;
use crate::affinity::ip_hash::InstanceHash;
use crate::affinity::value_hash::ValueKey;
use crate::codec::request::{self as head, RequestHead};
use crate::codec::{HeadLimits, Parsed, header_slots};
use crate::config::model::{Config, StickyKey, Upstream};
use crate::local::clock;
use crate::routing::explain::{Explained, explain as ask};
use crate::routing::pick::{Candidate, Client, Cookie, Need, Policy, Sid};
use crate::routing::route;

pub use request::{Field, Question, Url};

/// Where a client goes, and why: for people as text ([`std::fmt::Display`]), for scripts as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
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
    /// The upstream's instances, as the file has them.
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
    let written = request::write(config, question);
    let mut slots = header_slots();
    let limits = HeadLimits { bytes: config.limits.header, headers: config.limits.headers };
    let mut explanation = Explanation {
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
    let upstream = &config.upstreams[config.routes[index].upstream];
    of_upstream(&mut explanation, upstream, question, &head, written.upgrades, surroundings)?;
    Ok(explanation)
}

fn of_upstream(
    explanation: &mut Explanation,
    upstream: &Upstream,
    question: &Question,
    head: &RequestHead<'_, '_>,
    upgrades: bool,
    surroundings: &Surroundings,
) -> Result<(), String> {
    let now = clock::epoch_seconds();
    let query = engine_io::Query::of(head.target, &upstream.engine_io_paths);
    let polls = query.as_ref().is_some_and(|query| query.polling);
    let sid = query.as_ref().is_some_and(|query| query.sid.is_some());
    let need = Need::of(sid.then_some(Sid::Unknown), upgrades, polls);
    explanation.wants = match need {
        Need::Start => "start",
        Need::Plain => "plain",
        Need::Session(_) => "session",
    };
    explanation.upstream = Some(upstream.name.clone());
    explanation.instances = upstream.instances.iter().map(words::member).collect();
    if let Some(name) = upstream.expanded().next() {
        explanation.result = words::unknown(&name.host);
        return Ok(());
    }
    let carried = carried(upstream, question, head, now, surroundings)?;
    let cookie = match &carried {
        Carried::Bound { instance: Some(instance), .. } => Cookie::To(*instance),
        Carried::Bound { instance: None, .. } => Cookie::Removed,
        Carried::Nothing | Carried::NoSecret | Carried::Ignored { .. } => Cookie::None,
    };
    let values = ValueKey::of_request(&upstream.sticky.by, head.target, |name| head.header(name));
    let client = Client { need, address: question.address, cookie, values: &values };
    let candidates: Vec<Candidate> = candidates(upstream).collect();
    let policy = Policy::of(upstream);
    let Explained { keys, result, if_down } = ask(policy, client, &candidates);

    let facts = Facts {
        upstream,
        need,
        address: question.address,
        path: head.path(),
        engine_io: query.is_some(),
        carried,
        cookie,
        now,
    };
    explanation.keys = upstream.sticky.by.iter().zip(keys).map(|(key, said)| facts.key(key, &said)).collect();
    explanation.result = facts.placed(&result);
    explanation.if_down = if_down.map(|placed| facts.placed(&placed));
    explanation.assumed = facts.assumed();
    Ok(())
}

/// The instances, as a proxy sees them that has just begun and found everything well.
fn candidates(upstream: &Upstream) -> impl Iterator<Item = Candidate> {
    upstream.instances.iter().map(|instance| Candidate {
        backup: instance.backup,
        state: instance.state,
        ..Candidate::ready(InstanceHash::of(&upstream.name, &instance.name), instance.weight)
    })
}

/// Opens the cookies that came.
fn carried(
    upstream: &Upstream,
    question: &Question,
    head: &RequestHead<'_, '_>,
    now: u64,
    surroundings: &Surroundings,
) -> Result<Carried, String> {
    let sticky = &upstream.sticky;
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
    let keys = secrets::existing(&sticky.secret, surroundings.state.as_deref())
        .map_err(|problem| format!("`upstream.{}.sticky`: {problem}", upstream.name))?;
    let Some(keys) = keys else { return Ok(Carried::NoSecret) };
    Ok(open(upstream, &keys, &values, now))
}

fn open(upstream: &Upstream, keys: &Keys, values: &[&[u8]], now: u64) -> Carried {
    let ttl = upstream.sticky.cookie.ttl.as_secs();
    let mut carried = Carried::Nothing;
    for value in values {
        carried = match keys.open(&upstream.name, value, now, ttl) {
            Ok(binding) => {
                let tokens: Vec<_> = upstream
                    .instances
                    .iter()
                    .map(|instance| keys.instance_tokens(&upstream.name, &instance.name))
                    .collect();
                let instance = binding.instance_of(tokens.iter().map(Vec::as_slice));
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
