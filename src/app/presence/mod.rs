//! Presence: who is online, over all instances, and that it is announced once.
//!
//! One task for each instance says everything in order: what came and left, every 10 s that its sockets are still there, every
//! 5 s who has run out. While Redis is away the sockets are known here, and who left is owed; both are said when it is back.
//!
//! Owns what this instance knows of its own sockets. The rules are [`ledger`]'s.

pub(super) mod http;
pub mod ledger;
pub mod store;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmpv::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::ledger::{Change, Outcome};
use self::store::Store;
use super::bus::Away;
use super::context::Context;
use super::random;
use super::settings::Settings;
use super::shared::StoreLink;
use super::value::map;

/// Changes that wait to be said. What finds the queue full is counted: who came is said at the next refresh, and who left runs out.
const WAITING_MAX: usize = 16_384;

/// Changes that are said with one round trip.
const BATCH_MAX: usize = 256;

/// Who left while nobody could be told, at most. Of the oldest beyond it nothing is announced.
const OWED_MAX: usize = 16_384;

/// A handshake waits so long for its user to be written, so that whoever hears of it finds it. Longer it need not: presence is
/// written all the same.
const WRITTEN_MAX: Duration = Duration::from_millis(500);

/// For what is still to be said when the instance stops.
const LAST_MAX: Duration = Duration::from_secs(2);

/// One user's socket is there. Dropped, it has left.
pub struct Stay {
    presence: Arc<Presence>,
    user: String,
    member: String,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.presence.left(std::mem::take(&mut self.user), std::mem::take(&mut self.member));
    }
}

/// For the last announcements to be on their way.
const PUBLISHED: Duration = Duration::from_millis(100);

/// What waits to be said, and who waits for that.
enum Waiting {
    Change(Change, Option<oneshot::Sender<()>>),
    /// Everything before it was said.
    Mark(oneshot::Sender<()>),
}

/// One instance's presence.
pub struct Presence {
    store: Arc<dyn Store>,
    /// The sockets of this instance, by their user.
    here: Mutex<HashMap<String, Vec<String>>>,
    queue: mpsc::Sender<Waiting>,
    /// Until the task takes it.
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("users", &self.here().len()).finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Presence {
    pub(super) fn new(settings: &Settings, link: &StoreLink) -> Arc<Self> {
        let (queue, receiver) = mpsc::channel(WAITING_MAX);
        Arc::new(Self {
            store: store::of(link, millis(settings.presence_ttl), millis(settings.presence_sweep)),
            here: Mutex::default(),
            queue,
            receiver: Mutex::new(Some(receiver)),
        })
    }

    fn here(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of `user` is there: `member` is its id, and for a namespace but `/` that behind it. Returns when it is known
    /// everywhere, or a little later.
    pub async fn enter(self: &Arc<Self>, user: &str, member: String) -> Stay {
        self.here().entry(user.to_owned()).or_default().push(member.clone());
        let stay = Stay { presence: self.clone(), user: user.to_owned(), member: member.clone() };
        let (written, is_written) = oneshot::channel();
        let change = Change::Told { user: user.to_owned(), members: vec![member] };
        if self.queue.try_send(Waiting::Change(change, Some(written))).is_ok() {
            let _ = timeout(WRITTEN_MAX, is_written).await;
        }
        stay
    }

    fn left(&self, user: String, member: String) {
        {
            let mut here = self.here();
            let Some(members) = here.get_mut(&user) else { return };
            let Some(at) = members.iter().position(|known| *known == member) else { return };
            members.swap_remove(at);
            if members.is_empty() {
                here.remove(&user);
            }
        }
        // An error: the queue is full, and the socket runs out.
        let _ = self.queue.try_send(Waiting::Change(Change::Left { user, member }, None));
    }

    /// Which of these users are online, in their order.
    ///
    /// # Errors
    /// Nobody knows, because Redis is away.
    pub async fn online(&self, users: Vec<String>) -> Result<Vec<String>, Away> {
        let online = self.store.online(&users).await?;
        Ok(users.into_iter().zip(online).filter_map(|(user, is_online)| is_online.then_some(user)).collect())
    }

    /// The instance ends: all its sockets leave. Returns when that is known, or a little later.
    pub(super) async fn end(&self) {
        let here = std::mem::take(&mut *self.here());
        for (user, members) in here {
            for member in members {
                let change = Change::Left { user: user.clone(), member };
                let _ = self.queue.try_send(Waiting::Change(change, None));
            }
        }
        let (said, is_said) = oneshot::channel();
        if self.queue.try_send(Waiting::Mark(said)).is_ok() {
            let _ = timeout(LAST_MAX, is_said).await;
        }
        // What was announced waits to be published, and goes without a word of its own.
        sleep(PUBLISHED).await;
    }

    /// All sockets of this instance.
    fn all(&self) -> Vec<Change> {
        let told = |(user, members): (&String, &Vec<String>)| Change::Told {
            user: user.clone(),
            members: members.clone(),
        };
        self.here().iter().map(told).collect()
    }
}

/// Begins the task of an instance's presence.
pub(super) fn start(context: &Arc<Context>) {
    let presence = context.presence.clone();
    let receiver = presence.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(queue) = receiver {
        let speaker = Speaker { context: context.clone(), presence, owed: VecDeque::new() };
        context.tasks.spawn("presence", speaker.run(queue));
    }
}

/// The task.
struct Speaker {
    context: Arc<Context>,
    presence: Arc<Presence>,
    /// Who left while nobody could be told.
    owed: VecDeque<Change>,
}

impl Speaker {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let settings = &self.context.settings;
        let regular = |period| {
            let mut ticks = interval(period);
            ticks.reset();
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut refresh, mut sweep) = (regular(settings.presence_refresh), regular(settings.presence_sweep));
        let mut store = self.context.link.store().clone();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                () = store.returned() => {
                    self.pay().await;
                    self.refresh().await;
                }
                _ = refresh.tick() => self.refresh().await,
                _ = sweep.tick() => self.sweep().await,
                count = queue.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.say(&mut batch).await;
                }
            }
        }
    }

    /// Says what came and left.
    async fn say(&mut self, batch: &mut Vec<Waiting>) {
        let (mut changes, mut waiting) = (Vec::with_capacity(batch.len()), Vec::new());
        for said in batch.drain(..) {
            match said {
                Waiting::Change(change, written) => {
                    changes.push(change);
                    waiting.extend(written);
                }
                Waiting::Mark(written) => waiting.push(written),
            }
        }
        if self.apply(&changes).await.is_err() {
            self.owe(changes);
        }
        for written in waiting {
            // The client may have gone meanwhile.
            let _ = written.send(());
        }
    }

    /// Says that all sockets of this instance are still there.
    async fn refresh(&mut self) {
        for changes in self.presence.all().chunks(BATCH_MAX) {
            // Away: it will be said at once when Redis is back.
            if self.apply(changes).await.is_err() {
                break;
            }
        }
    }

    /// Keeps in mind who left while nobody can be told. Who came is known anyway.
    fn owe(&mut self, changes: Vec<Change>) {
        for change in changes {
            if let Change::Left { user, member } | Change::LeftBefore { user, member } = change {
                if self.owed.len() >= OWED_MAX {
                    self.owed.pop_front();
                    self.context.metrics.presence_forgotten.add_one();
                }
                self.owed.push_back(Change::LeftBefore { user, member });
            }
        }
    }

    /// Says who left while nobody could be told.
    async fn pay(&mut self) {
        while !self.owed.is_empty() {
            let changes: Vec<Change> = self.owed.drain(..self.owed.len().min(BATCH_MAX)).collect();
            if self.apply(&changes).await.is_err() {
                for change in changes.into_iter().rev() {
                    self.owed.push_front(change);
                }
                return;
            }
        }
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), Away> {
        if changes.is_empty() {
            return Ok(());
        }
        let outcomes = self.presence.store.apply(changes).await;
        let outcomes = outcomes.inspect_err(|_| self.context.metrics.presence_away.add_one())?;
        for (change, outcome) in changes.iter().zip(outcomes) {
            let (Change::Told { user, .. } | Change::Left { user, .. } | Change::LeftBefore { user, .. }) =
                change;
            match outcome {
                Outcome::Same => {}
                Outcome::Came => self.announce(user, "user-online").await,
                Outcome::Went => self.announce(user, "user-offline").await,
            }
        }
        Ok(())
    }

    /// Announces who has run out, where this instance is the one that does it.
    async fn sweep(&self) {
        while let Ok(gone) = self.presence.store.sweep().await {
            if gone.is_empty() {
                return;
            }
            for user in gone {
                self.context.metrics.presence_expired.add_one();
                self.announce(&user, "user-offline").await;
            }
        }
    }

    async fn announce(&self, user: &str, event: &'static str) {
        let metrics = &self.context.metrics;
        if event == "user-online" {
            metrics.users_came.add_one();
        } else {
            metrics.users_went.add_one();
        }
        let said = serde_json::json!({ "userId": user }).to_string();
        if !self.context.webhooks.happened(event, format!("ev_{}", random::secret(16)), &said) {
            metrics.webhooks_dropped.add_one();
        }
        let (room, data) = (room_of(user), map([("userId", Value::from(user))]));
        let namespaces = self.context.settings.namespaces.iter().map(String::as_str);
        for namespace in ["/"].into_iter().chain(namespaces) {
            if let Some(operators) = self.context.io().of(namespace) {
                // A client whose queue is full misses it.
                let _ = operators.to(room.clone()).emit(event, &data).await;
            }
        }
    }
}

/// The room of those who want to hear of a user.
pub fn room_of(user: &str) -> String {
    format!("friends-of-{user}")
}
