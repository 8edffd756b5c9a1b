use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicIsize, AtomicU64};
use std::thread;

use super::addresses::Addresses;
use super::*;
use crate::affinity::sid::LIFETIME_MAX;

const LIFETIME: Duration = Duration::from_secs(55);

fn client(number: u32) -> ClientKey {
    ClientKey(IpAddr::V4(number.into()))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl<H> Table<H> {
    /// Changes the home of `key`, under the shard's lock: `edit` must not use the table. This is no use of the session.
    pub(super) fn with<R>(&self, key: SidKey, edit: impl FnOnce(&mut H) -> R) -> Option<R> {
        self.shard(key).get_mut(key).map(edit)
    }

    /// Takes out the session of `key`, though it may be in an exchange.
    pub(super) fn forget(&self, key: SidKey) -> Option<H> {
        self.shard(key).forget(key)
    }
}

/// A table whose homes are names, and what is done to it in turn.
struct Fixture {
    table: Arc<Table<u64>>,
    held: BTreeMap<u64, Held<u64>>,
    now: Duration,
}

impl Fixture {
    fn new(capacity: usize) -> Self {
        Self { table: Arc::new(Table::new(capacity)), held: BTreeMap::new(), now: seconds(100) }
    }

    fn key(&self, sid: u64) -> SidKey {
        self.table.key("chat", &sid.to_le_bytes())
    }

    /// The home is the sid. Tells who made room; the sid itself is not kept when that is `Err`.
    fn learn(&self, sid: u64, address: u32) -> Result<Option<u64>, ()> {
        let learned = self.table.learn(self.key(sid), client(address), sid, None, LIFETIME, self.now);
        if learned.kept { Ok(learned.evicted) } else { Err(()) }
    }

    /// An exchange that begins and ends now.
    fn touch(&self, sid: u64) -> bool {
        let held = self.table.hold(self.key(sid), self.now, |home, _| assert_eq!(*home, sid));
        held.map(|(held, ())| held.release(self.now)).is_some()
    }

    fn hold(&mut self, sid: u64) {
        let (held, ()) = self.table.hold(self.key(sid), self.now, |_, _| ()).unwrap();
        self.held.insert(sid, held);
    }

    fn release(&mut self, sid: u64) {
        self.held.remove(&sid).unwrap().release(self.now);
    }

    fn has(&self, sid: u64) -> bool {
        self.table.with(self.key(sid), |home| assert_eq!(*home, sid)).is_some()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn capacities() {
    let check = |shards, capacity| {
        let table = Table::<u64>::new(capacity);
        assert_eq!((table.shards.len(), table.capacity(), table.len()), (shards, capacity, 0));
        assert!(table.is_empty());
        assert_eq!(table.shards.iter().map(|shard| lock(shard).capacity()).sum::<usize>(), capacity);
    };
    check(1, 1);
    check(1, 8191);
    check(2, 8193);
    check(3, 4 * SHARD_CAPACITY_MIN - 1);
    check(64, 1_000_000);
    check(64, 100_000_000);
    assert_eq!(Table::<u64>::new(0).capacity(), 1);
}

#[test]
fn a_session_lives_as_long_as_it_is_used() {
    let mut fixture = Fixture::new(100);
    assert_eq!(fixture.learn(1, 1), Ok(None));
    fixture.pass(54);
    assert!(fixture.touch(1));
    fixture.pass(54);
    assert!(fixture.touch(1));
    // In an exchange it does not grow old, and afterwards it is young.
    fixture.hold(1);
    fixture.pass(1000);
    assert_eq!(fixture.table.sweep(fixture.now, 10), 0);
    assert!(fixture.touch(1));
    fixture.release(1);
    fixture.pass(54);
    assert!(fixture.touch(1));
    // Two exchanges: the later end counts.
    fixture.hold(1);
    let (second, ()) = fixture.table.hold(fixture.key(1), fixture.now, |_, _| ()).unwrap();
    fixture.pass(50);
    fixture.release(1);
    fixture.pass(100);
    assert_eq!(fixture.table.sweep(fixture.now, 10), 0);
    second.release(fixture.now);
    fixture.pass(54);
    assert_eq!(fixture.table.sweep(fixture.now, 10), 0);
    fixture.pass(1);
    assert_eq!(fixture.table.len(), 1);
    assert!(!fixture.touch(1));
    assert_eq!(fixture.table.len(), 0);
}

/// A guard that is dropped counts from the time that the shard knows; one of a session that is gone, or came anew, does nothing.
#[test]
fn guards_end_in_any_way() {
    let mut fixture = Fixture::new(100);
    fixture.learn(1, 1).unwrap();
    fixture.hold(1);
    fixture.pass(30);
    assert!(!fixture.touch(2));
    fixture.held.clear();
    fixture.pass(54);
    assert!(fixture.touch(1));
    // Not released, and nothing happened meanwhile.
    fixture.hold(1);
    fixture.held.clear();
    fixture.pass(55);
    assert!(!fixture.touch(1));

    fixture.learn(1, 1).unwrap();
    fixture.hold(1);
    assert_eq!(fixture.table.forget(fixture.key(1)), Some(1));
    assert_eq!(fixture.table.forget(fixture.key(1)), None);
    fixture.release(1);
    fixture.learn(1, 1).unwrap();
    fixture.hold(1);
    let old = fixture.held.remove(&1).unwrap();
    fixture.learn(1, 2).unwrap();
    fixture.hold(1);
    old.release(fixture.now);
    // Still pinned by the newer one.
    fixture.pass(1000);
    assert_eq!(fixture.table.sweep(fixture.now, 10), 0);
    fixture.release(1);
    assert_eq!(fixture.table.len(), 1);
}

#[test]
fn time_does_not_go_back() {
    let mut fixture = Fixture::new(100);
    fixture.learn(1, 1).unwrap();
    fixture.hold(1);
    fixture.held.remove(&1).unwrap().release(seconds(0));
    fixture.now = seconds(100 + 54);
    assert!(fixture.touch(1));
    // Nor does it end.
    let end = Duration::MAX;
    fixture.table.learn(fixture.key(2), client(1), 2, None, Duration::MAX, end);
    assert!(fixture.table.hold(fixture.key(2), end, |_, _| ()).is_none());
}

#[test]
fn a_lifetime_has_a_bound() {
    let fixture = Fixture::new(100);
    fixture.table.learn(fixture.key(1), client(1), 1, None, Duration::MAX, seconds(0));
    assert_eq!(fixture.table.sweep(LIFETIME_MAX.saturating_sub(seconds(1)), 10), 0);
    assert_eq!(fixture.table.sweep(LIFETIME_MAX, 10), 1);
}

#[test]
fn learned_again_it_is_replaced() {
    let table = Arc::new(Table::new(1));
    let key = table.key("chat", b"a");
    let other = table.key("chat-b", b"a");
    assert_ne!(key, other);
    assert_ne!(table.key("chat-", b"ba"), other);
    assert_ne!(table.key("chat", b"-ba"), other);
    let learn = |key, home, cors| table.learn(key, client(1), home, cors, LIFETIME, seconds(0));
    assert_eq!(learn(key, "one", Some(b"x")), Learned { evicted: None, kept: true });
    assert_eq!(learn(key, "two", None), Learned { evicted: None, kept: true });
    let seen = table.hold(key, seconds(0), |home, cors| (*home, cors.cloned())).unwrap().1;
    assert_eq!(seen, ("two", None));
    assert_eq!(table.with(key, |home| *home = "three"), Some(()));
    assert_eq!(learn(other, "four", None), Learned { evicted: Some("three"), kept: true });
    assert_eq!(table.with(key, |_| ()), None);
}

#[test]
fn a_guard_touches_its_own_session_only() {
    let table = Arc::new(Table::new(10));
    let key = table.key("chat", b"a");
    let learn = |home, cors: &[u8]| table.learn(key, client(1), home, Some(cors), LIFETIME, seconds(0));
    let hold = || table.hold(key, seconds(0), |home, _| *home).unwrap();
    learn("one", b"X: 1\r\n");
    let (older, seen) = hold();
    older.edit(|home| *home = "changed");
    assert_eq!((seen, hold().1), ("one", "changed"));
    assert_eq!(older.cors().as_deref(), Some(&b"X: 1\r\n"[..]));
    // The instance gave the sid to another session.
    learn("two", b"X: 2\r\n");
    older.edit(|home| *home = "wrong");
    older.forget();
    assert_eq!(older.cors(), None);
    let (newer, seen) = hold();
    assert_eq!((seen, newer.cors().as_deref()), ("two", Some(&b"X: 2\r\n"[..])));
    newer.forget();
    assert!(table.is_empty());
}

#[test]
fn cors_lines_are_kept_once() {
    let table = Arc::new(Table::new(1000));
    let key = |number: u64| table.key("chat", &number.to_le_bytes());
    let text =
        |number: u64| format!("Access-Control-Allow-Origin: https://{number}.example\r\n").into_bytes();
    let learn = |number: u64, cors: &[u8]| {
        assert!(table.learn(key(number), client(1), number, Some(cors), LIFETIME, seconds(0)).kept);
    };
    let seen = |number: u64| table.hold(key(number), seconds(0), |_, cors| cors.cloned()).unwrap().1;

    for number in 0..200 {
        learn(number, &text(number % 64));
    }
    for number in 0..200 {
        assert_eq!(*seen(number).unwrap(), text(number % 64));
    }
    assert!(Arc::ptr_eq(&seen(0).unwrap(), &seen(64).unwrap()));
    // One more does not fit, until one is unused.
    learn(300, &text(64));
    assert_eq!(seen(300), None);
    for number in [5, 69, 133] {
        table.forget(key(number));
        assert_eq!(*seen(197).unwrap(), text(5));
    }
    table.forget(key(197));
    learn(301, &text(64));
    assert_eq!(*seen(301).unwrap(), text(64));
    // Too long, just not too long, empty.
    learn(302, &[b'x'; interned::TEXT_MAX + 1]);
    assert_eq!(seen(302), None);
    table.forget(key(301));
    learn(303, &[b'x'; interned::TEXT_MAX]);
    assert_eq!(seen(303).unwrap().len(), interned::TEXT_MAX);
    table.forget(key(303));
    learn(304, b"");
    assert_eq!(&*seen(304).unwrap(), b"");
}

/// Lifetimes have their lists, few of them; expired is expired in whatever list.
#[test]
fn many_lifetimes() {
    let table = Arc::new(Table::new(4000));
    let key = |number: u64| table.key("chat", &number.to_le_bytes());
    let learn = |number: u64, lifetime: u64| {
        table.learn(key(number), client(1), number, None, seconds(lifetime), seconds(0));
    };
    // Fifteen as they are, the others as the next longer one or the longest of all.
    for number in 0..15 {
        learn(number, 100 * (number + 1));
    }
    learn(100, 101);
    learn(101, 99);
    learn(102, 1501);
    learn(103, 9999);
    for second in [99, 100, 199, 200, 1500, 9999] {
        let expected = match second {
            100 | 200 => 2,
            1500 => 13,
            _ => 0,
        };
        assert_eq!(table.sweep(seconds(second), 100), expected, "{second}");
    }
    assert_eq!(table.len(), 2);
    // Lists without sessions are there for others again.
    for number in 0..15 {
        table.learn(key(number), client(1), number, None, seconds(7 + number), seconds(10_000));
    }
    assert_eq!(table.sweep(seconds(10_021), 100), 15);
    assert_eq!(table.sweep(LIFETIME_MAX, 100), 2);
}

#[test]
fn sweeping_is_bounded_and_gets_everywhere() {
    let table = Arc::new(Table::new(5 * SHARD_CAPACITY_MIN));
    for number in 0..1000_u64 {
        let lifetime = seconds(50 + number % 3);
        table.learn(table.key("chat", &number.to_le_bytes()), client(1), number, None, lifetime, seconds(0));
    }
    assert_eq!(table.sweep(seconds(49), 1000), 0);
    assert_eq!(table.sweep(seconds(52), 0), 0);
    assert_eq!(table.sweep(seconds(51), 10_000), 667);
    for left in (0..333).rev() {
        assert_eq!(table.sweep(seconds(52), 1), 1);
        assert_eq!(table.len(), left);
    }
    assert_eq!(table.sweep(seconds(52), usize::MAX), 0);
}

/// Who makes room in a table for sixteen: an address's share is two, and so is that of sessions that were only started.
#[test]
fn who_makes_room() {
    // 1. Whoever is expired.
    let mut fixture = Fixture::new(16);
    fixture.learn(0, 0).unwrap();
    fixture.pass(20);
    (1..16).for_each(|sid| assert_eq!(fixture.learn(sid, 7), Ok(None)));
    fixture.pass(35);
    assert_eq!(fixture.learn(16, 7), Ok(None));
    assert!(!fixture.has(0));
    // 2. An address that has its share pays for itself.
    assert_eq!(fixture.learn(17, 7), Ok(Some(1)));
    // Another takes from the one that has too much.
    assert_eq!(fixture.learn(18, 8), Ok(Some(2)));
    assert_eq!(fixture.learn(19, 8), Ok(Some(3)));
    // It has its share now, so it pays too.
    assert_eq!(fixture.learn(20, 8), Ok(Some(18)));
    // Used last is last.
    assert!(fixture.touch(4));
    assert_eq!(fixture.learn(21, 9), Ok(Some(5)));
    // What is in an exchange stays.
    fixture.hold(6);
    assert_eq!(fixture.learn(22, 10), Ok(Some(7)));

    // 3. Nobody has more than the share: those that were only started, the longest unused, down to two.
    let mut fixture = Fixture::new(16);
    (0..16).for_each(|sid| assert_eq!(fixture.learn(sid, u32::try_from(sid).unwrap()), Ok(None)));
    fixture.pass(1);
    (0..12).for_each(|sid| assert!(fixture.touch(sid)));
    fixture.pass(1);
    assert_eq!(fixture.learn(20, 20), Ok(Some(12)));
    assert!(fixture.touch(20));
    assert_eq!(fixture.learn(21, 21), Ok(Some(13)));
    assert_eq!(fixture.learn(22, 22), Ok(Some(14)));
    assert!(fixture.touch(22));
    // 4. 15 and 21 are left of those: anybody.
    assert_eq!(fixture.learn(23, 23), Ok(Some(15)));
    assert_eq!(fixture.learn(24, 24), Ok(Some(0)));

    // All are in an exchange.
    let mut fixture = Fixture::new(16);
    for sid in 0..16 {
        fixture.learn(sid, u32::try_from(sid).unwrap()).unwrap();
        fixture.hold(sid);
    }
    assert_eq!(fixture.learn(20, 20), Err(()));
    assert_eq!(fixture.table.len(), 16);
    fixture.release(3);
    assert_eq!(fixture.learn(20, 20), Ok(Some(3)));
    // The address has its share, all of it in exchanges: it gets nothing from others, unless they have too much.
    let mut fixture = Fixture::new(16);
    for sid in 0..14 {
        fixture.learn(sid, u32::try_from(sid).unwrap()).unwrap();
    }
    for sid in [14, 15] {
        fixture.learn(sid, 14).unwrap();
        fixture.hold(sid);
    }
    assert_eq!(fixture.learn(20, 14), Err(()));
    assert_eq!(fixture.learn(20, 15), Ok(Some(0)));
}

/// Ten times the capacity from one address.
#[test]
fn a_flood_from_one_address_costs_that_address() {
    let capacity = 2 * SHARD_CAPACITY_MIN;
    let fixture = Fixture::new(capacity);
    let honest = u64::try_from(capacity / 2).unwrap();
    for sid in 0..honest {
        fixture.learn(sid, 1000 + u32::try_from(sid).unwrap() / 2).unwrap();
    }
    let flood = u64::try_from(capacity).unwrap() * 10;
    for sid in 0..flood {
        let evicted = fixture.learn(1_000_000 + sid, 1).unwrap();
        assert!(evicted.is_none_or(|evicted| evicted >= 1_000_000));
    }
    assert!((0..honest).all(|sid| fixture.has(sid)));
    assert_eq!(fixture.table.len(), capacity);
    // Then others come, and the flood makes room down to its share.
    for sid in honest..honest + 2000 {
        let evicted = fixture.learn(sid, 1000 + u32::try_from(sid).unwrap() / 2).unwrap();
        assert!(evicted.is_some_and(|evicted| evicted >= 1_000_000));
    }
}

/// A million addresses, one session each.
#[test]
fn a_flood_from_many_addresses_costs_nobody_who_is_there() {
    let capacity = 2 * SHARD_CAPACITY_MIN;
    let mut fixture = Fixture::new(capacity);
    let honest = u64::try_from(capacity / 4 * 3).unwrap();
    for sid in 0..honest {
        fixture.learn(sid, u32::try_from(sid).unwrap()).unwrap();
        assert!(fixture.touch(sid));
    }
    fixture.pass(1);
    for sid in 0..1_000_000_u64 {
        fixture.learn(1_000_000 + sid, 1_000_000 + u32::try_from(sid).unwrap()).unwrap();
    }
    assert!((0..honest).all(|sid| fixture.touch(sid)));
    assert!(fixture.table.len() <= capacity);
}

/// Bytes that the table has allocated for what grows with its sessions.
fn allocated<H>(table: &Table<H>) -> usize {
    table.shards.iter().map(|shard| lock(shard).allocated()).sum()
}

#[test]
fn invented_sids_cost_nothing() {
    let fixture = Fixture::new(10_000);
    for sid in 0..5000 {
        fixture.learn(sid, 1).unwrap();
    }
    let before = allocated(&fixture.table);
    for sid in 0..10_000_000_u64 {
        assert!(!fixture.touch(1_000_000 + sid));
    }
    assert_eq!((fixture.table.len(), allocated(&fixture.table)), (5000, before));
}

/// Without homes, each with an address of its own, which is the worst case.
#[test]
fn bytes_of_a_session() {
    assert!(size_of::<Held<String>>() <= 24);
    assert!(Shard::<()>::session_size() <= 48, "{}", Shard::<()>::session_size());
    assert!(Addresses::address_size() <= 32, "{}", Addresses::address_size());
    // One of the shards of a table for a million, the default of `limits.sids`.
    let hasher = RandomState::new();
    let mut shard = Shard::new(1_000_000 / SHARDS_MAX, hasher.clone());
    for number in 0..20_000_u32 {
        let key = SidKey(std::hash::BuildHasher::hash_one(&hasher, number));
        shard.learn(New { key, client: client(number), home: (), cors: None, lifetime: 55_000 }, 0);
    }
    let (bytes, sessions) = (shard.allocated(), shard.len());
    // So all of them are less than 110 MB.
    assert!(bytes <= sessions * 110, "{bytes} bytes for {sessions} sessions");
}

/// A home that counts.
struct Counted {
    number: u64,
    alive: Arc<AtomicIsize>,
    dropped: Arc<AtomicU64>,
}

impl Counted {
    fn new(number: u64, alive: &Arc<AtomicIsize>, dropped: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, alive: Arc::clone(alive), dropped: Arc::clone(dropped) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn four_threads_agree_on_what_is_left() {
    const LEARNED: u64 = 20_000;
    let table = Arc::new(Table::new(3 * SHARD_CAPACITY_MIN));
    let (alive, dropped) = (Arc::default(), Arc::default());
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let (table, alive, dropped) = (Arc::clone(&table), Arc::clone(&alive), Arc::clone(&dropped));
            let work = move || {
                let mut held = Vec::new();
                for step in 0..LEARNED {
                    // Every other sid is one that all threads use.
                    let sid = if step % 2 == 0 { step } else { step * 4 + thread + 1_000_000 };
                    let key = table.key("chat", &sid.to_le_bytes());
                    let now = Duration::from_millis(step * 10 + thread);
                    let home = Counted::new(sid, &alive, &dropped);
                    let address = client(u32::try_from(step % 97 + thread).unwrap());
                    table.learn(
                        key,
                        address,
                        home,
                        Some(&[b'x'; 64][..=usize::try_from(step % 60).unwrap()]),
                        LIFETIME,
                        now,
                    );
                    let older = table.key("chat", &(step / 4 * 2).to_le_bytes());
                    if let Some((pin, ())) =
                        table.hold(older, now, |home, _| assert_eq!(home.number, step / 4 * 2))
                    {
                        held.push(pin);
                    }
                    match step % 5 {
                        0 => drop(held.pop()),
                        1 if held.len() > 50 => held.drain(..).for_each(|held| held.release(now)),
                        2 => drop(table.forget(older)),
                        3 => assert!(table.sweep(now, 3) <= 3),
                        _ => assert!(table.with(key, |home| home.number == sid).is_none_or(|same| same)),
                    }
                }
            };
            thread::Builder::new().name(format!("hammer {thread}")).spawn(work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let left = isize::try_from(table.len()).unwrap();
    assert!(left > 0 && table.len() <= table.capacity());
    assert_eq!(alive.load(Ordering::Relaxed), left);
    // No guard was left behind, so all of it expires.
    assert_eq!(table.sweep(seconds(1_000_000), usize::MAX), usize::try_from(left).unwrap());
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    assert_eq!(dropped.load(Ordering::Relaxed), 4 * LEARNED);
}

/// Over several shards, few at a time, each session once; those that are expired are not there.
#[test]
fn all_sessions_are_looked_at() {
    let mut fixture = Fixture::new(2 * SHARD_CAPACITY_MIN);
    for sid in 0..1000 {
        if sid == 500 {
            fixture.pass(10);
        }
        fixture.learn(sid, u32::try_from(sid % 7).unwrap()).unwrap();
    }
    fixture.hold(3);
    fixture.pass(2);
    let look = |fixture: &Fixture| {
        let (mut seen, mut from, mut locks) = (BTreeMap::new(), Some(Looked::default()), 0);
        while let Some(at) = from {
            from = fixture.table.look(at, fixture.now, |session| {
                let Seen { home, client, held, idle, left } = session;
                assert!(seen.insert(*home, (client, held, idle, left)).is_none(), "{home} twice");
            });
            locks += 1;
        }
        assert!(locks >= 1000 / SEEN_PER_LOCK, "{locks}");
        seen
    };
    let seen = look(&fixture);
    assert_eq!(seen.len(), 1000);
    assert_eq!(seen[&4], (client(4), false, seconds(12), seconds(43)));
    assert_eq!(seen[&3], (client(3), true, seconds(0), LIFETIME));
    assert_eq!(seen[&999], (client(5), false, seconds(2), seconds(53)));
    fixture.pass(44);
    let seen = look(&fixture);
    assert_eq!((seen.len(), seen.contains_key(&3), seen.contains_key(&4)), (501, true, false));
    assert!(
        Fixture::new(10).table.look(Looked::default(), seconds(1), |_| panic!("nobody is there")).is_none()
    );
}

/// A table may be dropped while guards still live: they own it.
#[test]
fn guards_outlive_the_table() {
    let (alive, dropped) = (Arc::default(), Arc::default());
    let table = Arc::new(Table::new(10));
    let key = table.key("chat", b"a");
    table.learn(key, client(1), Counted::new(1, &alive, &dropped), None, LIFETIME, seconds(0));
    let (held, ()) = table.hold(key, seconds(0), |_, _| ()).unwrap();
    drop(table);
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    held.release(seconds(1));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
