//! Where webhooks and their deliveries are kept: in this process, or in Redis.
//!
//! | key in Redis | what |
//! | --- | --- |
//! | `webhooks` | a hash: each webhook by its id, as JSON, with its secret |
//! | `webhook-jobs` | a hash: each delivery that is not done |
//! | `webhook-attempts` | a hash: how often each was begun; who claimed it last has the greatest number |
//! | `webhook-due` | a sorted set: when each may be claimed; a claim puts it off, so that it comes again if nobody says how it went |

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use redis::{RedisError, Script};
use serde::{Deserialize, Serialize};

use super::queue::{Claim, Job, Queue};
use crate::app::bus::redis::Commands;
use crate::app::bus::{Away, Pending};
use crate::app::clock;
use crate::app::shared::StoreLink;

/// Webhooks at most.
const HOOKS_MAX: usize = 100;

/// Deliveries that are not done, at most.
const JOBS_MAX: usize = 10_000;

/// Milliseconds until a delivery is given to another instance, whose first one is silent. Longer than any attempt takes.
const LEASE: u64 = 30_000;

/// Somebody who wants to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its id.
    pub id: String,
    /// Where it is called.
    pub url: String,
    /// Of which events.
    pub events: Vec<String>,
    /// What deliveries are signed with.
    pub secret: String,
    /// Since when it is there, in seconds since the epoch.
    pub created: u64,
}

/// Where webhooks are kept.
pub trait Store: Send + Sync + 'static {
    /// All webhooks.
    fn hooks(&self) -> Pending<'_, Result<Vec<Hook>, Away>>;
    /// One more. False: there are too many.
    fn add_hook<'a>(&'a self, hook: &'a Hook) -> Pending<'a, Result<bool, Away>>;
    /// One less. False: there is none of this id.
    fn remove_hook<'a>(&'a self, id: &'a str) -> Pending<'a, Result<bool, Away>>;
    /// Adds deliveries; says how many found no room.
    fn add<'a>(&'a self, jobs: &'a [Job]) -> Pending<'a, Result<usize, Away>>;
    /// Deliveries for this instance alone, until it says how they went; see [`Queue::claim`].
    fn claim(&self, limit: usize) -> Pending<'_, Result<Vec<Claim>, Away>>;
    /// How one went: again after `wait` milliseconds, or never. False: somebody else has it meanwhile.
    fn finish<'a>(&'a self, claim: &'a Claim, wait: Option<u64>) -> Pending<'a, Result<bool, Away>>;
}

/// The store of what the instances share.
pub fn of(link: &StoreLink) -> Arc<dyn Store> {
    match link {
        StoreLink::Memory(hub) => Arc::new(InProcess(hub.slot())),
        StoreLink::Redis(commands) => Arc::new(InRedis(commands.clone())),
    }
}

#[derive(Default)]
struct Kept {
    hooks: BTreeMap<String, Hook>,
    queue: Queue,
}

struct InProcess(Arc<Mutex<Kept>>);

impl InProcess {
    fn with<T: Send + 'static>(&self, ask: impl FnOnce(&mut Kept, u64) -> T) -> Pending<'_, Result<T, Away>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(std::future::ready(Ok(ask(&mut kept, clock::epoch_millis()))))
    }
}

impl Store for InProcess {
    fn hooks(&self) -> Pending<'_, Result<Vec<Hook>, Away>> {
        self.with(|kept, _| kept.hooks.values().cloned().collect())
    }

    fn add_hook<'a>(&'a self, hook: &'a Hook) -> Pending<'a, Result<bool, Away>> {
        self.with(|kept, _| {
            let has_room = kept.hooks.len() < HOOKS_MAX;
            if has_room {
                kept.hooks.insert(hook.id.clone(), hook.clone());
            }
            has_room
        })
    }

    fn remove_hook<'a>(&'a self, id: &'a str) -> Pending<'a, Result<bool, Away>> {
        self.with(|kept, _| kept.hooks.remove(id).is_some())
    }

    fn add<'a>(&'a self, jobs: &'a [Job]) -> Pending<'a, Result<usize, Away>> {
        self.with(|kept, now| kept.queue.add(jobs, now, JOBS_MAX))
    }

    fn claim(&self, limit: usize) -> Pending<'_, Result<Vec<Claim>, Away>> {
        self.with(|kept, now| kept.queue.claim(limit, now, LEASE))
    }

    fn finish<'a>(&'a self, claim: &'a Claim, wait: Option<u64>) -> Pending<'a, Result<bool, Away>> {
        self.with(|kept, now| kept.queue.finish(claim, wait, now))
    }
}

struct InRedis(Commands);

const HOOKS: &str = "webhooks";
const JOBS: &str = "webhook-jobs";
const ATTEMPTS: &str = "webhook-attempts";
const DUE: &str = "webhook-due";

/// What every script of deliveries begins with.
const NOW: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
";

fn script(code: &str) -> Script {
    Script::new(&format!("{NOW}{code}"))
}

/// KEYS: hooks. ARGV: how many at most, id, webhook.
static ADD_HOOK: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
return redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
",
    )
});

/// KEYS: jobs, attempts, due. ARGV: how many at most; ids and deliveries in turn. How many found no room.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local dropped = 0
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
    if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then
      dropped = dropped + 1
    else
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
      redis.call('ZADD', KEYS[3], now, ARGV[i])
    end
  end
end
return dropped
",
    )
});

/// KEYS: jobs, attempts, due. ARGV: how many at most, for how long. Deliveries and their attempts in turn.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local claims = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local job = redis.call('HGET', KEYS[1], id)
  if job then
    redis.call('ZADD', KEYS[3], now + ARGV[2], id)
    claims[#claims + 1] = {job, redis.call('HINCRBY', KEYS[2], id, 1)}
  else
    redis.call('ZREM', KEYS[3], id)
    redis.call('HDEL', KEYS[2], id)
  end
end
return claims
",
    )
});

/// KEYS: jobs, attempts, due. ARGV: id, attempt, wait (less than 0: never again).
static FINISH: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if tonumber(ARGV[3]) >= 0 then
  redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return 1
",
    )
});

fn away(why: &RedisError) -> Away {
    tracing::debug!(%why, "Redis does not answer about webhooks");
    Away
}

impl Store for InRedis {
    fn hooks(&self) -> Pending<'_, Result<Vec<Hook>, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let found: Vec<String> = redis::cmd("HVALS")
                .arg(HOOKS)
                .query_async(&mut connection)
                .await
                .map_err(|why| away(&why))?;
            // What another version wrote may be unreadable here.
            Ok(found.iter().filter_map(|hook| serde_json::from_str(hook).ok()).collect())
        })
    }

    fn add_hook<'a>(&'a self, hook: &'a Hook) -> Pending<'a, Result<bool, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let text = serde_json::to_string(hook).map_err(|_| Away)?;
            let mut call = ADD_HOOK.key(HOOKS);
            call.arg(HOOKS_MAX).arg(&hook.id).arg(text);
            call.invoke_async(&mut connection).await.map_err(|why| away(&why))
        })
    }

    fn remove_hook<'a>(&'a self, id: &'a str) -> Pending<'a, Result<bool, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let mut call = redis::cmd("HDEL");
            call.arg(HOOKS).arg(id).query_async(&mut connection).await.map_err(|why| away(&why))
        })
    }

    fn add<'a>(&'a self, jobs: &'a [Job]) -> Pending<'a, Result<usize, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let mut call = ADD.key(JOBS);
            call.key(ATTEMPTS).key(DUE).arg(JOBS_MAX);
            for job in jobs {
                call.arg(job.id()).arg(serde_json::to_string(job).map_err(|_| Away)?);
            }
            call.invoke_async(&mut connection).await.map_err(|why| away(&why))
        })
    }

    fn claim(&self, limit: usize) -> Pending<'_, Result<Vec<Claim>, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let mut call = CLAIM.key(JOBS);
            call.key(ATTEMPTS).key(DUE).arg(limit).arg(LEASE);
            let found: Vec<(String, u32)> =
                call.invoke_async(&mut connection).await.map_err(|why| away(&why))?;
            let claim = |(job, attempt): (String, u32)| {
                let job = serde_json::from_str(&job).ok()?;
                Some(Claim { job, attempt })
            };
            Ok(found.into_iter().filter_map(claim).collect())
        })
    }

    fn finish<'a>(&'a self, claim: &'a Claim, wait: Option<u64>) -> Pending<'a, Result<bool, Away>> {
        Box::pin(async move {
            let mut connection = self.0.connection()?;
            let mut call = FINISH.key(JOBS);
            call.key(ATTEMPTS).key(DUE).arg(claim.job.id()).arg(claim.attempt);
            match wait {
                Some(wait) => call.arg(wait),
                None => call.arg(-1),
            };
            call.invoke_async(&mut connection).await.map_err(|why| away(&why))
        })
    }
}
