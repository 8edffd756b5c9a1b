//! Webhooks: whoever registered a URL is called when something happens, signed, once over all instances, and again when it fails.
//!
//! | event | when | data |
//! | --- | --- | --- |
//! | `notification` | `/notify` was told something | what it was told |
//! | `user-online`, `user-offline` | a user came or went | `{ userId }` |
//!
//! The instance where something happens adds a delivery for each webhook; any instance claims it. An instance that dies in the middle
//! of one leaves it to another, so a receiver can see an event twice then, and knows it by its id.

pub mod deliver;
mod http;
pub mod queue;
pub mod signature;
pub mod store;
pub mod target;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use self::deliver::{Courier, Failed, Parcel, System};
use self::queue::{Claim, Job};
use self::store::{Hook, Store};
use self::target::Target;
use super::bus::Away;
use super::context::Context;
use super::settings::Settings;
use super::shared::StoreLink;
use super::{clock, random};

pub(super) use http::router;

/// What a webhook can be called for.
pub const EVENTS: &[&str] = &["notification", "user-online", "user-offline"];

/// Events whose deliveries are still to be added.
const WAITING_MAX: usize = 4096;

/// Events whose deliveries are added together.
const BATCH_MAX: usize = 64;

/// Deliveries under way at one instance.
const UNDER_WAY_MAX: usize = 16;

/// Between two looks for what is due.
const LOOK: Duration = Duration::from_millis(500);

/// Something that happened.
struct Happened {
    id: String,
    kind: &'static str,
    body: String,
}

/// One instance's webhooks.
pub struct Webhooks {
    store: Arc<dyn Store>,
    courier: Courier,
    queue: mpsc::Sender<Happened>,
    /// Until the task takes it.
    receiver: Mutex<Option<mpsc::Receiver<Happened>>>,
    /// There is something to deliver.
    added: Notify,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

impl Webhooks {
    pub(super) fn new(settings: &Settings, link: &StoreLink) -> Self {
        let (queue, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            store: store::of(link),
            courier: Courier::new(System, settings.allow_private_webhooks),
            queue,
            receiver: Mutex::new(Some(receiver)),
            added: Notify::new(),
        }
    }

    /// Something happened: `data` is JSON. Does not wait. False: too much happens, and nobody will be called.
    pub(super) fn happened(&self, kind: &'static str, id: String, data: &str) -> bool {
        let created = clock::epoch_millis() / 1000;
        let body = format!(r#"{{"id":"{id}","type":"{kind}","created":{created},"data":{data}}}"#);
        self.queue.try_send(Happened { id, kind, body }).is_ok()
    }
}

/// Begins the tasks of an instance's webhooks.
pub(super) fn start(context: &Arc<Context>) {
    let receiver = context.webhooks.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(queue) = receiver {
        context.tasks.spawn("webhooks", add(context.clone(), queue));
        context.tasks.spawn("deliveries", deliver_all(context.clone()));
    }
}

/// Adds deliveries of what happens.
async fn add(context: Arc<Context>, mut queue: mpsc::Receiver<Happened>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let count = batch.len();
        if add_batch(&context, &mut batch).await.is_err() {
            context.metrics.webhooks_dropped.add(count as u64);
        }
        batch.clear();
    }
}

async fn add_batch(context: &Context, batch: &mut Vec<Happened>) -> Result<(), Away> {
    let webhooks = &context.webhooks;
    let hooks = webhooks.store.hooks().await?;
    let mut jobs = Vec::new();
    for happened in batch.drain(..) {
        for hook in hooks.iter().filter(|hook| hook.events.iter().any(|kind| kind == happened.kind)) {
            jobs.push(Job {
                event: happened.id.clone(),
                kind: happened.kind.to_owned(),
                hook: hook.id.clone(),
                body: happened.body.clone(),
            });
        }
    }
    if !jobs.is_empty() {
        let dropped = webhooks.store.add(&jobs).await?;
        context.metrics.webhooks_dropped.add(dropped as u64);
        webhooks.added.notify_one();
    }
    Ok(())
}

/// Claims what is due, and delivers it.
async fn deliver_all(context: Arc<Context>) {
    let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        let Ok(first) = slots.clone().acquire_owned().await else { return };
        let limit = 1 + slots.available_permits();
        let claims = context.webhooks.store.claim(limit).await.unwrap_or_default();
        // Away: the claims run out, and come again.
        let hooks = if claims.is_empty() { Ok(Vec::new()) } else { context.webhooks.store.hooks().await };
        drop(first);
        let is_all = claims.len() < limit;
        let Ok(hooks) = hooks else {
            sleep(LOOK).await;
            continue;
        };
        for claim in claims {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (context, hook) =
                (context.clone(), hooks.iter().find(|hook| hook.id == claim.job.hook).cloned());
            let tasks = context.clone();
            tasks.tasks.spawn("delivery", async move {
                settle(&context, &claim, hook).await;
                drop(slot);
            });
        }
        if is_all {
            // Over: it is time to look.
            let _ = timeout(LOOK, context.webhooks.added.notified()).await;
        }
    }
}

/// Tries one delivery, and says how it went.
async fn settle(context: &Context, claim: &Claim, hook: Option<Hook>) {
    let (settings, metrics) = (&context.settings, &context.metrics);
    let wait = match hook {
        // Nobody wants it any more.
        None => None,
        Some(hook) => match deliver(context, claim, &hook).await {
            Ok(()) => {
                metrics.webhooks_delivered.add_one();
                None
            }
            Err(failed) => {
                metrics.webhooks_failed.add_one();
                let wait = match failed {
                    // It is not asked again whether it still resolves to what is none of its business.
                    Failed::Refused(_) => None,
                    _ => queue::wait(
                        claim.attempt,
                        settings.webhook_attempts,
                        settings.webhook_retry,
                        random::fraction(),
                    ),
                };
                if wait.is_none() {
                    metrics.webhooks_abandoned.add_one();
                    tracing::warn!(webhook = hook.id, event = claim.job.event, %failed, "a webhook was not delivered");
                }
                wait
            }
        },
    };
    let wait = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    // Away: nobody hears how it went, and it is delivered once more.
    let _ = context.webhooks.store.finish(claim, wait).await;
}

async fn deliver(context: &Context, claim: &Claim, hook: &Hook) -> Result<(), Failed> {
    let target = Target::parse(&hook.url, true).map_err(|_| Failed::Name)?;
    let seconds = clock::epoch_millis() / 1000;
    let fields = vec![
        ("stickyd-signature", signature::signature(&hook.secret, seconds, claim.job.body.as_bytes())),
        ("stickyd-event-id", claim.job.event.clone()),
        ("stickyd-event-type", claim.job.kind.clone()),
        ("stickyd-attempt", claim.attempt.to_string()),
    ];
    let body = Bytes::from(claim.job.body.clone());
    context.webhooks.courier.deliver(&target, Parcel { body, fields }).await
}
