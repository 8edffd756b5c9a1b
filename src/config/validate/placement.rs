//! What an upstream says of where its clients go, where one part of it takes the effect of another.
//!
//! All of it can be run on, so all of it is warnings.

use std::ops::Range;

use super::super::model::{InstanceState, IpHash, StickyKey, Upstream};
use super::super::raw::Table;
use super::super::report::Problem;

/// Headers that are poor keys: why, and what was meant.
const POOR_HEADERS: &[(&str, &str, &str)] = &[
    ("cookie", "is another with every cookie of the page", "write \"cookie\", stickyd's own, or take it out"),
    ("x-forwarded-for", CLAIM, ADDRESS),
    ("x-real-ip", CLAIM, ADDRESS),
    ("forwarded", CLAIM, ADDRESS),
    ("x-request-id", "is another in every request", "take it out"),
    ("sec-websocket-key", "is another in every request", "take it out"),
];
const CLAIM: &str = "is what any client claims";
const ADDRESS: &str = "write \"ip_hash\": trusted_proxies says whose word on the address is believed";

/// Parameters that Engine.IO writes itself: they tell requests apart, not clients.
const OF_ENGINE_IO: &[&str] = &["EIO", "transport", "t", "j", "b64", "sid"];

/// `keys`: where the document has the keys of `sticky.by`; empty when it leaves them to the default. `max_skew`: where it has that of
/// `rebalance`.
pub(super) fn check(
    table: &Table<'_>,
    upstream: &Upstream,
    keys: &[Range<usize>],
    max_skew: Option<&Range<usize>>,
) {
    let note = Note { table, by: format!("`{}.sticky.by`", table.name()) };
    order(&note, upstream, keys);
    fields(&note, upstream, keys);
    balance(&note, upstream);
    instances(&note, upstream);
    rebalance(&note, upstream, max_skew);
}

/// Where warnings go, and what they call `sticky.by`.
struct Note<'n, 'd> {
    table: &'n Table<'d>,
    by: String,
}

impl Note<'_, '_> {
    fn warn(&self, span: &Range<usize>, title: impl Into<String>, label: impl Into<String>) {
        self.table.walk().report_if_whole(Problem::warning(span.clone(), title, label));
    }
}

/// Keys that come too late or have nothing to look at.
fn order(note: &Note<'_, '_>, upstream: &Upstream, keys: &[Range<usize>]) {
    let by = &note.by;
    let place = |key: &StickyKey| {
        let index = upstream.sticky.by.iter().position(|other| other == key)?;
        Some((index, keys.get(index)?))
    };
    let (address, sid) = (place(&StickyKey::IpHash), place(&StickyKey::Sid));
    if let Some((index, span)) = address
        && index + 1 < keys.len()
    {
        let title = format!("what stands behind \"ip_hash\" in {by} is never asked: it places every client");
        note.warn(span, title, "move it to the end, or take out what stands behind it");
    }
    match sid {
        Some((_, span)) if upstream.engine_io_paths.is_empty() => {
            let title = format!("\"sid\" in {by} has no effect: `engine_io_path` is \"off\"");
            note.warn(span, title, "take it out, or say where Engine.IO is spoken");
        }
        Some((index @ 1.., span)) if address.is_none_or(|(other, _)| other > index) => {
            let title =
                format!("what stands before \"sid\" in {by} may take running sessions from their instance");
            note.warn(span, title, "move it to the front");
        }
        _ => {}
    }
}

/// Headers and parameters that do not tell clients apart.
fn fields(note: &Note<'_, '_>, upstream: &Upstream, keys: &[Range<usize>]) {
    for (key, span) in upstream.sticky.by.iter().zip(keys) {
        let poor = match key {
            StickyKey::Header(name) => POOR_HEADERS.iter().find(|(header, ..)| header == name),
            StickyKey::Query(name) if upstream.engine_io_paths.is_empty() => continue,
            StickyKey::Query(name) if name == "sid" => {
                Some(&("", "would look for a session where its hash points", "write \"sid\": it is learned"))
            }
            StickyKey::Query(name) if OF_ENGINE_IO.contains(&name.as_str()) => {
                Some(&("", "is Engine.IO's own and says nothing of a client", "take it out"))
            }
            _ => None,
        };
        if let Some((_, why, label)) = poor {
            note.warn(span, format!("\"{}\" in {} {why}", key.name(), note.by), *label);
        }
    }
}

fn balance(note: &Note<'_, '_>, upstream: &Upstream) {
    let span = note.table.key_span("balance");
    if let (true, Some(span)) = (upstream.sticky.by.contains(&StickyKey::IpHash), span) {
        let title = format!(
            "`{}.balance` is for clients that no key of sticky.by places: ip_hash places all",
            note.table.name()
        );
        note.warn(&span, title, "delete this line, or take \"ip_hash\" out of sticky.by");
    }
}

/// Instances of which none does its part.
fn instances(note: &Note<'_, '_>, upstream: &Upstream) {
    let Some(span) = note.table.key_span("instances").filter(|_| !upstream.instances.is_empty()) else {
        return;
    };
    let name = note.table.name();
    if upstream.instances.iter().all(|instance| instance.state != InstanceState::Ready) {
        let title = format!("no instance of `{name}` takes new clients: each gets 503");
        note.warn(&span, title, "write state = \"ready\" in one, or delete its state");
    }
    if upstream.instances.iter().all(|instance| instance.backup) {
        let title = format!("every instance of `{name}` is a backup: that is as if none were");
        note.warn(&span, title, "delete backup = true in those that are to take clients first");
    }
}

/// Keys that place a client that is moved wherever they point, be that full or not.
fn rebalance(note: &Note<'_, '_>, upstream: &Upstream, span: Option<&Range<usize>>) {
    let (Some(max_skew), Some(span)) = (upstream.rebalance.max_skew, span) else { return };
    let hashes = |key: &&StickyKey| !matches!(key, StickyKey::Sid | StickyKey::Cookie);
    let Some(key) = upstream.sticky.by.iter().find(hashes) else { return };
    let label = match (key, upstream.sticky.ip_hash) {
        (StickyKey::IpHash, IpHash::Rendezvous { bound: Some(bound), .. }) if bound <= max_skew => return,
        (StickyKey::IpHash, IpHash::Rendezvous { bound: Some(_), .. }) => {
            let title = "`sticky.ip_hash.bound` lets instances carry more than this: they would be filled as they are emptied";
            return note.warn(span, title, "write a number that is not smaller than the bound");
        }
        (StickyKey::IpHash, IpHash::Rendezvous { bound: None, .. }) => {
            "add sticky.ip_hash.bound = 1.25, or take \"ip_hash\" out of sticky.by"
        }
        _ => "more clients are moved than would have to be; \"off\" moves none",
    };
    let title = format!(
        "\"{}\" in {} sends a client that is moved to the next instance of its hash, whatever that carries",
        key.name(),
        note.by
    );
    note.warn(span, title, label);
}
