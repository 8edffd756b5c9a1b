//! Webhooks: registered, called, signed, tried again, refused.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use stickyd::app::instance::{Instance, Running};
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;
use stickyd::app::webhooks::queue::{Claim, Job};
use stickyd::app::webhooks::store;

use super::settings;
use super::support::{
    Client, Redis, as_operator, call, get, is_ready, json_of, metric, with_both, with_link, with_store,
};
use crate::support::{DEADLINE, Message, Socket, eventually};

fn start(name: &str, shared: &Shared) -> Running {
    start_with(Settings { allow_private_webhooks: true, ..settings(name) }, shared)
}

fn start_with(settings: Settings, shared: &Shared) -> Running {
    let quick = Settings { webhook_retry: Duration::from_millis(40), spread: Duration::ZERO, ..settings };
    let instance = Instance::start(quick, shared).unwrap();
    is_ready(&instance);
    instance
}

/// Somebody who is called.
struct Called {
    address: SocketAddr,
    requests: Receiver<Message>,
}

impl Called {
    /// Answers the calls with these statuses in turn, and the rest with 204.
    fn answering(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        // Ends with the tests, for nobody calls any more.
        thread::spawn(move || {
            let mut statuses = statuses.iter();
            for stream in listener.incoming() {
                let mut socket = Socket::of(stream.unwrap());
                let Ok(request) = socket.try_request() else { continue };
                let status = statuses.next().unwrap_or(&204);
                socket.send(format!(
                    "HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
                ));
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Called { address, requests }
    }

    #[track_caller]
    fn next(&self) -> Message {
        self.requests.recv_timeout(DEADLINE).expect("it is called")
    }

    /// Nobody calls for a while.
    #[track_caller]
    fn is_left_alone(&self) {
        if let Ok(request) = self.requests.recv_timeout(Duration::from_millis(800)) {
            panic!("it is called: {}{}", request.head, request.text());
        }
    }

    /// Registers it, and returns the answer.
    #[track_caller]
    fn register(&self, instance: &Running, events: &[&str]) -> Value {
        let body = json!({ "url": format!("http://{}/hook?x=1", self.address), "events": events });
        let answer = call(instance.address(), "POST /webhooks", &as_operator(), &body.to_string());
        assert_eq!(answer.status(), 201, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }
}

fn body(request: &Message) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[track_caller]
fn notify(instance: &Running, event: &Value) -> String {
    let answer = call(instance.address(), "POST /notify", &as_operator(), &event.to_string());
    json_of(&answer)["id"].as_str().unwrap().to_owned()
}

/// HMAC-SHA256 by another program.
fn hmac(key: &str, text: &[u8]) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("key:{key}"), "-hex"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    std::io::Write::write_all(&mut openssl.stdin.take().unwrap(), text).unwrap();
    let output = openssl.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    output.trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_delivery_is_signed() {
    with_both(|shared| {
        let (a, called) = (start("a", shared), Called::answering(&[]));
        let hook = called.register(&a, &["notification"]);
        let id = notify(&a, &json!({ "userId": "alice", "text": "Zoë" }));
        let request = called.next();
        assert_eq!(request.line(), "POST /hook?x=1 HTTP/1.1");
        assert_eq!(request.field("host").unwrap(), called.address.to_string());
        let said = body(&request);
        assert_eq!([&said["id"], &said["type"]], [&json!(id), &json!("notification")]);
        assert_eq!(said["data"], json!({ "userId": "alice", "text": "Zoë" }));
        assert_eq!(request.field("stickyd-event-id").unwrap(), id);
        let signature = request.field("stickyd-signature").unwrap();
        let (seconds, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let signed = [format!("{seconds}.").as_bytes(), &request.body].concat();
        assert_eq!(mac, hmac(hook["secret"].as_str().unwrap(), &signed));
        assert_ne!(mac, hmac("whsec_another", &signed));
        eventually("it is counted", || (metric(a.address(), "webhooks_delivered_total") == 1).then_some(()));
    });
}

#[test]
fn what_fails_is_tried_again_and_given_up() {
    with_both(|shared| {
        let few = Settings { webhook_attempts: 4, allow_private_webhooks: true, ..settings("a") };
        let a = start_with(few, shared);
        let called = Called::answering(&[500, 307, 404, 200, 500, 500, 500, 500]);
        called.register(&a, &["notification"]);
        let first = notify(&a, &json!({}));
        for attempt in 1..=4 {
            let request = called.next();
            assert_eq!(request.field("stickyd-event-id").unwrap(), first);
            assert_eq!(request.field("stickyd-attempt").unwrap(), attempt.to_string());
            // A redirect leads nowhere.
            assert_eq!(request.line(), "POST /hook?x=1 HTTP/1.1");
        }
        let second = notify(&a, &json!({}));
        for _ in 1..=4 {
            assert_eq!(called.next().field("stickyd-event-id").unwrap(), second);
        }
        called.is_left_alone();
        let counted = ["delivered", "failed", "abandoned", "dropped"]
            .map(|name| metric(a.address(), &format!("webhooks_{name}_total")));
        assert_eq!(counted, [1, 7, 1, 0]);
    });
}

#[test]
fn three_instances_call_once() {
    with_both(|shared| {
        let instances = [start("a", shared), start("b", shared), start("c", shared)];
        let (called, other) = (Called::answering(&[]), Called::answering(&[]));
        called.register(&instances[0], &["notification"]);
        other.register(&instances[1], &["user-online", "user-offline"]);
        let mut sent: Vec<String> = (0..60).map(|n| notify(&instances[n % 3], &json!({ "n": n }))).collect();
        let mut seen: Vec<String> =
            sent.iter().map(|_| called.next().field("stickyd-event-id").unwrap()).collect();
        sent.sort();
        seen.sort();
        assert_eq!(seen, sent);
        // Users who come and go, too.
        let alice = Client::of("alice", instances[2].address());
        let came = body(&other.next());
        assert_eq!([&came["type"], &came["data"]], [&json!("user-online"), &json!({ "userId": "alice" })]);
        drop(alice);
        assert_eq!(body(&other.next())["type"], "user-offline");
        called.is_left_alone();
        other.is_left_alone();
    });
}

#[test]
fn webhooks_come_and_go() {
    with_both(|shared| {
        let (a, b) = (start("a", shared), start("b", shared));
        let called = Called::answering(&[]);
        let hook = called.register(&a, &["notification"]);
        let listed = json_of(&get(b.address(), "/webhooks", &as_operator()));
        let mut shown = hook.clone();
        assert!(shown.as_object_mut().unwrap().remove("secret").unwrap().as_str().unwrap().len() > 40);
        assert_eq!(listed, json!({ "webhooks": [shown] }));
        let line = format!("DELETE /webhooks/{}", hook["id"].as_str().unwrap());
        assert_eq!(call(b.address(), &line, &as_operator(), "").status(), 204);
        assert_eq!(call(b.address(), &line, &as_operator(), "").status(), 404);
        notify(&a, &json!({}));
        called.is_left_alone();
    });
}

#[test]
fn only_the_internet_is_called() {
    let shared = Shared::in_process();
    let a = start_with(settings("a"), &shared);
    let called = Called::answering(&[]);
    let port = called.address.port();
    let register = |url: &str| {
        let body = json!({ "url": url, "events": ["notification"] }).to_string();
        call(a.address(), "POST /webhooks", &as_operator(), &body).status()
    };
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "[64:ff9b::7f00:1]"]
    {
        assert_eq!(register(&format!("http://{host}:{port}/")), 400, "{host}");
    }
    for wrong in ["", "ftp://example.com/", "https://user@example.com/", "https://example.com/#x"] {
        assert_eq!(register(wrong), 400, "{wrong}");
    }
    let body = json!({ "url": "https://example.com/", "events": ["other"] }).to_string();
    assert_eq!(call(a.address(), "POST /webhooks", &as_operator(), &body).status(), 400);
    // What only shows when it is resolved: then, and without a second try.
    assert_eq!(register(&format!("http://localhost:{port}/")), 201);
    assert_eq!(register(&format!("http://127.1:{port}/")), 201);
    notify(&a, &json!({}));
    eventually("both are given up", || (metric(a.address(), "webhooks_abandoned_total") == 2).then_some(()));
    assert_eq!(metric(a.address(), "webhooks_failed_total"), 2);
    called.is_left_alone();
}

fn job(event: usize) -> Job {
    Job {
        event: format!("e{event}"),
        kind: "notification".to_owned(),
        hook: "h".to_owned(),
        body: "{}".to_owned(),
    }
}

#[test]
fn each_delivery_is_claimed_once() {
    with_store(async |link| {
        let stores = [store::of(&link), store::of(&link), store::of(&link)];
        let jobs: Vec<Job> = (0..50).map(job).collect();
        // Whoever adds it, and how often.
        for store in &stores {
            assert_eq!(store.add(&jobs).await.unwrap(), 0);
        }
        let mut claims: Vec<Claim> = Vec::new();
        while claims.len() < 50 {
            let (a, b, c) = tokio::join!(stores[0].claim(7), stores[1].claim(7), stores[2].claim(7));
            claims.extend([a, b, c].into_iter().flat_map(Result::unwrap));
        }
        let mut seen: Vec<&Job> = claims.iter().map(|claim| &claim.job).collect();
        seen.sort_by_key(|job| job.event[1..].parse::<usize>().unwrap());
        assert!(seen.into_iter().eq(&jobs) && claims.iter().all(|claim| claim.attempt == 1));
        assert_eq!(stores[0].claim(7).await.unwrap(), []);
        // One is to be tried again at once, the others are done.
        assert!(stores[1].finish(&claims[0], Some(0)).await.unwrap());
        for claim in &claims[1..] {
            assert!(stores[2].finish(claim, None).await.unwrap());
        }
        let again = stores[0].claim(7).await.unwrap();
        assert_eq!(again, [Claim { job: claims[0].job.clone(), attempt: 2 }]);
        // Who had it before has nothing to say any more.
        assert!(!stores[1].finish(&claims[0], None).await.unwrap());
        assert!(stores[1].finish(&again[0], None).await.unwrap());
    });
}

#[test]
fn a_delivery_whose_instance_died_is_given_to_another() {
    let redis = Redis::start();
    with_link(&redis.shared(), async |link| {
        let store = store::of(&link);
        store.add(&[job(1)]).await.unwrap();
        let dead = store.claim(7).await.unwrap();
        assert_eq!(store.claim(7).await.unwrap(), []);
        // Its time runs out.
        assert_eq!(redis.say(&["ZADD", "webhook-due", "1", "e1:h"]), "0");
        let again = store.claim(7).await.unwrap();
        assert_eq!((again[0].attempt, &again[0].job), (2, &dead[0].job));
        assert!(store.finish(&again[0], None).await.unwrap());
        assert_eq!(redis.say(&["DBSIZE"]), "0");
    });
}
