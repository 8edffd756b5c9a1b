//! Where presence is kept: in this process, or in Redis.
//!
//! | key in Redis | what |
//! | --- | --- |
//! | `presence:{userId}` | the id of one of the user's sockets, with a time to live: it exists, so the user is online |
//! | `presence-sockets:{userId}` | a sorted set of all of them, by the moment when each runs out |
//! | `presence-due` | a sorted set of everybody who was announced, by the moment when it is to be looked whether they are gone |
//!
//! Time is that of Redis, so that clocks of machines do not matter. One Redis, not a cluster: the scripts use keys together.
//! The ids are those of sessions, and secret: they are in Redis and nowhere else.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use redis::{Pipeline, RedisError, Script};

use super::ledger::{Change, Ledger, Outcome};
use crate::app::bus::redis::Commands;
use crate::app::bus::{Away, Pending};
use crate::app::clock;
use crate::app::shared::StoreLink;

/// Users that are looked at with one sweep.
const SWEEP: usize = 256;

/// Where presence is kept.
pub trait Store: Send + Sync + 'static {
    /// Notes these changes in their order, and says what each of them has changed.
    fn apply<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Result<Vec<Outcome>, Away>>;

    /// Users who have run out, each to one caller alone. Call again while there are any.
    fn sweep(&self) -> Pending<'_, Result<Vec<String>, Away>>;

    /// Which of these users are online.
    fn online<'a>(&'a self, users: &'a [String]) -> Pending<'a, Result<Vec<bool>, Away>>;
}

/// The store of what the instances share. Times in milliseconds: see [`Ledger::apply`].
pub fn of(link: &StoreLink, ttl: u64, grace: u64) -> Arc<dyn Store> {
    match link {
        StoreLink::Memory(hub) => Arc::new(InProcess { ledger: hub.slot(), ttl, grace }),
        StoreLink::Redis(commands) => Arc::new(InRedis { commands: commands.clone(), ttl, grace }),
    }
}

struct InProcess {
    ledger: Arc<Mutex<Ledger>>,
    ttl: u64,
    grace: u64,
}

impl InProcess {
    fn with<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Ledger, u64) -> T,
    ) -> Pending<'_, Result<T, Away>> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = ask(&mut ledger, clock::epoch_millis());
        Box::pin(std::future::ready(Ok(answer)))
    }
}

impl Store for InProcess {
    fn apply<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Result<Vec<Outcome>, Away>> {
        let (ttl, grace) = (self.ttl, self.grace);
        self.with(|ledger, now| changes.iter().map(|change| ledger.apply(change, now, ttl, grace)).collect())
    }

    fn sweep(&self) -> Pending<'_, Result<Vec<String>, Away>> {
        self.with(Ledger::sweep)
    }

    fn online<'a>(&'a self, users: &'a [String]) -> Pending<'a, Result<Vec<bool>, Away>> {
        self.with(|ledger, now| users.iter().map(|user| ledger.is_online(user, now)).collect())
    }
}

struct InRedis {
    commands: Commands,
    ttl: u64,
    grace: u64,
}

/// KEYS: presence, sockets, due. ARGV: user, how long a socket is there, sockets. 1: the user came.
static TOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ttl = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for i = 3, #ARGV do redis.call('ZADD', KEYS[2], now + ttl, ARGV[i]) end
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('SET', KEYS[1], string.match(ARGV[3], '^[^/]*'), 'PX', ttl)
return redis.call('ZADD', KEYS[3], now + ttl, ARGV[1])
",
    )
});

/// KEYS: presence, sockets, due. ARGV: user, socket, in how many milliseconds it is looked whether the user is gone: 0 is now. 1: the
/// user went.
static LEFT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local grace = tonumber(ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if #last > 0 then
  redis.call('SET', KEYS[1], string.match(last[1], '^[^/]*'), 'PX', last[2] - now)
  redis.call('ZADD', KEYS[3], last[2], ARGV[1])
  return 0
end
redis.call('DEL', KEYS[1])
if grace == 0 then return redis.call('ZREM', KEYS[3], ARGV[1]) end
redis.call('ZADD', KEYS[3], now + grace, ARGV[1])
return 0
",
    )
});

/// KEYS: due. ARGV: how many at most, for how long somebody is left alone whose key has no end. Who has run out, each once: the
/// winner is whose ZREM returns 1 after EXISTS returned 0.
static SWEEPING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local gone = {}
for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local key = 'presence:' .. user
  if redis.call('EXISTS', key) == 0 then
    if redis.call('ZREM', KEYS[1], user) == 1 then gone[#gone + 1] = user end
  else
    local left = redis.call('PTTL', key)
    if left < 0 then left = tonumber(ARGV[2]) end
    redis.call('ZADD', KEYS[1], now + left + 1, user)
  end
end
return gone
",
    )
});

const DUE: &str = "presence-due";

fn key(user: &str) -> String {
    format!("presence:{user}")
}

impl InRedis {
    fn call(&self, pipeline: &mut Pipeline, change: &Change) {
        let (script, user) = match change {
            Change::Told { user, .. } => (&TOLD, user),
            Change::Left { user, .. } | Change::LeftBefore { user, .. } => (&LEFT, user),
        };
        let call = pipeline.cmd("EVALSHA").arg(script.get_hash()).arg(3);
        call.arg(key(user)).arg(format!("presence-sockets:{user}")).arg(DUE).arg(user);
        match change {
            Change::Told { members, .. } => call.arg(self.ttl).arg(members),
            Change::Left { member, .. } => call.arg(member).arg(0),
            Change::LeftBefore { member, .. } => call.arg(member).arg(self.grace),
        };
    }
}

/// Whatever Redis says, it was not done; that it is away is said where it is asked.
fn away(why: &RedisError) -> Away {
    tracing::debug!(%why, "Redis does not answer about presence");
    Away
}

impl Store for InRedis {
    fn apply<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Result<Vec<Outcome>, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut pipeline = redis::pipe();
            for script in [&TOLD, &LEFT] {
                pipeline.load_script(script).ignore();
            }
            for change in changes {
                self.call(&mut pipeline, change);
            }
            let done: Vec<bool> = pipeline.query_async(&mut connection).await.map_err(|why| away(&why))?;
            let outcome = |(change, changed): (&Change, bool)| match change {
                _ if !changed => Outcome::Same,
                Change::Told { .. } => Outcome::Came,
                Change::Left { .. } => Outcome::Went,
                Change::LeftBefore { .. } => Outcome::Same,
            };
            Ok(changes.iter().zip(done).map(outcome).collect())
        })
    }

    fn sweep(&self) -> Pending<'_, Result<Vec<String>, Away>> {
        Box::pin(async move {
            let mut connection = self.commands.connection()?;
            let mut call = SWEEPING.key(DUE);
            call.arg(SWEEP).arg(self.ttl);
            call.invoke_async(&mut connection).await.map_err(|why| away(&why))
        })
    }

    fn online<'a>(&'a self, users: &'a [String]) -> Pending<'a, Result<Vec<bool>, Away>> {
        Box::pin(async move {
            if users.is_empty() {
                return Ok(Vec::new());
            }
            let mut connection = self.commands.connection()?;
            let mut call = redis::cmd("MGET");
            for user in users {
                call.arg(key(user));
            }
            let found: Vec<Option<Vec<u8>>> =
                call.query_async(&mut connection).await.map_err(|why| away(&why))?;
            Ok(found.iter().map(Option::is_some).collect())
        })
    }
}
