//! Where events are kept: in this process, or in Redis.
//!
//! | in Redis | what |
//! | --- | --- |
//! | channel `notifications` | every event, when it happens; others may publish there too |
//! | stream `notifications-stream` | what `/notify` was told, capped; field `event` |

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use redis::{RedisError, Script, Value};

use super::event::{Event, Id, published};
use crate::app::bus::redis::Commands;
use crate::app::bus::{Away, Bus, Pending};
use crate::app::clock;
use crate::app::shared::{Link, StoreLink};

/// The channel on which events are published.
pub const CHANNEL: &str = "notifications";

/// The stream in which they are kept.
const STREAM: &str = "notifications-stream";

/// Events that are read at once.
const PAGE: usize = 256;

/// Events that were read at once.
#[derive(Debug)]
pub struct Page {
    /// In their order.
    pub events: Vec<Event>,
    /// Where the next page begins, where there may be one.
    pub more: Option<Id>,
}

impl Page {
    fn of(found: &[(Id, String)]) -> Self {
        let more = if found.len() < PAGE { None } else { found.last().map(|(id, _)| *id) };
        // What others have put into the stream may be no event.
        Self { events: found.iter().filter_map(|(id, text)| Event::stored(*id, text)).collect(), more }
    }
}

/// Where events are kept.
pub trait Store: Send + Sync + 'static {
    /// Keeps an event (a JSON object on one line) and publishes it, so that whoever reads along hears all of them in order.
    fn add<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Id, Away>>;

    /// The first events after `id`.
    fn since(&self, id: Id) -> Pending<'_, Result<Page, Away>>;

    /// The id of the newest event; zero where there was none.
    fn newest(&self) -> Pending<'_, Result<Id, Away>>;
}

/// The store of what the instances share; keeps `cap` events.
pub fn of(link: &Link, cap: usize) -> Arc<dyn Store> {
    match link.store() {
        StoreLink::Memory(hub) => Arc::new(InProcess { kept: hub.slot(), bus: link.bus().clone(), cap }),
        StoreLink::Redis(commands) => Arc::new(InRedis { commands: commands.clone(), cap }),
    }
}

#[derive(Default)]
struct Kept {
    events: VecDeque<(Id, String)>,
    newest: Id,
}

struct InProcess {
    kept: Arc<Mutex<Kept>>,
    bus: Arc<dyn Bus>,
    cap: usize,
}

impl InProcess {
    fn with<T: Send + 'static>(&self, ask: impl FnOnce(&mut Kept) -> T) -> Pending<'_, Result<T, Away>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(std::future::ready(Ok(ask(&mut kept))))
    }
}

impl Store for InProcess {
    fn add<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Id, Away>> {
        self.with(|kept| {
            let (after, millis) = (kept.newest, clock::epoch_millis());
            kept.newest = match millis.cmp(&after.millis) {
                std::cmp::Ordering::Greater => Id { millis, number: 0 },
                _ => Id { number: after.number + 1, ..after },
            };
            kept.events.push_back((kept.newest, text.to_owned()));
            while kept.events.len() > self.cap {
                kept.events.pop_front();
            }
            // Within the lock, so that they are heard in their order.
            self.bus.publish(CHANNEL.to_owned(), published(kept.newest, after, text).into());
            kept.newest
        })
    }

    fn since(&self, id: Id) -> Pending<'_, Result<Page, Away>> {
        self.with(|kept| {
            let start = kept.events.partition_point(|(of, _)| *of <= id);
            Page::of(&kept.events.range(start..).take(PAGE).cloned().collect::<Vec<_>>())
        })
    }

    fn newest(&self) -> Pending<'_, Result<Id, Away>> {
        self.with(|kept| kept.newest)
    }
}

struct InRedis {
    commands: Commands,
    cap: usize,
}

/// KEYS: stream. ARGV: the object without its first brace, how many are kept, channel. Adds and publishes in one step, so that
/// everybody hears them in their order.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
local after = '0-0'
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last > 0 then after = last[1][1] end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', '{' .. ARGV[1])
local comma = ','
if string.sub(ARGV[1], 1, 1) == '}' then comma = '' end
redis.call('PUBLISH', ARGV[3], '{"id":"' .. id .. '","after":"' .. after .. '"' .. comma .. ARGV[1])
return id
"#,
    )
});

fn away(why: &RedisError) -> Away {
    tracing::debug!(%why, "Redis does not answer about events");
    Away
}

impl Store for InRedis {
    fn add<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Id, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut call = ADD.key(STREAM);
            call.arg(text.strip_prefix('{').unwrap_or_default()).arg(self.cap).arg(CHANNEL);
            let id: String = call.invoke_async(&mut connection).await.map_err(|why| away(&why))?;
            id.parse().map_err(|_| Away)
        })
    }

    fn since(&self, id: Id) -> Pending<'_, Result<Page, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut call = redis::cmd("XRANGE");
            call.arg(STREAM).arg(format!("({id}")).arg("+").arg("COUNT").arg(PAGE);
            let found: Vec<(String, Vec<(String, String)>)> =
                call.query_async(&mut connection).await.map_err(|why| away(&why))?;
            let entry = |(id, fields): (String, Vec<(String, String)>)| {
                let text = fields.into_iter().find(|(name, _)| name == "event").map(|(_, text)| text);
                Ok((id.parse().map_err(|_| Away)?, text.unwrap_or_default()))
            };
            Ok(Page::of(&found.into_iter().map(entry).collect::<Result<Vec<_>, Away>>()?))
        })
    }

    fn newest(&self) -> Pending<'_, Result<Id, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut call = redis::cmd("XREVRANGE");
            call.arg(STREAM).arg("+").arg("-").arg("COUNT").arg(1);
            let found: Vec<(String, Value)> =
                call.query_async(&mut connection).await.map_err(|why| away(&why))?;
            match found.first() {
                Some((id, _)) => id.parse().map_err(|_| Away),
                None => Ok(Id::default()),
            }
        })
    }
}
