//! Presence, as clients see it: over instances that come, go and die.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use stickyd::app::instance::{Instance, Running};
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;

use super::settings;
use super::support::{Client, Redis, as_operator, as_user, get, is_ready, json_of, metric, with_both};
use crate::support::eventually;

/// An instance whose users run out soon.
fn start(name: &str, shared: &Shared) -> Running {
    let quick = Settings {
        presence_ttl: Duration::from_millis(1500),
        presence_refresh: Duration::from_millis(400),
        presence_sweep: Duration::from_millis(200),
        ..settings(name)
    };
    let instance = Instance::start(quick, shared).unwrap();
    is_ready(&instance);
    instance
}

fn online(instance: &Running, ids: &str) -> Value {
    let answer = get(instance.address(), &format!("/presence?ids={ids}"), &as_operator());
    json_of(&answer)["online"].clone()
}

fn event(name: &str, user: &str) -> (String, Value) {
    (name.to_owned(), json!({ "userId": user }))
}

#[test]
fn friends_hear_who_comes_and_goes_on_any_instance() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let mut friend = Client::of("friend", a.address());
        assert_eq!(friend.ask("watch", &json!(["alice", "bob"])), json!([]));
        let alice = Client::of("alice", b.address());
        assert_eq!(friend.event(), event("user-online", "alice"));
        // Two tabs, on two instances; the first closes first.
        let second = Client::of("alice", a.address());
        assert_eq!(friend.ask("watch", &json!(["alice", "bob", "friend"])), json!(["alice", "friend"]));
        drop(alice);
        eventually("the tab is closed", || (metric(b.address(), "sockets") == 0).then_some(()));
        assert_eq!(online(&b, "alice,bob"), json!(["alice"]));
        friend.heard_nothing();
        drop(second);
        assert_eq!(friend.event(), event("user-offline", "alice"));
        assert_eq!(online(&b, "alice,bob"), json!([]));
        // No id of a socket is shown to anybody.
        let one = json_of(&get(a.address(), "/presence/friend", &as_user("alice")));
        assert_eq!(one, json!({ "userId": "friend", "online": true }));
        friend.heard_nothing();
    });
}

#[test]
fn an_instance_that_is_killed_takes_its_users_with_it_once() {
    with_both(|shared| {
        let (a, b, c) = (start("a", shared), start("b", shared), start("c", shared));
        let mut friend = Client::of("friend", a.address());
        let users: Vec<String> = (0..20).map(|number| format!("user-{number}")).collect();
        friend.ask("watch", &json!(users));
        let sockets: Vec<Client> = users.iter().map(|user| Client::of(user, b.address())).collect();
        for _ in &users {
            assert_eq!(friend.event().0, "user-online");
        }
        b.kill();
        b.join();
        drop(sockets);
        // Two have come back elsewhere.
        let _back = [Client::of("user-3", c.address()), Client::of("user-4", a.address())];
        let mut gone: Vec<String> = (0..18)
            .map(|_| {
                let (name, data) = friend.event();
                assert_eq!(name, "user-offline");
                data["userId"].as_str().unwrap().to_owned()
            })
            .collect();
        gone.sort();
        let mut expected: Vec<String> =
            users.iter().filter(|user| !["user-3", "user-4"].contains(&&***user)).cloned().collect();
        expected.sort();
        assert_eq!(gone, expected);
        // Nobody says it again, and who is back stays.
        thread::sleep(Duration::from_secs(2));
        friend.heard_nothing();
        assert_eq!(online(&a, &users.join(",")), json!(["user-3", "user-4"]));
        let expired = |instance: &Running| metric(instance.address(), "presence_expired_total");
        assert_eq!(expired(&a) + expired(&c), 18);
    });
}

#[test]
fn an_instance_that_stops_says_that_its_users_go() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let mut friend = Client::of("friend", a.address());
        friend.ask("watch", &json!(["alice"]));
        let _alice = Client::of("alice", b.address());
        assert_eq!(friend.event(), event("user-online", "alice"));
        b.stop();
        b.join();
        assert_eq!(friend.event(), event("user-offline", "alice"));
        assert_eq!(metric(a.address(), "presence_expired_total"), 0);
    });
}

#[test]
fn presence_is_written_anew_when_redis_comes_back() {
    let mut redis = Redis::start();
    let (a, b) = (start("a", &redis.shared()), start("b", &redis.shared()));
    let mut friend = Client::of("friend", a.address());
    friend.ask("watch", &json!(["alice", "bob"]));
    let _alice = Client::of("alice", b.address());
    let bob = Client::of("bob", b.address());
    let heard = [friend.event(), friend.event()];
    assert_eq!(heard, [event("user-online", "alice"), event("user-online", "bob")]);
    redis.stop();
    eventually("the instance notices", || (get(a.address(), "/readyz", "").status() == 503).then_some(()));
    assert_eq!(get(a.address(), "/presence/alice", &as_operator()).status(), 503);
    assert_eq!(friend.ask("watch", &json!(["alice"]))["ok"], false);
    // One leaves meanwhile, and one comes.
    drop(bob);
    eventually("bob has left", || (metric(b.address(), "sockets") == 1).then_some(()));
    let _carol = Client::of("carol", b.address());
    redis.start_again();
    eventually("presence is right again", || {
        let answer = get(a.address(), "/presence?ids=alice,bob,carol,friend", &as_operator());
        (answer.status() == 200 && json_of(&answer)["online"] == json!(["alice", "carol", "friend"]))
            .then_some(())
    });
    // That bob left is announced all the same, and once.
    let mut offline = 0;
    while offline == 0 {
        offline += usize::from(friend.event() == event("user-offline", "bob"));
    }
    thread::sleep(Duration::from_secs(1));
    friend.ask("who", &json!(null));
    while let Some((name, _)) = friend.heard() {
        assert_eq!(name, "user-online", "of those that Redis had forgotten");
    }
}
