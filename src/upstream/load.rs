//! What an instance carries, over all workers, and what may begin at it. Touched when something begins or ends, never
//! for a message.
//!
//! Everything that is carried is a guard: it counts for as long as it lives.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Instance;
use crate::local::timer;

/// Handshakes that wait at one instance; whoever comes then is told to come again.
const QUEUE: u32 = 256;
/// They wait for so long: a client gives up after 20 s, and a queue that is not served in 5 will not be in 20.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// The numbers of one instance.
#[derive(Debug)]
#[repr(align(128))]
pub struct Load {
    tunnels: AtomicU32,
    /// Those that a process has which hands over, and lingers.
    elsewhere: AtomicU32,
    /// Learned sids, those that were upgraded to a tunnel included.
    sids: AtomicU32,
    /// Learned sids that no tunnel stands for.
    sessions: AtomicU32,
    handshakes: AtomicU32,
    /// Tunnels whose instance side has broken off, and whose client has not left yet.
    broken: AtomicU32,
    queued: AtomicU32,
    shed: AtomicU64,
    evicted: AtomicU64,
    /// One permit for each handshake in flight; `None`: `max_handshakes` is off.
    turns: Option<Arc<Semaphore>>,
}

/// Why a handshake may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The instance carries as many tunnels as it may: another may have room.
    Full,
    /// Too many wait already, or this one has waited too long: another may be quicker.
    Queue,
    /// Its client left while it waited.
    Left,
}

impl Load {
    pub(super) fn new(max_handshakes: Option<u32>) -> Self {
        Load {
            tunnels: AtomicU32::new(0),
            elsewhere: AtomicU32::new(0),
            sids: AtomicU32::new(0),
            sessions: AtomicU32::new(0),
            handshakes: AtomicU32::new(0),
            broken: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            turns: max_handshakes.map(|turns| Arc::new(Semaphore::new(turns as usize))),
        }
    }

    /// Open tunnels.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// The same, with those of processes that linger: as many as the instance has.
    pub fn everywhere(&self) -> u32 {
        self.with_others(self.tunnels())
    }

    /// So many here, with the tunnels of processes that linger.
    pub(super) fn with_others(&self, here: u32) -> u32 {
        here.saturating_add(self.elsewhere.load(Ordering::Relaxed))
    }

    /// A process that lingers has so many tunnels of the instance.
    pub fn has_elsewhere(&self, tunnels: u32) {
        self.elsewhere.store(tunnels, Ordering::Relaxed);
    }

    /// Learned sids.
    pub fn sids(&self) -> u32 {
        self.sids.load(Ordering::Relaxed)
    }

    /// Learned sids that no tunnel stands for, and whose clients poll.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Handshakes in flight.
    pub fn handshakes(&self) -> u32 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Handshakes that wait for their turn.
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Handshakes that were turned away, so far.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Learned sids that had to make room, so far.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The instance side of a tunnel has broken off; how many are in that state, this one included.
    pub fn one_broke_off(&self) -> u32 {
        self.broken.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Such a tunnel has ended.
    pub fn broken_one_ended(&self) {
        self.broken.fetch_sub(1, Ordering::Relaxed);
    }

    /// One of its learned sids had to make room.
    pub fn one_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// Tunnels, sessions without one, handshakes in flight and those that wait: what placement goes by. Were those that wait left
    /// out, an instance with a queue would seem to carry no more than its turns, and a crowd would go on joining the queue.
    pub fn total(&self) -> u32 {
        self.begun().saturating_add(self.queued())
    }

    /// The same without those that wait.
    pub(super) fn begun(&self) -> u32 {
        self.tunnels().saturating_add(self.sessions()).saturating_add(self.handshakes())
    }
}

/// A handshake in flight: an upgrade, or a new Engine.IO session.
#[derive(Debug)]
pub struct Handshake {
    instance: Arc<Instance>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Handshake {
    /// Begins one, or waits for its turn until the client has `left`. `in_session`: an upgrade of a session that counts already.
    ///
    /// # Errors
    /// When the instance has no room, or the queue has none.
    pub async fn begin(
        instance: &Arc<Instance>,
        in_session: bool,
        left: impl Future<Output = ()>,
    ) -> Result<Self, Shed> {
        let load = &instance.load;
        let at_once = load.turns.as_ref().map(|turns| turns.clone().try_acquire_owned());
        let turn = match (at_once, &load.turns) {
            (Some(Err(_)), Some(turns)) => {
                // In a box: waiting is rare, and every exchange would have room for it.
                Some(Box::pin(wait(load, turns, left)).await?)
            }
            (at_once, _) => at_once.and_then(Result::ok),
        };
        instance.load.handshakes.fetch_add(1, Ordering::Relaxed);
        let handshake = Handshake { instance: instance.clone(), turn };
        // Counted first, looked at then: of several that come at once none is too many.
        if instance.is_beyond(in_session) { Err(Shed::Full) } else { Ok(handshake) }
    }

    /// The instance has answered, so it is another one's turn. This one counts on until what comes of it does.
    pub fn answered(&mut self) {
        self.turn = None;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.instance.load.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn wait(
    load: &Load,
    turns: &Arc<Semaphore>,
    left: impl Future<Output = ()>,
) -> Result<OwnedSemaphorePermit, Shed> {
    struct Queued<'l>(&'l Load);
    impl Drop for Queued<'_> {
        fn drop(&mut self) {
            self.0.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let before = load.queued.fetch_add(1, Ordering::Relaxed);
    let queued = Queued(load);
    let turn = match before {
        0..QUEUE => {
            let turn = timer::within(QUEUE_WAIT, turns.clone().acquire_owned());
            tokio::select! {
                biased;
                () = left => return Err(Shed::Left),
                turn = turn => turn,
            }
        }
        _ => None,
    };
    drop(queued);
    turn.and_then(Result::ok).ok_or_else(|| {
        load.shed.fetch_add(1, Ordering::Relaxed);
        Shed::Queue
    })
}

/// An open tunnel of an instance.
#[derive(Debug)]
pub struct OpenTunnel(Arc<Instance>);

impl OpenTunnel {
    /// Counts it.
    pub fn begin(instance: Arc<Instance>) -> Self {
        instance.load.tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(instance)
    }
}

impl Deref for OpenTunnel {
    type Target = Arc<Instance>;

    fn deref(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.load.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A learned Engine.IO session: where it lives.
#[derive(Debug)]
pub struct Home {
    instance: Arc<Instance>,
    sid_hash: u64,
    life: Life,
}

/// What a session lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It polls.
    Polling,
    /// Its client has dropped a poll, which is how one leaves; or it comes again.
    Left,
    /// A tunnel stands for it.
    Tunnel,
}

impl Home {
    /// Counts a session. `sid_hash`: what the access log shows of its sid.
    pub fn of(instance: Arc<Instance>, sid_hash: u64) -> Self {
        instance.load.sids.fetch_add(1, Ordering::Relaxed);
        instance.load.sessions.fetch_add(1, Ordering::Relaxed);
        Home { instance, sid_hash, life: Life::Polling }
    }

    /// Of a session that lives by `life`.
    pub fn living(instance: Arc<Instance>, life: Life, sid_hash: u64) -> Self {
        let mut home = Self::of(instance, sid_hash);
        home.lives(life);
        home
    }

    /// What it lives by.
    pub fn life(&self) -> Life {
        self.life
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// What the access log shows of its sid.
    pub fn sid_hash(&self) -> u64 {
        self.sid_hash
    }

    /// A tunnel stands for it.
    pub fn is_tunnel(&self) -> bool {
        self.life == Life::Tunnel
    }

    /// A tunnel stands for it from now on. (Should its client fail to use the tunnel and go on polling, the session
    /// is not counted again: it is still known.)
    pub fn upgraded(&mut self) {
        self.lives(Life::Tunnel);
    }

    /// Its client has dropped a poll: it does not count, until the client comes again.
    pub fn left(&mut self) {
        if self.life == Life::Polling {
            self.lives(Life::Left);
        }
    }

    /// Its client had dropped a poll.
    pub fn has_left(&self) -> bool {
        self.life == Life::Left
    }

    /// Its client has come again.
    pub fn is_back(&mut self) {
        if self.life == Life::Left {
            self.lives(Life::Polling);
        }
    }

    fn lives(&mut self, life: Life) {
        let sessions = &self.instance.load.sessions;
        match (self.life == Life::Polling, life == Life::Polling) {
            (true, false) => sessions.fetch_sub(1, Ordering::Relaxed),
            (false, true) => sessions.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        self.life = life;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.lives(Life::Left);
        self.instance.load.sids.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::config;
    use crate::upstream::Upstream;

    fn instance(keys: &str, of_instance: &str) -> Arc<Instance> {
        let text = format!(
            "listen = \"127.0.0.1:80\"\n[upstream.app]\n{keys}\ninstances = [{{ address = \"127.0.0.1:81\"{of_instance} }}]\n"
        );
        let config = config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        Upstream::new(config.upstreams[0].clone(), None, 1).instances[0].clone()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_carried_counts_for_as_long_as_it_lives() {
        let instance = instance("", "");
        let check = |expected: (u32, u32, u32, u32)| {
            let load = &instance.load;
            assert_eq!((load.tunnels(), load.sids(), load.handshakes(), load.total()), expected);
        };
        let handshake = Handshake::begin(&instance, false, pending()).await.unwrap();
        check((0, 0, 1, 1));
        let mut home = Home::of(instance.clone(), 0);
        drop(handshake);
        check((0, 1, 0, 1));
        let tunnel = OpenTunnel::begin(instance.clone());
        check((1, 1, 0, 2));
        home.upgraded();
        home.upgraded();
        check((1, 1, 0, 1));
        home.left();
        home.is_back();
        check((1, 1, 0, 1));
        drop(home);
        check((1, 0, 0, 1));
        drop(tunnel);
        check((0, 0, 0, 0));
        let mut home = Home::of(instance.clone(), 0);
        home.left();
        home.left();
        check((0, 1, 0, 0));
        home.is_back();
        check((0, 1, 0, 1));
        home.left();
        drop(home);
        check((0, 0, 0, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answered_handshake_leaves_its_turn_and_counts_on() {
        let instance = instance("max_handshakes = 1", ", max_tunnels = 2");
        let mut first = Handshake::begin(&instance, false, pending()).await.unwrap();
        first.answered();
        let second = Handshake::begin(&instance, false, pending()).await.unwrap();
        drop(second);
        let _tunnel = OpenTunnel::begin(instance.clone());
        assert!(matches!(Handshake::begin(&instance, false, pending()).await, Err(Shed::Full)));
        assert_eq!(instance.load.handshakes(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_instance_takes_no_start_and_none_slips_through() {
        let instance = instance("", ", max_tunnels = 2");
        let first = Handshake::begin(&instance, false, pending()).await.unwrap();
        let _tunnel = OpenTunnel::begin(instance.clone());
        assert!(matches!(Handshake::begin(&instance, false, pending()).await, Err(Shed::Full)));
        assert_eq!(instance.load.handshakes(), 1, "what may not begin does not count");
        drop(first);
        // The session counts already: its upgrade takes the place that it has.
        let mut session = Home::of(instance.clone(), 0);
        assert!(matches!(Handshake::begin(&instance, false, pending()).await, Err(Shed::Full)));
        let upgrade = Handshake::begin(&instance, true, pending()).await.unwrap();
        let _second = OpenTunnel::begin(instance.clone());
        drop(upgrade);
        session.upgraded();
        assert!(matches!(Handshake::begin(&instance, true, pending()).await, Err(Shed::Full)));
        assert_eq!((instance.load.total(), instance.load.shed()), (2, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn handshakes_wait_for_their_turn_in_a_bounded_queue() {
        let instance = instance("max_handshakes = 1", "");
        let first = Handshake::begin(&instance, false, pending()).await.unwrap();
        let mut waiting: Vec<_> =
            (0..=QUEUE).map(|_| Box::pin(Handshake::begin(&instance, false, pending()))).collect();
        let mut polled = 0;
        for future in &mut waiting {
            let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
            polled += 1;
            assert_eq!(poll.is_ready(), polled > QUEUE, "{polled}");
        }
        let load = &instance.load;
        assert_eq!((load.queued(), load.shed(), load.total()), (QUEUE, 1, QUEUE + 1));
        drop(first);
        let second = waiting.remove(0).await.unwrap();
        assert_eq!((instance.load.queued(), instance.load.handshakes()), (QUEUE - 1, 1));
        // Clients that leave give up their place.
        waiting.clear();
        assert_eq!(instance.load.queued(), 0);
        drop(second);
        assert!(Handshake::begin(&instance, false, pending()).await.is_ok());
    }
}
