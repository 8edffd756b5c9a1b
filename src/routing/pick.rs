//! Keys and availability to an instance, with the reason why.
//!
//! ```text
//! for each key of sticky.by   consider   Goes      to this instance
//!                                        Passed    it names one that may not be used; the next key
//!                                        Silent    it says nothing of this client; the next key
//!                                        Ended     the session's instance is gone: nobody else knows it
//!                                        Failed    on_down = "fail", and the instance is down
//! then                        balance    among those that let such a client in
//! ```
//!
//! [`consider`] is one key's part: whoever wants to know why a client goes where it goes asks it key by key.
//!
//! Must not: know why an instance is not usable beyond what [`Candidate`] says, change a counter, allocate, use
//! floating point.

mod balance;
mod candidate;
mod hashed;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use candidate::{Candidate, Health, Opening};

use crate::affinity::value_hash::ValueKey;
use crate::config::model::{self, Balance, IpHash, OnDown, StickyKey};
use candidate::Eligible;

/// What is known of the client and of its request.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// What it wants.
    pub need: Need,
    /// Its address.
    pub address: IpAddr,
    /// What its cookie says.
    pub cookie: Cookie,
    /// The values of its `header:` and `query:` keys, each at the place that its key has in `sticky.by`; what lies behind the
    /// end is `None`.
    pub values: &'c [Option<ValueKey>],
}

/// What a request wants of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To start a session: a WebSocket upgrade without sid, or an Engine.IO request without sid. Nothing else is placed anew.
    Start,
    /// An answer.
    Plain,
    /// It has a sid: to go on with its session.
    Session(Sid),
}

/// What is known of a request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sid {
    /// Nothing: invented, forgotten, or begun through another proxy.
    Unknown,
    /// It lives at this instance.
    At(usize),
    /// It lived at an instance that was removed.
    Gone,
}

/// What a client's cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Nothing that counts.
    None,
    /// It is bound to an instance that was removed.
    Removed,
    /// It is bound to this one.
    To(usize),
}

/// The policy of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'c> {
    /// `sticky.by`
    pub by: &'c [StickyKey],
    /// `sticky.ip_hash`
    pub ip_hash: IpHash,
    /// `sticky.on_down`
    pub on_down: OnDown,
    /// `balance`
    pub balance: Balance,
}

/// Where the client goes, or what it gets instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To an instance.
    To(Choice),
    /// Its session's instance is gone. No other knows the session, so the client must be told that it is unknown.
    SessionGone,
    /// Its instance is down, and `on_down = "fail"`: 503.
    Fail,
    /// No instance may take it: 503.
    Nowhere,
}

/// Where the client goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index of the instance.
    pub instance: usize,
    /// What decided.
    pub by: By,
    /// Why it is not the instance that the client's cookie names, when the cookie was asked.
    pub rebind: Option<Passed>,
}

/// What decided: the values of `stickyd_sticky_decisions_total{by}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A known session.
    Sid,
    /// The cookie's binding.
    Cookie,
    /// The address.
    IpHash,
    /// A header's value.
    Header,
    /// A parameter's value.
    Query,
    /// `balance`: no key placed the client.
    Balance,
}

/// Why a client is not let in where it is bound: the values of `stickyd_sticky_rebinds_total{reason}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The instance was removed.
    Removed,
    /// It is down, or could not be reached.
    Down,
    /// It is draining.
    Drain,
    /// It holds as many tunnels as it may.
    Full,
    /// It is in maintenance.
    Maintenance,
    /// The client was moved away from it and must rest.
    Moved,
}

/// What one key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To this instance.
    Goes(usize),
    /// It names an instance that the client may not use; the next key decides.
    Passed(Passed),
    /// Nothing; the next key decides.
    Silent(Silence),
    /// The session's instance is gone.
    Ended,
    /// It names this instance, which is down, and `on_down = "fail"`.
    Failed(usize),
}

/// Why a key says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The request is of no session.
    NoSession,
    /// Of one that is not known here.
    UnknownSession,
    /// There is no cookie that counts.
    NoCookie,
    /// The header or the parameter is missing or empty.
    NoValue,
    /// No instance may be chosen.
    Nobody,
    /// nginx's algorithm found none that may be used in 21 tries.
    GaveUp,
}

impl Need {
    /// Of a request. `session`: what is known of its sid, if it has one; `upgrades`: it is a handshake; `polls`: it is a GET of
    /// Engine.IO's polling transport.
    pub fn of(session: Option<Sid>, upgrades: bool, polls: bool) -> Self {
        match session {
            Some(sid) => Need::Session(sid),
            None if upgrades || polls => Need::Start,
            None => Need::Plain,
        }
    }
}

impl By {
    /// The metric label and the access log's `sticky_key`.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Sid => "sid",
            By::Cookie => "cookie",
            By::IpHash => "ip_hash",
            By::Header => "header",
            By::Query => "query",
            By::Balance => "balance",
        }
    }

    fn of(key: &StickyKey) -> Self {
        match key {
            StickyKey::Sid => By::Sid,
            StickyKey::Cookie => By::Cookie,
            StickyKey::IpHash => By::IpHash,
            StickyKey::Header(_) => By::Header,
            StickyKey::Query(_) => By::Query,
        }
    }
}

impl<'c> Policy<'c> {
    /// What the file says of an upstream.
    pub fn of(upstream: &'c model::Upstream) -> Self {
        let sticky = &upstream.sticky;
        Policy { by: &sticky.by, ip_hash: sticky.ip_hash, on_down: sticky.on_down, balance: upstream.balance }
    }

    /// Whether [`Candidate::load`] can decide for such a request: it lies in memory that all workers write to, so nobody should
    /// look at it for nothing.
    pub fn looks_at_loads(self, need: Need) -> bool {
        let bound = match self.ip_hash {
            _ if !self.by.contains(&StickyKey::IpHash) => None,
            IpHash::Nginx => None,
            IpHash::Rendezvous { bound, .. } => Some(bound),
        };
        match bound {
            // Rendezvous hashing chooses whenever there is somebody to choose, so `balance` is never asked.
            Some(bound) => bound.is_some() && need == Need::Start,
            None => self.balance == Balance::LeastTunnels,
        }
    }
}

/// Places a client: the keys in their order, then `balance`.
///
/// `number` is called at most once, when `balance` decides: for `round_robin` it counts up by one with every call, otherwise it is
/// random.
pub fn pick(
    policy: Policy<'_>,
    client: Client<'_>,
    candidates: &[Candidate],
    number: impl FnOnce(Balance) -> u64,
) -> Outcome {
    let mut passed = None;
    let to = |instance, by, passed: Option<Passed>| {
        // Whoever was moved away from the only instance that is left goes back there, and that is no rebinding.
        let rebind = passed.filter(|_| client.cookie != Cookie::To(instance));
        Outcome::To(Choice { instance, by, rebind })
    };
    for (place, key) in policy.by.iter().enumerate() {
        match consider(policy, client, candidates, place) {
            Verdict::Goes(instance) => return to(instance, By::of(key), passed),
            Verdict::Passed(why) => passed = Some(why),
            Verdict::Silent(_) => {}
            Verdict::Ended => return Outcome::SessionGone,
            Verdict::Failed(_) => return Outcome::Fail,
        }
    }
    let balanced = Eligible::of(candidates, client.need, false)
        .and_then(|eligible| balance::choose(policy.balance, eligible, number(policy.balance)));
    balanced.map_or(Outcome::Nowhere, |instance| to(instance, By::Balance, passed))
}

/// The instances among which a hash or `balance` chooses for such a request.
pub fn among(need: Need, candidates: &[Candidate]) -> Vec<usize> {
    let eligible = Eligible::of(candidates, need, false);
    eligible.map(|eligible| eligible.iter().map(|(index, _)| index).collect()).unwrap_or_default()
}

/// What the key at `place` in `sticky.by` says of this client.
///
/// # Panics
/// When there is no such place.
pub fn consider(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate], place: usize) -> Verdict {
    match &policy.by[place] {
        StickyKey::Sid => by_sid(client.need, candidates),
        StickyKey::Cookie => by_cookie(policy, client, candidates),
        StickyKey::IpHash => hashed::by_address(policy, client, candidates),
        StickyKey::Header(_) | StickyKey::Query(_) => match client.values.get(place).copied().flatten() {
            Some(value) => hashed::by_value(policy, client.need, value, candidates),
            None => Verdict::Silent(Silence::NoValue),
        },
    }
}

/// A session cannot be had anywhere else: there, or nowhere.
fn by_sid(need: Need, candidates: &[Candidate]) -> Verdict {
    match need {
        Need::Start | Need::Plain => Verdict::Silent(Silence::NoSession),
        Need::Session(Sid::Unknown) => Verdict::Silent(Silence::UnknownSession),
        Need::Session(Sid::Gone) => Verdict::Ended,
        Need::Session(Sid::At(instance)) => match candidates.get(instance) {
            Some(candidate) if candidate.opening(need) >= Opening::Held => Verdict::Goes(instance),
            _ => Verdict::Ended,
        },
    }
}

fn by_cookie(policy: Policy<'_>, client: Client<'_>, candidates: &[Candidate]) -> Verdict {
    let instance = match client.cookie {
        Cookie::None => return Verdict::Silent(Silence::NoCookie),
        Cookie::Removed => return Verdict::Passed(Passed::Removed),
        Cookie::To(instance) => instance,
    };
    let Some(candidate) = candidates.get(instance) else { return Verdict::Passed(Passed::Removed) };
    match candidate.refuses_bound(client.need) {
        None => Verdict::Goes(instance),
        Some(Passed::Down) if policy.on_down == OnDown::Fail => Verdict::Failed(instance),
        Some(why) => Verdict::Passed(why),
    }
}
