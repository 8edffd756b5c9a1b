//! The store of presence: in this process and in Redis it follows the same rules.

use std::sync::Arc;
use std::time::Duration;

use stickyd::app::presence::ledger::{Change, Outcome};
use stickyd::app::presence::store::{self, Store};

use super::support::{Redis, with_store};

/// How long a socket is there.
const TTL: u64 = 600;

/// How long who left before is left alone.
const GRACE: u64 = 300;

fn told(user: &str, members: &[&str]) -> Change {
    let members = members.iter().map(|&member| member.to_owned()).collect();
    Change::Told { user: user.to_owned(), members }
}

fn left(user: &str, member: &str) -> Change {
    Change::Left { user: user.to_owned(), member: member.to_owned() }
}

fn left_before(user: &str, member: &str) -> Change {
    Change::LeftBefore { user: user.to_owned(), member: member.to_owned() }
}

async fn online(store: &Arc<dyn Store>, users: &[&str]) -> Vec<bool> {
    let users: Vec<String> = users.iter().map(|&user| user.to_owned()).collect();
    store.online(&users).await.unwrap()
}

#[test]
fn a_user_is_online_while_a_socket_is() {
    use Outcome::{Came, Same, Went};
    with_store(async |link| {
        let store = store::of(&link, TTL, GRACE);
        let check = async |name: &str, user: &str, steps: &[(Change, Outcome, bool)]| {
            for (change, expected, is_online) in steps {
                assert_eq!(
                    store.apply(std::slice::from_ref(change)).await.unwrap(),
                    [*expected],
                    "{name}: {change:?}"
                );
                assert_eq!(online(&store, &[user]).await, [*is_online], "{name}: {change:?}");
            }
        };
        check("one tab", "a", &[(told("a", &["1"]), Came, true), (left("a", "1"), Went, false)]).await;
        check(
            "two tabs, the first closes first",
            "b",
            &[
                (told("b", &["1"]), Came, true),
                (told("b", &["2"]), Same, true),
                (left("b", "1"), Same, true),
                (left("b", "2"), Went, false),
            ],
        )
        .await;
        check(
            "two tabs, the second closes first",
            "c",
            &[
                (told("c", &["1"]), Came, true),
                (told("c", &["2/admin"]), Same, true),
                (left("c", "2/admin"), Same, true),
                (left("c", "1"), Went, false),
            ],
        )
        .await;
        check(
            "comes again",
            "d",
            &[
                (told("d", &["1"]), Came, true),
                (left("d", "1"), Went, false),
                (told("d", &["2"]), Came, true),
                (left("d", "2"), Went, false),
            ],
        )
        .await;
        check("one that nobody knows", "e", &[(left("e", "1"), Same, false)]).await;
        check(
            "left before, with another tab",
            "f",
            &[
                (told("f", &["1", "2"]), Came, true),
                (left_before("f", "1"), Same, true),
                (left("f", "2"), Went, false),
            ],
        )
        .await;
        check(
            "left before, and comes again in time",
            "g",
            &[
                (told("g", &["1"]), Came, true),
                (left_before("g", "1"), Same, false),
                (told("g", &["2"]), Same, true),
                (left("g", "2"), Went, false),
            ],
        )
        .await;
        check(
            "any name",
            "Zoë: 名前/*",
            &[(told("Zoë: 名前/*", &["1"]), Came, true), (left("Zoë: 名前/*", "1"), Went, false)],
        )
        .await;
        assert!(online(&store, &[]).await.is_empty());
    });
}

#[test]
fn each_who_runs_out_is_announced_once() {
    with_store(async |link| {
        let stores =
            [store::of(&link, TTL, GRACE), store::of(&link, TTL, GRACE), store::of(&link, TTL, GRACE)];
        let users: Vec<String> = (0..40).map(|number| format!("user-{number}")).collect();
        let all: Vec<Change> = users.iter().map(|user| told(user, &["dead"])).collect();
        stores[0].apply(&all).await.unwrap();
        // One comes back elsewhere; one left when nobody could be told, and nobody knew of it.
        tokio::time::sleep(Duration::from_millis(TTL / 2)).await;
        stores[1].apply(&[told("user-7", &["alive"]), left_before("unknown", "gone")]).await.unwrap();
        for store in &stores {
            assert_eq!(store.sweep().await.unwrap(), [] as [String; 0]);
        }
        tokio::time::sleep(Duration::from_millis(TTL / 2 + 20)).await;
        let mut announced = Vec::new();
        for _ in 0..3 {
            let (a, b, c) = tokio::join!(stores[0].sweep(), stores[1].sweep(), stores[2].sweep());
            announced.extend([a, b, c].into_iter().flat_map(Result::unwrap));
        }
        announced.sort();
        let mut expected: Vec<String> = users.into_iter().filter(|user| user != "user-7").collect();
        expected.push("unknown".to_owned());
        expected.sort();
        assert_eq!(announced, expected);
        assert_eq!(online(&stores[2], &["user-7", "user-8"]).await, [true, false]);
        tokio::time::sleep(Duration::from_millis(TTL / 2)).await;
        assert_eq!(stores[2].sweep().await.unwrap(), ["user-7"]);
    });
}

#[test]
fn keys_are_those_of_the_contract() {
    let redis = Redis::start();
    super::support::with_link(&redis.shared(), async |link| {
        let store = store::of(&link, 30_000, GRACE);
        store.apply(&[told("alice", &["id-1/admin"])]).await.unwrap();
        assert_eq!(redis.say(&["GET", "presence:alice"]), "id-1");
        assert_eq!(redis.say(&["ZCARD", "presence-sockets:alice"]), "1");
        let ttl: u64 = redis.say(&["PTTL", "presence:alice"]).parse().unwrap();
        assert!((29_000..=30_000).contains(&ttl), "{ttl}");
        store.apply(&[told("alice", &["id-2"]), left("alice", "id-1/admin")]).await.unwrap();
        assert_eq!(redis.say(&["GET", "presence:alice"]), "id-2");
        store.apply(&[left("alice", "id-2")]).await.unwrap();
        assert_eq!(redis.say(&["DBSIZE"]), "0");
        // Somebody else's, without an end: online, and asked about no more often than others.
        redis.say(&["SET", "presence:bob", "x"]);
        redis.say(&["ZADD", "presence-due", "1", "bob"]);
        assert_eq!(online(&store, &["bob"]).await, [true]);
        assert_eq!(store.sweep().await.unwrap(), [] as [String; 0]);
        assert!(redis.say(&["ZSCORE", "presence-due", "bob"]).len() > 10);
    });
}
