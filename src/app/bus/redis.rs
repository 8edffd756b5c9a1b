//! The bus over Redis, and the way to ask Redis for anything else: one connection (RESP3) for each instance.
//!
//! The connection is supervised here rather than by the library's manager, which does not say when it is back and gives
//! up after some attempts. Redis may be away when the instance starts, and at any time later: publishes wait in a bounded
//! queue, subscriptions are kept and asked for again.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError, Value,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::registry::Registry;
use super::{Away, Bus, Counts, Interest, Message, Pending, Subscription};
use crate::app::tasks::Tasks;

/// Between two attempts to connect. Short, because an attempt costs little and everybody waits for it.
const RETRY: Duration = Duration::from_millis(100);

/// For an attempt to connect.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// For a connection with all its subscriptions.
const OPEN_MAX: Duration = Duration::from_secs(3);

/// For an answer of Redis. One that takes longer counts as away.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Between two questions whether Redis is still there, so that one that hangs is noticed too.
const PULSE: Duration = Duration::from_secs(1);

/// Once Redis is back, the others need a moment to be back too: what waited is published after this.
const SETTLE: Duration = Duration::from_millis(300);

/// Messages that wait to be published at most.
const WAITING_MAX: usize = 8192;

/// Their bytes at most.
const WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Messages that are published with one round trip at most.
const BATCH_MAX: usize = 128;

/// Where a Redis is.
#[derive(Clone)]
pub struct Address(ConnectionInfo);

/// It is no address of a Redis.
#[derive(Debug)]
pub struct AddressError(RedisError);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the address of a Redis: {}", self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Reads `redis://[user:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let info = url.into_connection_info().map_err(AddressError)?;
        // Messages and answers share a connection, which RESP2 cannot.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Self(info.set_redis_settings(settings)))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without user and password.
        write!(f, "{}", self.0.addr())
    }
}

/// The way to ask Redis for anything but messages. A clone is the same way.
#[derive(Clone, Debug)]
pub struct Commands(watch::Receiver<Current>);

/// The connection of the moment.
#[derive(Clone, Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// How often it was made.
    times: u64,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("is_there", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Commands {
    /// The connection of the moment, for a few commands; ask for it anew each time. All share it, so nothing that blocks
    /// (`BLPOP`, `XREAD BLOCK`) may be sent on it. An answer that takes more than 2 s is an error.
    ///
    /// # Errors
    /// Redis is away, and it is said at once.
    pub fn connection(&self) -> Result<MultiplexedConnection, Away> {
        self.0.borrow().connection.clone().ok_or(Away)
    }

    /// Returns when there is a connection that was not there at the last call, with how often there was one: whoever keeps
    /// something in Redis writes it anew then. Never when the instance has ended.
    pub async fn returned(&mut self) -> u64 {
        loop {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let current = self.0.borrow_and_update();
            if current.connection.is_some() {
                return current.times;
            }
        }
    }
}

/// What is said to the task that owns the connection.
struct Inner {
    registry: Mutex<Registry>,
    /// How often the table of interests has changed.
    changes: watch::Sender<u64>,
    /// Up to which change Redis has confirmed it.
    known: watch::Sender<u64>,
    counts: Arc<Counts>,
    waiting_bytes: AtomicU64,
    instance: String,
}

impl Inner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message came, on the task that reads the connection: no waiting here.
    fn received(&self, push: PushInfo) {
        let interest: fn(String) -> Interest = match push.kind {
            PushKind::Message => Interest::Exact,
            PushKind::PMessage => |pattern| Interest::Prefix(unescape(&pattern)),
            _ => return,
        };
        let mut data = push.data.into_iter();
        let by = if push.kind == PushKind::PMessage { data.next().and_then(text) } else { None };
        let (Some(channel), Some(Value::BulkString(payload))) = (data.next().and_then(text), data.next())
        else {
            return;
        };
        let interest = interest(by.unwrap_or_else(|| channel.clone()));
        let message = Message { channel: channel.into(), payload: payload.into() };
        self.registry().offer(&interest, &message);
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// What Redis takes for exactly this text at the beginning of a pattern.
fn escape(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

/// The prefix of which [`escape`] made this pattern.
fn unescape(pattern: &str) -> String {
    let mut prefix = String::with_capacity(pattern.len());
    let mut chars = pattern.strip_suffix('*').unwrap_or(pattern).chars();
    while let Some(c) = chars.next() {
        prefix.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    prefix
}

/// Begins to connect, on the runtime of the caller.
pub fn connect(address: &Address, instance: &str, tasks: &Tasks) -> (Redis, Commands) {
    let inner = Arc::new(Inner {
        registry: Mutex::default(),
        changes: watch::Sender::new(0),
        known: watch::Sender::new(0),
        counts: Arc::default(),
        waiting_bytes: AtomicU64::new(0),
        instance: instance.to_owned(),
    });
    let (publish, queue) = mpsc::channel(WAITING_MAX);
    let (current, commands) = watch::channel(Current::default());
    let owner = Owner { address: address.clone(), inner: inner.clone(), queue, current };
    tasks.spawn("redis", owner.run());
    let commands = Commands(commands);
    (Redis { inner, publish, commands: commands.clone() }, commands)
}

/// One instance's bus over Redis.
pub struct Redis {
    inner: Arc<Inner>,
    publish: mpsc::Sender<(String, Bytes)>,
    commands: Commands,
}

impl Bus for Redis {
    fn publish(&self, channel: String, payload: Bytes) {
        let length = payload.len() as u64;
        let fits =
            self.inner.waiting_bytes.fetch_add(length, Ordering::Relaxed) + length <= WAITING_BYTES_MAX;
        if !fits || self.publish.try_send((channel, payload)).is_err() {
            self.inner.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            if self.inner.counts.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    instance = self.inner.instance,
                    "the queue to Redis is full: messages for other instances are dropped, and counted"
                );
            }
        }
    }

    fn subscribe(&self, interests: Vec<Interest>) -> Subscription {
        let mut enough = 0;
        let (listening, _) = self.inner.registry().add(&interests, 0, &self.inner.counts);
        self.inner.changes.send_modify(|changes| {
            *changes += 1;
            enough = *changes;
        });
        let (id, inner) = (listening.id, self.inner.clone());
        Subscription::new(listening, self.inner.known.subscribe(), enough).on_drop(move || {
            if !inner.registry().remove(id, &interests).is_empty() {
                inner.changes.send_modify(|changes| *changes += 1);
            }
        })
    }

    fn subscribers<'a>(&'a self, channel: &'a str) -> Pending<'a, Result<u64, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut command = redis::cmd("PUBSUB");
            command.arg("NUMSUB").arg(channel);
            let (_, count): (String, u64) = command.query_async(&mut connection).await.map_err(|_| Away)?;
            Ok(count)
        })
    }

    fn is_connected(&self) -> bool {
        self.commands.0.borrow().connection.is_some()
    }

    fn counts(&self) -> &Arc<Counts> {
        &self.inner.counts
    }
}

/// The task that owns the connection.
struct Owner {
    address: Address,
    inner: Arc<Inner>,
    queue: mpsc::Receiver<(String, Bytes)>,
    current: watch::Sender<Current>,
}

/// Why a connection is over.
type Broken = RedisError;

impl Owner {
    /// Connects, serves, and connects again, until the instance ends.
    async fn run(mut self) {
        let instance = self.inner.instance.clone();
        let mut said = false;
        loop {
            let gone = Arc::new(Notify::new());
            let opened = timeout(OPEN_MAX, self.open(gone.clone())).await;
            match opened.unwrap_or_else(|_| Err(broken("no answer"))) {
                Ok(connection) => {
                    said = false;
                    tracing::info!(instance, redis = ?self.address, "connected");
                    let why = self.serve(connection, gone).await;
                    tracing::warn!(instance, redis = ?self.address, %why, "Redis is away; it is tried until it is back");
                }
                Err(why) if !said => {
                    said = true;
                    tracing::warn!(instance, redis = ?self.address, %why, "no Redis; it is tried until it is there");
                }
                Err(_) => {}
            }
            self.current.send_modify(|current| current.connection = None);
            sleep(RETRY).await;
        }
    }

    /// A connection that has all subscriptions.
    async fn open(&mut self, gone: Arc<Notify>) -> Result<Serving, Broken> {
        let inner = self.inner.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX))
            .set_push_sender(move |push: PushInfo| -> Result<(), Away> {
                if push.kind == PushKind::Disconnection {
                    gone.notify_one();
                }
                inner.received(push);
                Ok(())
            });
        let client = Client::open(self.address.0.clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut serving = Serving { connection, subscribed: Vec::new() };
        serving.follow(&self.inner).await?;
        serving.ask().await?;
        Ok(serving)
    }

    /// Publishes, and follows the table of interests, until the connection breaks.
    async fn serve(&mut self, mut serving: Serving, gone: Arc<Notify>) -> Broken {
        Counts::add(&self.inner.counts.connections, 1);
        let mut is_back = false;
        self.current.send_modify(|current| {
            is_back = current.times > 0;
            current.connection = Some(serving.connection.clone());
            current.times += 1;
        });
        let mut gone = pin!(gone.notified());
        let mut settle = pin!(sleep(if is_back { SETTLE } else { Duration::ZERO }));
        let mut changes = self.inner.changes.subscribe();
        // What changed since it was opened.
        changes.mark_changed();
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let is_settled = settle.is_elapsed();
            let done = tokio::select! {
                () = &mut gone => Err(broken("the connection ended")),
                () = &mut settle, if !is_settled => Ok(()),
                Ok(()) = changes.changed() => serving.follow(&self.inner).await,
                _ = self.queue.recv_many(&mut batch, BATCH_MAX), if is_settled => {
                    self.publish(&mut serving.connection, &mut batch).await
                }
                _ = pulse.tick() => serving.ask().await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Publishes what was taken off the queue. When the connection breaks meanwhile, nobody knows what has arrived: it is
    /// counted as lost and not said again, so that nothing arrives twice.
    async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &mut Vec<(String, Bytes)>,
    ) -> Result<(), Broken> {
        let count = batch.len() as u64;
        let mut pipeline = redis::pipe();
        for (channel, payload) in batch.drain(..) {
            self.inner.waiting_bytes.fetch_sub(payload.len() as u64, Ordering::Relaxed);
            pipeline.cmd("PUBLISH").arg(channel).arg(&*payload).ignore();
        }
        let done: Result<(), RedisError> = pipeline.query_async(connection).await;
        match done {
            Ok(()) => {
                Counts::add(&self.inner.counts.published, count);
                Ok(())
            }
            Err(why) => {
                Counts::add(&self.inner.counts.lost, count);
                if is_broken(&why) {
                    return Err(why);
                }
                tracing::warn!(instance = self.inner.instance, %why, "Redis refuses to publish");
                Ok(())
            }
        }
    }
}

/// A connection, and what it has subscribed to.
struct Serving {
    connection: MultiplexedConnection,
    subscribed: Vec<Interest>,
}

impl Serving {
    /// Subscribes to what somebody wants, and no longer to what nobody does.
    async fn follow(&mut self, inner: &Inner) -> Result<(), Broken> {
        // Before the table is read: what changes it later will be told again.
        let until = *inner.changes.borrow();
        let (new, old) = {
            let registry = inner.registry();
            let wanted = registry.interests();
            let new: Vec<_> =
                wanted.into_iter().filter(|interest| !self.subscribed.contains(interest)).collect();
            let old: Vec<_> =
                self.subscribed.iter().filter(|interest| !registry.has(interest)).cloned().collect();
            (new, old)
        };
        for interest in &new {
            match interest {
                Interest::Exact(name) => self.connection.subscribe(name).await?,
                Interest::Prefix(prefix) => self.connection.psubscribe(escape(prefix)).await?,
            }
        }
        for interest in &old {
            match interest {
                Interest::Exact(name) => self.connection.unsubscribe(name).await?,
                Interest::Prefix(prefix) => self.connection.punsubscribe(escape(prefix)).await?,
            }
        }
        self.subscribed.retain(|interest| !old.contains(interest));
        self.subscribed.extend(new);
        inner.known.send_replace(until);
        Ok(())
    }

    /// Whether Redis answers, and has loaded what it keeps.
    async fn ask(&mut self) -> Result<(), Broken> {
        let asked = timeout(ANSWER_MAX, redis::cmd("PING").query_async::<()>(&mut self.connection)).await;
        asked.unwrap_or_else(|_| Err(broken("no answer")))
    }
}

fn broken(why: &'static str) -> Broken {
    RedisError::from((redis::ErrorKind::Io, why))
}

/// Whether the connection is of no more use: it ended, or does not answer.
fn is_broken(why: &RedisError) -> bool {
    why.is_unrecoverable_error() || why.is_timeout() || why.is_io_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_literally() {
        let check = |prefix: &str, pattern: &str| {
            assert_eq!(escape(prefix), pattern);
            assert_eq!(unescape(pattern), prefix);
        };
        check("socket.io#/#", "socket.io#/#*");
        check("socket.io#/a*b?[c]\\#", r"socket.io#/a\*b\?\[c\]\\#*");
        check("", "*");
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = Address::parse("redis://user:secret@127.0.0.1:6400/2").unwrap();
        assert_eq!(format!("{address:?}"), "127.0.0.1:6400");
        assert!(Address::parse("http://127.0.0.1").is_err());
    }
}
