use std::path::Path;

use super::request::{self, Field, Question, Url};
use super::{Explanation, KeySays, explain};
use crate::affinity::cookie::{Binding, Keys};
use crate::config::{self, Config};
use crate::control::Surroundings;
use crate::local::clock;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const STRANGER: &str = "fedcba9876543210fedcba9876543210";

fn config(text: &str) -> Config {
    config::parse(&format!("listen = \":80\"\n{text}"), "test")
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}

/// Two instances; 192.0.2.1 belongs to the second.
fn two(sticky: &str) -> Config {
    config(&format!(
        "[upstream.socketio]\ninstances = [\"instance-1:3000\", \"instance-2:3000\"]\n[upstream.socketio.sticky]\n{sticky}\n"
    ))
}

fn question() -> Question {
    Question {
        address: "192.0.2.1".parse().unwrap(),
        cookie: None,
        sid: None,
        url: None,
        headers: Vec::new(),
    }
}

fn at(url: &str) -> Question {
    Question { url: Some(Url::parse(url).unwrap()), ..question() }
}

fn answer(config: &Config, question: &Question) -> Explanation {
    explain(config, question, &Surroundings::default()).unwrap()
}

fn key<'e>(explanation: &'e Explanation, name: &str) -> &'e KeySays {
    explanation.keys.iter().find(|key| key.key == name).unwrap()
}

#[test]
fn urls() {
    let check = |text: &str, expected: Option<(Option<&str>, &str, bool)>| {
        let parsed = Url::parse(text).ok();
        let expected = expected.map(|(host, target, web_socket)| Url {
            host: host.map(str::to_owned),
            target: target.to_owned(),
            web_socket,
        });
        assert_eq!(parsed, expected, "{text}");
    };
    check("/", Some((None, "/", false)));
    check("/socket.io/?EIO=4#part", Some((None, "/socket.io/?EIO=4", false)));
    check("https://app.example.com/api", Some((Some("app.example.com"), "/api", false)));
    check("WSS://app.example.com:8443", Some((Some("app.example.com:8443"), "/", true)));
    check("ws://[::1]:80?x=1", Some((Some("[::1]:80"), "/?x=1", true)));
    check("app.example.com/api", None);
    check("ftp://app.example.com/", None);
    check("", None);
    check("/a b", None);
    check("/\u{e4}", None);
    check("/a\r\nX: y", None);
}

#[test]
fn fields() {
    let check = |text: &str, expected: Option<(&str, &str)>| {
        let parsed = Field::parse(text).ok();
        let expected = expected.map(|(name, value)| Field { name: name.to_owned(), value: value.to_owned() });
        assert_eq!(parsed, expected, "{text}");
    };
    check("X-User: anna", Some(("X-User", "anna")));
    check("x:a:b", Some(("x", "a:b")));
    check("x:", Some(("x", "")));
    check("X User: anna", None);
    check(": anna", None);
    check("anna", None);
    check("X: a\r\nY: b", None);
}

/// The request that is written, without what follows from it.
#[test]
fn what_is_asked() {
    let routes = config(
        "[upstream.a]\ninstances = [\"a:1\"]\n[upstream.b]\ninstances = [\"b:1\"]\nengine_io_path = \"off\"\n\
         [[route]]\nhost = \"b.example.com\"\nupstream = \"b\"\n\
         [[route]]\nhost = \"*.example.com\"\npath = \"/socket.io/*\"\nupstream = \"a\"\n",
    );
    let check = |question: &Question, expected: &str, assumed: bool, upgrades: bool| {
        let written = request::write(&routes, question);
        assert_eq!(String::from_utf8(written.head).unwrap(), format!("GET {expected}\r\n\r\n"));
        assert_eq!((written.host_is_assumed, written.upgrades), (assumed, upgrades), "{expected}");
    };
    let start = "/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: any.example.com";
    check(&question(), start, true, true);
    let with_sid = Question { sid: Some("a+b".to_owned()), ..question() };
    let start = "/socket.io/?sid=a%2Bb&EIO=4&transport=websocket HTTP/1.1\r\nHost: any.example.com";
    check(&with_sid, start, true, true);
    let poll = Question { sid: Some("x".to_owned()), ..at("/socket.io/?EIO=4&transport=polling&sid=y") };
    let expected = "/socket.io/?sid=x&EIO=4&transport=polling&sid=y HTTP/1.1\r\nHost: b.example.com";
    check(&poll, expected, true, false);
    check(&at("/api"), "/api HTTP/1.1\r\nHost: b.example.com", true, false);
    check(&at("http://c.example.com/x"), "/x HTTP/1.1\r\nHost: c.example.com", false, false);
    check(&at("wss://c.example.com/x"), "/x HTTP/1.1\r\nHost: c.example.com", false, true);
    let field = |text: &str| Field::parse(text).unwrap();
    let headers = vec![field("host: d"), field("X-User: anna"), field("Upgrade: WebSocket")];
    let expected = "/x HTTP/1.1\r\nHost: d\r\nX-User: anna\r\nUpgrade: WebSocket";
    check(&Question { headers, ..at("ws://c/x") }, expected, false, true);
    let headers = vec![field("Upgrade: h2c")];
    check(
        &Question { headers, ..at("/api") },
        "/api HTTP/1.1\r\nHost: b.example.com\r\nUpgrade: h2c",
        true,
        false,
    );
}

/// Where no Engine.IO is spoken, a session start is a handshake.
#[test]
fn a_session_start_without_engine_io() {
    let plain =
        config("[upstream.a]\ninstances = [\"a:1\"]\nengine_io_path = \"off\"\nsticky.by = [\"cookie\"]\n");
    let explanation = answer(&plain, &question());
    assert_eq!((explanation.path.as_str(), explanation.wants), ("/", "start"));
    let check = |url: &str, wants: &str| assert_eq!(answer(&two(""), &at(url)).wants, wants, "{url}");
    check("/socket.io/?EIO=4&transport=polling", "start");
    check("/socket.io/?EIO=4&transport=polling&sid=a", "session");
    check("/socket.io/?EIO=4&transport=websocket&sid=a", "session");
    check("/socket.io/socket.io.js", "plain");
    check("/api?sid=a&transport=polling", "plain");
    check("ws://x/api", "start");
}

#[test]
fn who_takes_it() {
    let config = config(
        "health_path = \"/-/ready\"\n[upstream.a]\ninstances = [\"a:1\"]\n\
         [[route]]\nhost = \"a.example.com\"\npath = \"/socket.io/*\"\nupstream = \"a\"\n",
    );
    let check = |url: &str, refused: Option<&str>, route: Option<usize>| {
        let explanation = answer(&config, &at(url));
        assert_eq!(explanation.result.refused, refused, "{url}");
        assert_eq!(explanation.route.map(|route| route.number), route, "{url}");
        assert_eq!(explanation.keys.is_empty(), refused.is_some());
    };
    check("/socket.io/", None, Some(1));
    check("https://A.example.com:443/socket.io/", None, Some(1));
    check("https://b.example.com/socket.io/", Some("no_route"), None);
    check("/other", Some("no_route"), None);
    check("/-/ready", Some("health_path"), None);
    check("/socket.io/../x", Some("bad_request"), None);
    check("http://a@b/socket.io/", Some("bad_request"), None);
}

struct Sealer {
    folder: tempfile::TempDir,
    config: Config,
    now: u64,
}

impl Sealer {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let config = two(&format!("secret_file = \"{}\"", file.display()));
        Sealer { folder, config, now: clock::epoch_seconds() }
    }

    fn seal(&self, secret: &str, upstream: &str, instance: &str, age: u64) -> String {
        let keys = Keys::parse(secret).unwrap();
        let instance = keys.instance_tokens(upstream, instance)[0];
        let binding = Binding { instance, issued: self.now - age, id: *b"\0\x01\x02\x03\x04\x05\x06\x07" };
        let mut value = Vec::new();
        keys.seal(upstream, &binding, &mut value);
        String::from_utf8(value).unwrap()
    }
}

#[test]
fn cookies() {
    let sealer = Sealer::new();
    let check = |cookie: String, reason: Option<&str>, instance: Option<&str>, text: &str, result: &str| {
        let question = Question { cookie: Some(cookie), ..question() };
        let explanation = answer(&sealer.config, &question);
        let says = key(&explanation, "cookie");
        assert_eq!((says.reason, says.instance.as_deref()), (reason, instance), "{says:?}");
        assert_eq!(says.text, text);
        assert_eq!(explanation.result.text, result);
    };
    // Half a minute more than it says, so that the test may take as long.
    let of = |instance, age: u64| sealer.seal(SECRET, "socketio", instance, age + 30);
    let one = Some("instance-1:3000");
    let names = "names instance-1:3000; issued 2h ago, binding 0001020304050607";
    check(of("instance-1:3000", 7200), None, one, names, "instance-1:3000, by cookie");
    let field = format!("a=b; stickyd-socketio={}; c=d", of("instance-1:3000", 7200));
    check(field, None, one, names, "instance-1:3000, by cookie");
    // Past half of its ttl it is renewed.
    let names = "names instance-1:3000; issued 20h 5m ago, binding 0001020304050607";
    check(of("instance-1:3000", 72_300), None, one, names, "instance-1:3000, by cookie; a cookie is set");
    let names = "names an instance, which is no longer in the file; issued 1h ago, binding 0001020304050607";
    let rebound = "instance-2:3000, by ip_hash; its cookie is replaced (removed)";
    check(of("instance-3:3000", 3600), Some("removed"), None, names, rebound);

    let bound_anew = "instance-2:3000, by ip_hash; a cookie is set";
    let text = "ignored, expired: issued 1d 1h ago, ttl is 1d";
    check(of("instance-1:3000", 90_000), Some("expired"), None, text, bound_anew);
    let text = "ignored, foreign: sealed by secret c0e52dc9, and ours is 63ede4f3";
    let foreign = sealer.seal(STRANGER, "socketio", "instance-1:3000", 0);
    check(foreign.clone(), Some("foreign"), None, text, bound_anew);
    let text = "ignored, forged: not sealed by this upstream's secret for this upstream, or not whole";
    check(sealer.seal(SECRET, "api", "instance-1:3000", 0), Some("forged"), None, text, bound_anew);
    check("AWPt5PNB".to_owned(), Some("forged"), None, text, bound_anew);
    let text = "ignored, version: sealed by a newer stickyd";
    check("AgAAAAAA".to_owned(), Some("version"), None, text, bound_anew);
    let text = "the request has no cookie stickyd-socketio";
    check("other=x".to_owned(), Some("no_cookie"), None, text, bound_anew);
    // The first that counts.
    let several = format!("stickyd-socketio={foreign}; stickyd-socketio={}", of("instance-1:3000", 3600));
    let names = "names instance-1:3000; issued 1h ago, binding 0001020304050607";
    check(several, None, one, names, "instance-1:3000, by cookie");

    let header = format!("Cookie: stickyd-socketio={}", of("instance-1:3000", 3600));
    let headers = vec![Field::parse(&header).unwrap()];
    assert_eq!(key(&answer(&sealer.config, &Question { headers, ..question() }), "cookie").text, names);
}

#[test]
fn what_names_are_expanded_to_is_not_known() {
    let of = |instances: &str| {
        let config = config(&format!(
            "[upstream.app]\nexpand = true\ninstances = [{instances}]\nsticky.by = [\"ip_hash\"]\n"
        ));
        answer(&config, &question())
    };
    let literals = of("\"10.0.0.1:3000\", \"[::1]:3000\"");
    assert!(literals.result.instance.is_some(), "{literals}");
    let named = of("\"10.0.0.1:3000\", \"app.internal:3000\"");
    assert_eq!((named.result.refused, &named.result.instance, named.keys.len()), (Some("unknown"), &None, 0));
    let text = named.to_string();
    for part in [
        "upstream   app: 10.0.0.1:3000, app.internal:3000\n",
        "only the running process knows",
        "app.internal is",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("assumed    "), "{text}");
}

#[test]
fn where_no_secret_is() {
    let sealer = Sealer::new();
    let cookie = Some(sealer.seal(SECRET, "socketio", "instance-1:3000", 0));
    let with_cookie = Question { cookie, ..question() };
    let auto = two("");
    let says = |surroundings: &Surroundings| {
        let explanation = explain(&auto, &with_cookie, surroundings).unwrap();
        (key(&explanation, "cookie").reason, explanation.result.instance)
    };
    let second = Some("instance-2:3000".to_owned());
    assert_eq!(says(&Surroundings::default()), (Some("no_secret"), second));
    // What was made for a run of this user can be read again.
    let state = sealer.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("cookie.secret"), SECRET).unwrap();
    let here = Surroundings { state: Some(state), ..Surroundings::default() };
    assert_eq!(says(&here), (None, Some("instance-1:3000".to_owned())));

    let broken = two("secret_file = \"/nowhere/at/all\"");
    let error = explain(&broken, &with_cookie, &here).unwrap_err();
    assert!(error.contains("/nowhere/at/all") && error.contains("upstream.socketio"), "{error}");
    // Whoever comes without a cookie needs no secret.
    assert!(explain(&broken, &question(), &here).is_ok());
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn what_each_key_says() {
    let config = config(
        "[upstream.a]\ninstances = [\"a:1\", \"b:1\"]\nbalance = \"round_robin\"\n\
         sticky = { by = [\"sid\", \"header:X-User\", \"query:room\"] }\n",
    );
    let check = |question: &Question, name: &str, does: &str, text: &str| {
        let explanation = answer(&config, question);
        let says = key(&explanation, name);
        assert_eq!((says.does, says.text.as_str()), (does, text), "{question:?}");
    };
    check(&question(), "sid", "silent", "the request has no sid");
    check(&at("/api"), "sid", "silent", "/api is no request of Engine.IO (engine_io_path, with a query)");
    let unknown = "not known here: only the running proxy knows sessions";
    check(&Question { sid: Some("x".to_owned()), ..question() }, "sid", "silent", unknown);
    check(&question(), "header:x-user", "silent", "the request has none");
    let headers = vec![Field::parse("X-USER: anna").unwrap()];
    let with_header = Question { headers, ..question() };
    check(&with_header, "header:x-user", "decides", "its value hashes to a:1, then b:1");
    check(&at("/api?room=anna"), "query:room", "decides", "its value hashes to a:1, then b:1");
    assert_eq!(answer(&config, &question()).result.text, "a:1 or b:1, by balance: each in turn");
    assert!(answer(&config, &question()).if_down.is_none());

    let nginx = two("by = [\"ip_hash\"]\nip_hash.algorithm = \"nginx\"");
    assert_eq!(
        key(&answer(&nginx, &question()), "ip_hash").text,
        "192.0.2.0/24 hashes to instance-2:3000, then instance-1:3000"
    );
}
