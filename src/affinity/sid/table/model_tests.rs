//! The table against its rules, written down once more without any care for speed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What is done to the table and to the model.
#[derive(Clone, Debug)]
enum Step {
    Learn {
        sid: u64,
        address: u32,
        lifetime: u64,
        cors: Option<u8>,
    },
    Hold(u64),
    /// One of the guards; by name or by dropping it.
    Release(Index, bool),
    Forget(u64),
    Sweep(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sid = || 0..40_u64;
    let lifetime = prop_oneof![3 => Just(20_u64), 1 => 15..25_u64];
    prop_oneof![
        6 => (sid(), 0..6_u32, lifetime, prop::option::of(0..80_u8))
            .prop_map(|(sid, address, lifetime, cors)| Step::Learn { sid, address, lifetime, cors }),
        4 => sid().prop_map(Step::Hold),
        3 => any::<(Index, bool)>().prop_map(|(which, by_name)| Step::Release(which, by_name)),
        1 => sid().prop_map(Step::Forget),
        1 => (0..4_usize).prop_map(Step::Sweep),
        2 => (0..8_u64).prop_map(Step::Pass),
    ]
}

/// A session, and its home: the number of the step that learned it.
#[derive(Clone, Debug)]
struct Session {
    sid: u64,
    home: u64,
    address: u32,
    lifetime: u64,
    used_at: u64,
    used: bool,
    pins: u32,
}

/// What has to happen when a session is learned.
#[derive(Debug)]
enum Expected {
    Room,
    Replaced(u64),
    /// One of these is dropped.
    Expired(BTreeSet<u64>),
    /// One of these is evicted.
    Evicted(BTreeSet<u64>),
    Refused,
}

struct Model {
    capacity: usize,
    now: u64,
    sessions: Vec<Session>,
}

impl Model {
    fn is_expired(&self, session: &Session) -> bool {
        session.pins == 0 && session.used_at + session.lifetime <= self.now
    }

    fn expired(&self) -> BTreeSet<u64> {
        self.sessions.iter().filter(|session| self.is_expired(session)).map(|session| session.home).collect()
    }

    fn find(&mut self, is_it: impl Fn(&Session) -> bool) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| is_it(session))
    }

    fn home(&mut self, sid: u64) -> Option<u64> {
        self.find(|session| session.sid == sid).map(|session| session.home)
    }

    fn sessions_of(&self, address: u32) -> usize {
        self.sessions.iter().filter(|session| session.address == address).count()
    }

    fn expected(&mut self, sid: u64, address: u32) -> Expected {
        if let Some(home) = self.home(sid) {
            return Expected::Replaced(home);
        }
        if self.sessions.len() < self.capacity {
            return Expected::Room;
        }
        let expired = self.expired();
        if !expired.is_empty() {
            return Expected::Expired(expired);
        }
        let idle = || self.sessions.iter().filter(|session| session.pins == 0);
        let share = (self.capacity / 8).max(1);
        let at_share = self.sessions_of(address) >= share;
        let own: Vec<_> = idle().filter(|session| at_share && session.address == address).collect();
        let above: Vec<_> = idle().filter(|session| self.sessions_of(session.address) > share).collect();
        let started: Vec<_> = idle().filter(|session| !session.used).collect();
        let among = if !own.is_empty() {
            own
        } else if !above.is_empty() || at_share {
            above
        } else if started.len() > self.capacity / 8 {
            started
        } else {
            idle().collect()
        };
        match among.iter().map(|session| session.used_at).min() {
            Some(oldest) => {
                let oldest = among.into_iter().filter(|session| session.used_at == oldest);
                Expected::Evicted(oldest.map(|session| session.home).collect())
            }
            None => Expected::Refused,
        }
    }

    fn remove(&mut self, home: u64) {
        let before = self.sessions.len();
        self.sessions.retain(|session| session.home != home);
        assert_eq!(self.sessions.len(), before - 1);
    }
}

/// A home that tells when it is dropped.
struct Told(u64, Arc<Mutex<Vec<u64>>>);

impl Drop for Told {
    fn drop(&mut self) {
        lock(&self.1).push(self.0);
    }
}

/// The table and the model, which do the same.
struct Both {
    table: Arc<Table<Told>>,
    model: Model,
    guards: Vec<(Held<Told>, u64)>,
    dropped: Arc<Mutex<Vec<u64>>>,
}

impl Both {
    fn new(capacity: usize) -> Self {
        Self {
            table: Arc::new(Table::new(capacity)),
            model: Model { capacity, now: 0, sessions: Vec::new() },
            guards: Vec::new(),
            dropped: Arc::default(),
        }
    }

    fn key(&self, sid: u64) -> SidKey {
        self.table.key("chat", &sid.to_le_bytes())
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.model.now)
    }

    /// What was dropped since this was asked last.
    fn gone(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.dropped))
    }

    fn apply(&mut self, number: u64, step: &Step) {
        match *step {
            Step::Learn { sid, address, lifetime, cors } => self.learn(number, sid, address, lifetime, cors),
            Step::Hold(sid) => self.hold(sid),
            Step::Release(which, by_name) => self.release(which, by_name),
            Step::Forget(sid) => {
                let forgotten = self.table.forget(self.key(sid)).map(|home| home.0);
                assert_eq!(forgotten, self.model.home(sid));
                if let Some(home) = forgotten {
                    self.model.remove(home);
                    assert_eq!(self.gone(), [home]);
                }
            }
            Step::Sweep(most) => {
                let swept = self.table.sweep(self.now(), most);
                let (expired, gone) = (self.model.expired(), self.gone());
                assert_eq!((swept, gone.len()), (expired.len().min(most), swept));
                assert!(gone.iter().all(|home| expired.contains(home)));
                for home in gone {
                    self.model.remove(home);
                }
            }
            Step::Pass(by) => self.model.now += by,
        }
        assert!(self.gone().is_empty());
        assert_eq!(self.table.len(), self.model.sessions.len());
        for session in &self.model.sessions {
            assert_eq!(self.table.with(self.key(session.sid), |home| home.0), Some(session.home));
        }
        lock(&self.table.shards[0]).check();
    }

    fn learn(&mut self, number: u64, sid: u64, address: u32, lifetime: u64, cors: Option<u8>) {
        let expected = self.model.expected(sid, address);
        let cors = cors.map(|cors| [cors; 20]);
        let learned = self.table.learn(
            self.key(sid),
            ClientKey(IpAddr::V4(address.into())),
            Told(number, Arc::clone(&self.dropped)),
            cors.as_ref().map(|cors| &cors[..]),
            Duration::from_secs(lifetime),
            self.now(),
        );
        let (gone, kept) = (self.gone(), learned.kept);
        let evicted = learned.evicted.map(|home| home.0);
        assert_eq!(self.gone(), Vec::from_iter(evicted));
        match (&expected, &gone[..], evicted, kept) {
            (Expected::Room, [], None, true) => {}
            (Expected::Replaced(home), [dropped], None, true) if home == dropped => self.model.remove(*home),
            (Expected::Expired(any), [home], None, true) if any.contains(home) => self.model.remove(*home),
            (Expected::Evicted(any), [], Some(home), true) if any.contains(&home) => self.model.remove(home),
            (Expected::Refused, [home], None, false) if *home == number => return,
            _ => panic!("dropped {gone:?}, evicted {evicted:?}, kept {kept}, expected {expected:?}"),
        }
        let used_at = self.model.now;
        let session = Session { sid, home: number, address, lifetime, used_at, used: false, pins: 0 };
        self.model.sessions.push(session);
    }

    fn hold(&mut self, sid: u64) {
        let held = self.table.hold(self.key(sid), self.now(), |home, _| home.0);
        let expired = self.model.expired();
        let session = self.model.find(|session| session.sid == sid);
        match (session, held) {
            (Some(session), None) if expired.contains(&session.home) => {
                let home = session.home;
                assert_eq!(self.gone(), [home]);
                self.model.remove(home);
            }
            (Some(session), Some((guard, home))) if !expired.contains(&home) => {
                assert_eq!(home, session.home);
                session.pins += 1;
                session.used = true;
                self.guards.push((guard, home));
            }
            (None, None) => {}
            (session, held) => panic!("{session:?} {:?}", held.map(|held| held.1)),
        }
    }

    fn release(&mut self, which: Index, by_name: bool) {
        if self.guards.is_empty() {
            return;
        }
        let (guard, home) = self.guards.swap_remove(which.index(self.guards.len()));
        if by_name {
            guard.release(self.now());
        } else {
            // So the shard hears of the time.
            assert!(self.table.hold(self.key(99), self.now(), |_, _| ()).is_none());
            drop(guard);
        }
        let now = self.model.now;
        if let Some(session) = self.model.find(|session| session.home == home) {
            session.pins -= 1;
            session.used_at = now;
        }
    }

    /// Everything expires, once.
    fn finish(mut self) {
        self.guards.clear();
        let left: BTreeSet<_> = self.model.sessions.iter().map(|session| session.home).collect();
        assert_eq!(self.table.sweep(Duration::from_secs(1_000_000), usize::MAX), left.len());
        assert_eq!(self.gone().into_iter().collect::<BTreeSet<_>>(), left);
        lock(&self.table.shards[0]).check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_rules_say(capacity in 1..30_usize, steps in prop::collection::vec(step(), 0..200)) {
        let mut both = Both::new(capacity);
        for (number, step) in (0..).zip(&steps) {
            both.apply(number, step);
        }
        both.finish();
    }
}
