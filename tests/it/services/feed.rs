//! The feed: streams and long polls, over instances that come and go.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use stickyd::app::instance::{Instance, Running};
use stickyd::app::limits;
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;

use super::settings;
use super::support::{
    Client, Redis, as_operator, as_user, call, get, is_ready, json_of, metric, request, with_both,
};
use crate::support::{Message, Socket, eventually};

fn start(name: &str, shared: &Shared) -> Running {
    start_with(settings(name), shared)
}

fn start_with(settings: Settings, shared: &Shared) -> Running {
    let instance =
        Instance::start(Settings { spread: Duration::from_millis(300), ..settings }, shared).unwrap();
    is_ready(&instance);
    instance
}

/// Tells `/notify`, and returns the event's id.
#[track_caller]
fn notify(instance: &Running, event: &Value) -> String {
    let answer = call(instance.address(), "POST /notify", &as_operator(), &event.to_string());
    json_of(&answer)["id"].as_str().unwrap().to_owned()
}

/// A client of `/events`.
struct Stream {
    socket: Socket,
    unread: String,
}

impl Stream {
    #[track_caller]
    fn open(address: SocketAddr, user: &str, fields: &str) -> Self {
        let mut socket = Socket::connect(address);
        socket.send(request("GET /events", &format!("{}{fields}", as_user(user)), ""));
        let head = socket.head();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        let mut stream = Stream { socket, unread: String::new() };
        assert_eq!(stream.block().unwrap(), ": events\nretry: 1000");
        stream
    }

    /// What stands before the next empty line; None at the end.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let block = block.to_owned();
                self.unread = rest.to_owned();
                return Some(block);
            }
            let size = usize::from_str_radix(self.socket.line().trim_end(), 16).unwrap();
            if size == 0 {
                return None;
            }
            self.unread.push_str(str::from_utf8(&self.socket.exactly(size)).unwrap());
            self.socket.expect("\r\n");
        }
    }

    /// The next event: its id, where it has one, and its object.
    #[track_caller]
    fn event(&mut self) -> (Option<String>, Value) {
        // Comments come while nothing else does: a few, where much else is done at the time.
        let mut comments = 0;
        loop {
            let block = self.block().expect("the stream goes on");
            if block == ":" {
                comments += 1;
                assert!(comments < 4, "no event comes");
                continue;
            }
            let (id, data) = block.rsplit_once('\n').unwrap_or(("", &block));
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            return (id.strip_prefix("id: ").map(str::to_owned), data);
        }
    }

    /// The `n` of the next event of ours.
    #[track_caller]
    fn number(&mut self) -> u64 {
        self.event().1["n"].as_u64().unwrap()
    }
}

#[test]
fn a_stream_has_what_is_for_its_user() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let mut alice = Stream::open(a.address(), "alice", "");
        let mut bob = Stream::open(b.address(), "bob", "");
        let first = notify(&b, &json!({ "userId": "alice", "text": "Zoë\n名前" }));
        notify(&a, &json!({ "userId": "bob", "n": 1 }));
        let last = notify(&a, &json!({ "n": 2 }));
        assert_eq!(
            alice.event(),
            (Some(first.clone()), json!({ "id": first, "userId": "alice", "text": "Zoë\n名前" }))
        );
        assert_eq!(alice.event(), (Some(last.clone()), json!({ "id": last, "n": 2 })));
        assert_eq!([bob.number(), bob.number()], [1, 2]);
        assert_eq!(metric(a.address(), "feed_streams"), 1);
        drop(alice);
        eventually("nothing is kept of it", || (metric(a.address(), "feed_streams") == 0).then_some(()));
    });
}

#[test]
fn what_is_no_event_is_refused() {
    let a = start("a", &Shared::in_process());
    let check = |body: &str, status: u16| {
        let answer = call(a.address(), "POST /notify", &as_operator(), body);
        assert_eq!(answer.status(), status, "{body:.80}: {}", answer.text());
    };
    check("[]", 400);
    check("{", 400);
    check(r#"{"id":"1-1"}"#, 400);
    check(r#"{"userId":{}}"#, 400);
    check(&json!({ "n": "x".repeat(70_000) }).to_string(), 413);
    check("{}", 200);
    assert_eq!(get(a.address(), "/poll?since=x", &as_user("alice")).status(), 400);
    assert_eq!(get(a.address(), "/events?since=-1", &as_user("alice")).status(), 400);
}

#[test]
fn what_others_publish_is_live_only() {
    let redis = Redis::start();
    let a = start("a", &redis.shared());
    let mut alice = Stream::open(a.address(), "alice", "");
    let publish = |text: &str| assert_eq!(redis.say(&["PUBLISH", "notifications", text]), "1");
    publish("no event");
    publish(r#"{"userId":"bob","n":1}"#);
    publish("{\"userId\":\"alice\",\n\"n\":2}");
    assert_eq!(alice.event(), (None, json!({ "userId": "alice", "n": 2 })));
    assert_eq!(metric(a.address(), "feed_malformed_total"), 1);
    assert_eq!(redis.say(&["EXISTS", "notifications-stream"]), "0");
}

#[test]
fn a_stream_goes_on_at_another_instance_without_a_loss() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let mut alice = Stream::open(a.address(), "alice", "");
        notify(&b, &json!({ "n": 0 }));
        let (last, _) = alice.event();
        a.kill();
        a.join();
        // More than lies in memory, and more than is read at once; some of it for somebody else.
        let mut writer = Socket::connect(b.address());
        for n in 1..=1500 {
            let user = if n % 3 == 0 { "bob" } else { "alice" };
            let body = json!({ "userId": user, "n": n }).to_string();
            let head = request("POST /notify", &as_operator(), &body).replace("Connection: close\r\n", "");
            writer.send(head);
            assert_eq!(writer.answer().status(), 200);
        }
        // On one that has seen all of it, and on one that begins now.
        let c = start("c", shared);
        for instance in [&b, &c] {
            let mut alice = Stream::open(
                instance.address(),
                "alice",
                &format!("Last-Event-ID: {}\r\n", last.as_ref().unwrap()),
            );
            let expected: Vec<u64> = (1..=1500).filter(|n| n % 3 != 0).collect();
            let found: Vec<u64> = expected.iter().map(|_| alice.number()).collect();
            assert_eq!(found, expected);
        }
        let mut alice = Stream::open(c.address(), "alice", &format!("Last-Event-ID: {}\r\n", last.unwrap()));
        notify(&b, &json!({ "userId": "alice", "n": 2000 }));
        assert_eq!((0..1001).map(|_| alice.number()).last(), Some(2000));
    });
}

#[test]
fn what_was_not_heard_is_read() {
    let redis = Redis::start();
    let a = start("a", &redis.shared());
    let mut alice = Stream::open(a.address(), "alice", "");
    notify(&a, &json!({ "n": 1 }));
    assert_eq!(alice.number(), 1);
    // As when the message was lost on its way.
    redis.say(&["XADD", "notifications-stream", "*", "event", r#"{"n":2}"#]);
    redis.say(&["XADD", "notifications-stream", "*", "other", "no event"]);
    notify(&a, &json!({ "n": 3 }));
    assert_eq!([alice.number(), alice.number()], [2, 3]);
    notify(&a, &json!({ "n": 4 }));
    assert_eq!(alice.number(), 4);
    assert_eq!(metric(a.address(), "feed_gaps_total"), 1);
}

#[test]
fn a_stream_goes_on_when_redis_is_back() {
    let mut redis = Redis::start();
    let (a, b) = (start("a", &redis.shared()), start("b", &redis.shared()));
    let mut alice = Stream::open(a.address(), "alice", "");
    notify(&b, &json!({ "n": 1 }));
    assert_eq!(alice.number(), 1);
    redis.stop();
    eventually("it is noticed", || (get(b.address(), "/readyz", "").status() == 503).then_some(()));
    assert_eq!(call(b.address(), "POST /notify", &as_operator(), "{}").status(), 503);
    redis.start_again();
    is_ready(&a);
    is_ready(&b);
    notify(&b, &json!({ "n": 2 }));
    assert_eq!(alice.number(), 2);
}

#[test]
fn comments_keep_a_stream_alive_and_a_stop_ends_it() {
    let often = Settings { comment_interval: Duration::from_millis(50), ..settings("a") };
    let a = start_with(often, &Shared::in_process());
    let mut alice = Stream::open(a.address(), "alice", "");
    assert_eq!([alice.block().unwrap(), alice.block().unwrap()], [":", ":"]);
    a.stop();
    while let Some(block) = alice.block() {
        assert_eq!(block, ":");
    }
    a.join();
}

#[test]
fn who_does_not_read_is_ended() {
    let a = start("a", &Shared::in_process());
    let mut alice = Stream::open(a.address(), "alice", "");
    let mut bob = Stream::open(a.address(), "bob", "");
    let large = "x".repeat(60_000);
    let mut sent = 0;
    while metric(a.address(), "feed_slow_total") == 0 {
        sent += 1;
        assert!(sent < 2000, "a queue without an end");
        notify(&a, &json!({ "n": sent, "large": large }));
        assert_eq!(bob.number(), sent);
    }
    assert_eq!(metric(a.address(), "feed_streams"), 2);
    let mut next = 1;
    let mut last = String::new();
    while let Some(block) = alice.block() {
        let (id, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["n"], next);
        next += 1;
        last = id.strip_prefix("id: ").unwrap().to_owned();
    }
    // It comes back, and has lost nothing.
    let mut alice = Stream::open(a.address(), "alice", &format!("Last-Event-ID: {last}\r\n"));
    for n in next..=sent {
        assert_eq!(alice.number(), n);
    }
}

/// A poll's answer: where to go on, and what came.
fn polled(answer: &Message) -> (String, Vec<Value>) {
    if answer.status() == 204 {
        return (answer.field("next-since").unwrap(), Vec::new());
    }
    let answer = json_of(answer);
    (answer["since"].as_str().unwrap().to_owned(), answer["events"].as_array().unwrap().clone())
}

fn poll(instance: &Running, user: &str, since: &str) -> (String, Vec<Value>) {
    polled(&get(instance.address(), &format!("/poll?since={since}"), &as_user(user)))
}

#[test]
fn a_poll_is_held_until_something_comes() {
    with_both(|shared| {
        let short = Settings { poll_hold: Duration::from_millis(100), ..settings("a") };
        let (a, b) = (start_with(short, shared), start("b", shared));
        notify(&a, &json!({ "n": 0 }));
        let (since, events) = polled(&get(a.address(), "/poll", &as_user("alice")));
        assert_eq!(events, [] as [Value; 0]);
        assert_eq!(poll(&a, "alice", &since), (since.clone(), vec![]));
        // Nothing for her, and she need not ask for it again.
        let others = notify(&b, &json!({ "userId": "bob", "n": 1 }));
        eventually("it is heard", || (poll(&a, "alice", &since).0 == others).then_some(()));
        thread::scope(|scope| {
            let held = scope.spawn(|| poll(&b, "alice", &since));
            eventually("the poll is held", || (metric(b.address(), "feed_polls") == 1).then_some(()));
            let id = notify(&a, &json!({ "userId": "alice", "n": 2 }));
            assert_eq!(
                held.join().unwrap(),
                (id.clone(), vec![json!({ "id": id, "userId": "alice", "n": 2 })])
            );
        });
        assert_eq!(poll(&a, "bob", &since).1.len(), 1);
    });
}

#[test]
fn nothing_is_lost_between_two_polls() {
    with_both(|shared| {
        let instances = [start("a", shared), start("b", shared)];
        let (mut since, _) = polled(&get(instances[0].address(), "/poll", &as_user("alice")));
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for n in 1..=400 {
                    notify(&instances[n % 2], &json!({ "userId": "alice", "n": n }));
                }
            });
            let mut found = Vec::new();
            let mut polls = 0;
            while found.len() < 400 {
                // Each at another instance than the one before.
                let (next, events) = poll(&instances[polls % 2], "alice", &since);
                found.extend(events.iter().map(|event| event["n"].as_u64().unwrap()));
                (since, polls) = (next, polls + 1);
            }
            writing.join().unwrap();
            found.iter().zip(1..).for_each(|(found, n)| assert_eq!(*found, n));
            assert_eq!(found.len(), 400);
        });
    });
}

#[test]
fn two_thousand_streams_on_one_instance() {
    limits::raise_open_files();
    let a = start("a", &Shared::in_process());
    let mut streams: Vec<Stream> = (0..2000).map(|_| Stream::open(a.address(), "alice", "")).collect();
    assert_eq!(metric(a.address(), "feed_streams"), 2000);
    for n in 1..=3 {
        notify(&a, &json!({ "n": n }));
    }
    for stream in &mut streams {
        assert_eq!([stream.number(), stream.number(), stream.number()], [1, 2, 3]);
    }
    drop(streams);
    eventually("nothing is kept of them", || (metric(a.address(), "feed_streams") == 0).then_some(()));
    assert_eq!(metric(a.address(), "feed_slow_total"), 0);
}

#[test]
fn the_operator_says_something_to_a_room_on_all_instances() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let mut clients = [Client::of("alice", a.address()), Client::of("bob", b.address())];
        for client in &mut clients {
            assert_eq!(client.ask("join", &json!("room"))["ok"], true);
        }
        let emit = |body: &Value| call(a.address(), "POST /emit", &as_operator(), &body.to_string()).status();
        assert_eq!(emit(&json!({ "room": "room", "event": "message", "data": { "text": "Zoë" } })), 200);
        for client in &mut clients {
            assert_eq!(client.event(), ("message".to_owned(), json!({ "text": "Zoë" })));
            client.heard_nothing();
        }
        assert_eq!(emit(&json!({ "room": "room", "event": "disconnect" })), 400);
        assert_eq!(emit(&json!({ "room": "", "event": "message" })), 400);
        assert_eq!(emit(&json!({ "event": "message" })), 400);
        assert_eq!(emit(&json!({ "room": "room", "event": "message", "namespace": "/none" })), 404);
    });
}
