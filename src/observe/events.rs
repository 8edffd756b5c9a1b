//! What an on-call person asks about afterwards: the last few thousand things that happened, kept in the process.
//!
//! An event is a line of the log whose target is one of the constants here: one call says it to the log and keeps it, whatever
//! `log.level` shows. Bounded; of what was overwritten the number is known. Like the log it belongs to the process.
//!
//! Must not: hear of single requests or clients (they would wash out everything else).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer};

use super::access_log::time::Stamp;

/// Events that are kept; the oldest makes room.
pub const KEPT: usize = 4096;

/// Bytes of a text that are kept.
const TEXT_MAX: usize = 2048;

/// Before the kind in a target.
const PREFIX: &str = "stickyd::event::";

/// Defines the targets, and the list of all kinds.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $kind:literal,)+) => {
        $($(#[$doc])* pub const $name: &str = concat!("stickyd::event::", $kind);)+

        /// Every kind.
        pub const KINDS: &[&str] = &[$($kind,)+];
    };
}

kinds! {
    /// The process serves.
    START = "start",
    /// It stops.
    STOP = "stop",
    /// It leaves a balancer's rotation, or returns to it.
    RETIRE = "retire",
    /// Another configuration is in force.
    RELOAD = "reload",
    /// One was refused, or cannot be read.
    REFUSAL = "refusal",
    /// The checks of an instance pass.
    UP = "up",
    /// They are answered with an error, or late.
    DEGRADED = "degraded",
    /// They are not answered.
    DOWN = "down",
    /// So few instances pass that checks are not believed, or enough again.
    PANIC = "panic",
    /// Something else is wanted of an instance: cordon, drain, maintain, ready.
    STATE = "state",
    /// An instance that was emptied is empty, or the time for that is over.
    DRAINED = "drained",
    /// Bound clients were given another instance: so many within some seconds.
    REBIND = "rebind",
    /// Clients are moved to instances that carry less.
    REBALANCE = "rebalance",
    /// A limit was hit.
    LIMIT = "limit",
    /// A name has other addresses, or cannot be looked up.
    NAME = "name",
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 1, within the process.
    pub seq: u64,
    /// Seconds since the epoch.
    pub at: u64,
    /// The same as RFC 3339 has it, in UTC with milliseconds.
    pub time: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// `info`, `warn`, `error`
    pub level: String,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Of that upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What; may have several lines.
    pub text: String,
    /// The rest, by the names that the log has too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

/// Some events, and where they stand among all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Excerpt {
    /// Those that were asked for, in order.
    pub events: Vec<Event>,
    /// The number of the last that there is; 0: there is none.
    pub last: u64,
    /// So many have been overwritten since the process began.
    pub overwritten: u64,
}

/// What is kept.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Kept>,
    /// The number of the last one.
    last: u64,
}

/// An event as it is kept: as JSON, which is a third of it.
#[derive(Debug)]
struct Kept {
    seq: u64,
    at: u64,
    json: Box<str>,
}

impl Kept {
    fn of(event: &Event) -> Self {
        let json = serde_json::to_string(event).unwrap_or_default().into_boxed_str();
        Kept { seq: event.seq, at: event.at, json }
    }
}

static RING: Mutex<Ring> = Mutex::new(Ring { events: VecDeque::new(), last: 0 });

/// Events behind the one with number `seq` that did not happen before `since` (seconds since the epoch).
pub fn after(seq: u64, since: u64) -> Excerpt {
    lock(&RING).after(seq, since)
}

impl Ring {
    fn push(&mut self, mut event: Event) {
        self.last += 1;
        event.seq = self.last;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Kept::of(&event));
    }

    fn after(&self, seq: u64, since: u64) -> Excerpt {
        let wanted = self.events.iter().filter(|kept| kept.seq > seq && kept.at >= since);
        Excerpt {
            events: wanted.filter_map(|kept| serde_json::from_str(&kept.json).ok()).collect(),
            last: self.last,
            overwritten: self.events.front().map_or(0, |first| first.seq - 1),
        }
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    // Whoever panicked while it was held has left whole events.
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the lines of the log that are events.
#[derive(Debug)]
pub(super) struct Keep {
    ring: &'static Mutex<Ring>,
    now: fn() -> SystemTime,
}

impl Keep {
    /// Of this process; with its filter, which is decided once for each place that logs.
    pub(super) fn layer<S>(now: fn() -> SystemTime) -> impl Layer<S>
    where
        S: Subscriber + for<'l> tracing_subscriber::registry::LookupSpan<'l>,
    {
        Keep { ring: &RING, now }.with_filter(is_event())
    }
}

fn is_event() -> FilterFn {
    let is_event = |metadata: &Metadata<'_>| metadata.target().starts_with(PREFIX);
    filter_fn(is_event as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(kind) = metadata.target().strip_prefix(PREFIX) else { return };
        let mut said = Said::default();
        event.record(&mut said);
        let now = (self.now)();
        let mut time = Vec::with_capacity(24);
        Stamp::new().iso(now, &mut time);
        let Said { text, upstream, instance, details } = said;
        lock(self.ring).push(Event {
            seq: 0,
            at: now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            time: String::from_utf8_lossy(&time).into_owned(),
            kind: kind.to_owned(),
            level: metadata.level().as_str().to_ascii_lowercase(),
            upstream,
            instance,
            text,
            details,
        });
    }
}

/// What a line says.
#[derive(Debug, Default)]
struct Said {
    text: String,
    upstream: Option<String>,
    instance: Option<String>,
    details: BTreeMap<String, Value>,
}

impl Said {
    fn value(&mut self, field: &Field, value: Value) {
        self.details.insert(field.name().to_owned(), value);
    }

    fn text(&mut self, field: &Field, text: String) {
        let text = cut(text);
        match field.name() {
            "message" => self.text = text,
            "upstream" => self.upstream = Some(text),
            "instance" => self.instance = Some(text),
            _ => self.value(field, text.into()),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value.into());
    }
}

/// No longer than is kept.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_521_784_005)
    }

    fn kept(say: impl FnOnce()) -> Vec<Event> {
        let ring: &'static Mutex<Ring> =
            Box::leak(Box::new(Mutex::new(Ring { events: VecDeque::new(), last: 0 })));
        let subscriber = tracing_subscriber::registry().with(Keep { ring, now }.with_filter(is_event()));
        tracing::subscriber::with_default(subscriber, say);
        lock(ring).after(0, 0).events
    }

    #[test]
    fn a_line_that_is_an_event_is_kept_and_no_other() {
        let events = kept(|| {
            tracing::info!("no event");
            tracing::warn!(target: DOWN, upstream = "app", instance = "blue", evidence = "refused", "it is {}", "down");
            tracing::debug!(target: DOWN, "not said in general");
            tracing::error!(target: REFUSAL, count = 3_u64, state = ?Some(1), "no");
        });
        let [down, refusal] = &events[..] else { panic!("{events:#?}") };
        assert_eq!((down.seq, down.kind.as_str(), down.level.as_str()), (1, "down", "warn"));
        assert_eq!((down.upstream.as_deref(), down.instance.as_deref()), (Some("app"), Some("blue")));
        assert_eq!((down.text.as_str(), &down.details["evidence"]), ("it is down", &"refused".into()));
        assert_eq!((down.at, down.time.as_str()), (1_795_521_784, "2026-11-24T12:03:04.005Z"));
        assert_eq!((&refusal.details["count"], &refusal.details["state"]), (&3.into(), &"Some(1)".into()));
        assert!(KINDS.iter().all(|kind| !kind.contains(':')) && KINDS.contains(&"down"));
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let events = kept(|| {
            for number in 0..KEPT as u64 + 5 {
                tracing::info!(target: START, number, "{}", "\u{e4}".repeat(TEXT_MAX));
            }
        });
        assert_eq!((events.len(), events[0].seq, &events[0].details["number"]), (KEPT, 6, &5.into()));
        assert!(events[0].text.len() <= TEXT_MAX + 4 && events[0].text.ends_with("\u{e4} ..."));
        let mut ring = Ring { events: events.iter().map(Kept::of).collect(), last: 4101 };
        let excerpt = ring.after(4100, 0);
        assert_eq!((excerpt.events.len(), excerpt.last, excerpt.overwritten), (1, 4101, 5));
        let at = excerpt.events[0].at;
        assert_eq!(ring.after(0, at + 1).events.len(), 0);
        ring.events.clear();
        assert_eq!(ring.after(0, 0).overwritten, 0);
    }
}
