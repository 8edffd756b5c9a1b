//! What was found, in words.

use std::fmt;

use super::{Carried, Explanation, Facts, KeySays, Member, Placed, RouteTaken};
use crate::affinity::ClientKey;
use crate::affinity::cookie::Rejected;
use crate::config::model::{Balance, HostPattern, Instance, IpHash, PathPattern, Route, StickyKey};
use crate::routing::explain::{self, Said};
use crate::routing::pick::{By, Choice, Cookie, Need, Outcome, Passed, Silence, Verdict};

pub(super) fn refused(why: &'static str, text: String) -> Placed {
    Placed { refused: Some(why), text, ..Placed::default() }
}

/// Of an upstream that expands this name.
pub(super) fn unknown(name: &str) -> Placed {
    let text = format!(
        "only the running process knows: each address of {name} is an instance of its own (expand), and nothing is looked up here"
    );
    refused("unknown", text)
}

pub(super) fn route(routes: &[Route], index: usize) -> RouteTaken {
    let Route { host, path, .. } = &routes[index];
    RouteTaken {
        number: index + 1,
        of: routes.len(),
        host: match host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Suffix(suffix) => format!("*{suffix}"),
        },
        path: match path {
            PathPattern::Any => "*".to_owned(),
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(prefix) => format!("{prefix}/*"),
        },
    }
}

pub(super) fn member(instance: &Instance) -> Member {
    Member {
        name: instance.name.clone(),
        state: instance.state.as_str(),
        weight: instance.weight,
        backup: instance.backup,
        now: None,
    }
}

fn passed(why: Passed) -> (&'static str, &'static str) {
    match why {
        Passed::Removed => ("removed", "which is no longer in the file"),
        Passed::Down => ("down", "which is down"),
        Passed::Drain => ("drain", "which is draining: its clients leave it at their next session start"),
        Passed::Full => ("full", "which has as many tunnels as it may"),
        Passed::Maintenance => ("maintenance", "which is in maintenance"),
        Passed::Moved => ("moved", "which it was moved away from"),
    }
}

impl Facts<'_> {
    fn name(&self, instance: usize) -> String {
        self.names[instance].clone()
    }

    /// What one key says.
    pub(super) fn key(&self, key: &StickyKey, said: &Said) -> KeySays {
        let (does, reason) = match said.verdict {
            Verdict::Goes(_) => ("decides", None),
            Verdict::Passed(why) => ("passed_over", Some(passed(why).0)),
            Verdict::Silent(silence) => ("silent", Some(self.silence(silence))),
            Verdict::Ended => ("ends", Some("session_gone")),
            Verdict::Failed(_) => ("fails", Some("down")),
        };
        let named = match (key, said.verdict) {
            (_, Verdict::Goes(instance) | Verdict::Failed(instance)) => Some(instance),
            (StickyKey::Cookie, _) => match self.cookie {
                Cookie::To(instance) => Some(instance),
                Cookie::None | Cookie::Removed => None,
            },
            _ => None,
        };
        let of_cookie = |issued: Option<u64>| issued.filter(|_| *key == StickyKey::Cookie);
        let (issued, binding) = match &self.carried {
            Carried::Bound { binding, .. } => {
                (of_cookie(Some(binding.issued)), Some(hexadecimal(binding.id)))
            }
            Carried::Ignored { issued, .. } => (of_cookie(*issued), None),
            Carried::Nothing | Carried::NoSecret => (None, None),
        };
        KeySays {
            key: key.name(),
            does,
            asked: said.asked,
            reason,
            instance: named.map(|instance| self.name(instance)),
            order: said.order.iter().map(|instance| self.name(*instance)).collect(),
            client_key: (*key == StickyKey::IpHash).then(|| self.client_key()),
            issued,
            binding: binding.filter(|_| *key == StickyKey::Cookie),
            text: self.key_text(key, said),
        }
    }

    fn silence(&self, silence: Silence) -> &'static str {
        match (silence, &self.carried) {
            (Silence::NoCookie, Carried::NoSecret) => "no_secret",
            (Silence::NoCookie, Carried::Ignored { why, .. }) => match why {
                Rejected::Expired => "expired",
                Rejected::Forged => "forged",
                Rejected::Foreign => "foreign",
                Rejected::Version => "version",
            },
            (Silence::NoCookie, _) => "no_cookie",
            (Silence::NoSession, _) => "no_session",
            (Silence::UnknownSession, _) => "unknown_session",
            (Silence::NoValue, _) => "no_value",
            (Silence::Nobody, _) => "nobody",
            (Silence::GaveUp, _) => "gave_up",
        }
    }

    fn key_text(&self, key: &StickyKey, said: &Said) -> String {
        let order =
            || said.order.iter().map(|instance| self.name(*instance)).collect::<Vec<_>>().join(", then ");
        match (key, said.verdict) {
            (_, Verdict::Silent(Silence::NoSession)) if self.engine_io => "the request has no sid".to_owned(),
            (_, Verdict::Silent(Silence::NoSession)) => {
                format!("{} is no request of Engine.IO (engine_io_path, with a query)", self.path)
            }
            (_, Verdict::Silent(Silence::UnknownSession)) if self.live => {
                "not known: ended, forgotten, invented, or begun through another proxy".to_owned()
            }
            (_, Verdict::Silent(Silence::UnknownSession)) => {
                "not known here: only the running proxy knows sessions".to_owned()
            }
            (_, Verdict::Silent(Silence::NoValue)) => "the request has none".to_owned(),
            (_, Verdict::Silent(Silence::Nobody)) => "no instance may take such a client".to_owned(),
            (_, Verdict::Silent(Silence::GaveUp)) => {
                "nginx's algorithm gives up: 21 tries led to none that may be used".to_owned()
            }
            (_, Verdict::Ended) => "its instance is gone".to_owned(),
            (_, Verdict::Failed(instance)) => format!("names {}, which is down", self.name(instance)),
            (StickyKey::Cookie, verdict) => self.cookie_text(verdict),
            (StickyKey::Sid, Verdict::Goes(instance)) => {
                format!("its session lives at {}", self.name(instance))
            }
            (StickyKey::IpHash, _) => format!("{} hashes to {}", self.client_key(), order()),
            (_, _) => format!("its value hashes to {}", order()),
        }
    }

    fn cookie_text(&self, verdict: Verdict) -> String {
        let cookie = &self.upstream.sticky.cookie;
        match &self.carried {
            Carried::Nothing => format!("the request has no cookie {}", cookie.name),
            Carried::NoSecret => {
                "cannot be opened: secret_file is \"auto\", and the state directory of who asks has no secret"
                    .to_owned()
            }
            Carried::Ignored { why, issued, sealed_by, ours } => match why {
                Rejected::Expired => match issued.filter(|issued| *issued <= self.now) {
                    Some(issued) => format!(
                        "ignored, expired: issued {} ago, ttl is {}",
                        span(self.now - issued),
                        span(cookie.ttl.as_secs())
                    ),
                    None => "ignored, expired: issued in the future, so a clock is wrong".to_owned(),
                },
                Rejected::Forged => {
                    "ignored, forged: not sealed by this upstream's secret for this upstream, or not whole"
                        .to_owned()
                }
                Rejected::Foreign => format!(
                    "ignored, foreign: sealed by secret {}, and ours is {ours}",
                    sealed_by.as_deref().unwrap_or("?")
                ),
                Rejected::Version => "ignored, version: sealed by a newer stickyd".to_owned(),
            },
            Carried::Bound { binding, instance } => {
                let named = instance.map_or_else(|| "an instance".to_owned(), |instance| self.name(instance));
                let but = match verdict {
                    Verdict::Passed(why) => format!(", {}", passed(why).1),
                    _ => String::new(),
                };
                let age = self.now.saturating_sub(binding.issued);
                let id = hexadecimal(binding.id);
                format!("names {named}{but}; issued {} ago, binding {id}", span(age))
            }
        }
    }

    fn client_key(&self) -> String {
        match self.upstream.sticky.ip_hash {
            IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, .. } => {
                let ClientKey(address) = ClientKey::of(self.address, ipv4_prefix, ipv6_prefix);
                let (prefix, all) = if address.is_ipv4() { (ipv4_prefix, 32) } else { (ipv6_prefix, 128) };
                if prefix == all { address.to_string() } else { format!("{address}/{prefix}") }
            }
            IpHash::Nginx => match self.address.to_canonical() {
                address if address.is_ipv4() => format!("{}/24", ClientKey::of(address, 24, 64).0),
                address => address.to_string(),
            },
        }
    }

    /// Where the client goes.
    pub(super) fn placed(&self, placed: &explain::Placed) -> Placed {
        let Choice { instance, by, rebind } = match placed.outcome {
            Outcome::To(choice) => choice,
            Outcome::SessionGone => {
                let text = "to none: its session is gone, and it is told to begin a new one";
                return refused("session_gone", text.to_owned());
            }
            Outcome::Fail => {
                let text = "to none: on_down is \"fail\", and the instance that it belongs to is down";
                return refused("fail", text.to_owned());
            }
            Outcome::Nowhere => return refused("nowhere", "to none: no instance may take it".to_owned()),
        };
        let among: Vec<String> = placed.among.iter().map(|instance| self.name(*instance)).collect();
        let (name, text) = match (by, among.as_slice()) {
            (By::Balance, several @ [_, _, ..]) => {
                (None, format!("{}, by {}", several.join(" or "), self.balance()))
            }
            (By::Balance, _) => {
                (Some(self.name(instance)), format!("{}, the only one left", self.name(instance)))
            }
            _ => (Some(self.name(instance)), format!("{}, by {}", self.name(instance), by.as_str())),
        };
        let sets_cookie = self.sets_cookie(instance);
        let rebind = rebind.map(|why| passed(why).0);
        let after = match (rebind, sets_cookie) {
            (Some(why), true) => format!("; its cookie is replaced ({why})"),
            (Some(why), false) => format!("; its cookie names another ({why})"),
            (None, true) => "; a cookie is set".to_owned(),
            (None, false) => String::new(),
        };
        let text = format!("{text}{after}");
        Placed { instance: name, by: Some(by.as_str()), among, rebind, sets_cookie, refused: None, text }
    }

    /// Anew for who starts a session or has none, and when half of its time is over.
    fn sets_cookie(&self, instance: usize) -> bool {
        let ttl = self.upstream.sticky.cookie.ttl.as_secs();
        let sets = match &self.carried {
            Carried::Bound { binding, instance: Some(bound) } if *bound == instance => {
                binding.is_past_half(self.now, ttl)
            }
            _ => !matches!(self.need, Need::Session(_)),
        };
        sets && self.upstream.sticky.by.contains(&StickyKey::Cookie)
    }

    fn balance(&self) -> &'static str {
        match self.upstream.balance {
            Balance::LeastTunnels => "balance: whichever of two drawn carries less",
            Balance::RoundRobin => "balance: each in turn",
            Balance::Random => "balance: at random",
        }
    }

    /// What the file cannot tell.
    pub(super) fn assumed(&self) -> Vec<String> {
        let mut assumed =
            vec!["every instance is up".to_owned(), "the client was not moved away lately".to_owned()];
        if self.need == Need::Start
            && self.upstream.instances.iter().any(|instance| instance.max_tunnels.is_some())
        {
            assumed.push("no instance is full (max_tunnels)".to_owned());
        }
        let bounded = matches!(self.upstream.sticky.ip_hash, IpHash::Rendezvous { bound: Some(_), .. });
        if self.need == Need::Start && bounded && self.upstream.sticky.by.contains(&StickyKey::IpHash) {
            assumed.push("no instance is crowded (ip_hash.bound)".to_owned());
        }
        assumed
    }
}

fn hexadecimal(id: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(id))
}

/// The two largest units of a time: `2d 4h`, `3h 12m`, `45s`.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || parts.is_empty() {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

impl fmt::Display for Explanation {
    /// A line for each thing, the values below each other; ends with a newline.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wants = match self.wants {
            "start" => "a session start",
            "session" => "of a session",
            _ => "a plain request",
        };
        let assumed = if self.host_is_assumed { " (assumed)" } else { "" };
        writeln!(out, "client     {}", self.client)?;
        writeln!(out, "request    {}, {wants}, on host {}{assumed}", self.path, self.host)?;
        if let Some(RouteTaken { number, of, host, path }) = &self.route {
            writeln!(out, "route      {number} of {of}: host {host}, path {path}")?;
        }
        if let Some(upstream) = &self.upstream {
            let instances: Vec<String> = self.instances.iter().map(ToString::to_string).collect();
            writeln!(out, "upstream   {upstream}: {}", instances.join(", "))?;
        }
        let width = self.keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
        for KeySays { key, does, asked, text, .. } in &self.keys {
            let does = if *asked { does.replace('_', " ") } else { "not asked".to_owned() };
            writeln!(out, "  {key:width$}  {does:11}  {text}")?;
        }
        writeln!(out, "goes to    {}", self.result.text)?;
        if let Some(next) = &self.if_down {
            writeln!(out, "if down    {}", next.text)?;
        }
        if !self.assumed.is_empty() {
            writeln!(out, "assumed    {}", self.assumed.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        let mut notes = Vec::new();
        if self.state != "ready" {
            notes.push(self.state.to_owned());
        }
        if self.weight != 1 {
            notes.push(format!("weight {}", self.weight));
        }
        if self.backup {
            notes.push("backup".to_owned());
        }
        if let Some(now) = &self.now {
            match (now.health, now.evidence.as_str()) {
                ("up", _) => {}
                (health, "") => notes.push(health.to_owned()),
                (health, evidence) => notes.push(format!("{health}: {evidence}")),
            }
            if now.share < 100 {
                notes.push(format!("{} % of its share", now.share));
            }
            let of_client = [(now.full, "full"), (now.away, "the client rests from it")];
            notes.extend(of_client.iter().filter(|(is_so, _)| *is_so).map(|(_, what)| (*what).to_owned()));
        }
        if notes.is_empty() { Ok(()) } else { write!(out, " ({})", notes.join(", ")) }
    }
}
