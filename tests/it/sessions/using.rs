//! Requests of known sessions: they go where the session lives, whatever else they say.

use crate::support::engine_io::{EngineIo, answer, get, instance_of, poll, post, sid_of, start, upgrade};
use crate::support::{Message, Proxy, Socket};

use super::Stage;

const COOKIE: &str = "stickyd-app";

/// A polling client that both cookie and address bind to the instance of its session.
struct Client {
    instance: String,
    sid: String,
    /// Whole lines.
    fields: String,
}

/// Two instances, the default keys but for `sticky`, and a client of each instance.
struct Site {
    proxy: Proxy,
    clients: [Client; 2],
    _instances: [EngineIo; 2],
}

impl Site {
    fn new(sticky: &str) -> Self {
        let instances = [EngineIo::start("blue"), EngineIo::start("green")];
        let [blue, green] = &instances;
        let proxy = Proxy::start(&format!(
            "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [\"{blue}\", \"{green}\"]\n\
             [upstream.app.sticky]\n{sticky}\n"
        ));
        let clients = ["blue", "green"].map(|instance| {
            let mut addresses = 1..100;
            loop {
                let address = format!("X-Forwarded-For: 203.0.113.{}\r\n", addresses.next().unwrap());
                let first = exchange(&mut proxy.connect(), &start(&address));
                if instance_of(&first) == instance {
                    let (cookie, _) = first.cookie(COOKIE).unwrap();
                    let fields = format!("{address}Cookie: {cookie}\r\n");
                    return Client { instance: instance.to_owned(), sid: sid_of(&first), fields };
                }
            }
        });
        Site { proxy, clients, _instances: instances }
    }
}

fn exchange(client: &mut Socket, request: &str) -> Message {
    client.send(request);
    client.answer()
}

/// The requests of a session.
fn requests(sid: &str, fields: &str) -> Vec<String> {
    let with_fields = |request: String| request.replacen("\r\n", &format!("\r\n{fields}"), 1);
    vec![
        poll(sid, fields),
        with_fields(post(sid, "4hello")),
        poll(sid, fields).replacen("GET", "OPTIONS", 1),
        poll(sid, fields).replacen("GET", "DELETE", 1),
        get(&format!("http://app/socket.io/?EIO=4&transport=polling&sid={sid}"), fields),
        get(&format!("/socket.io?transport=polling&sid={sid}&EIO=3"), fields),
        get(&format!("/socket.io/deeper/?sid={sid}&sid=other"), fields),
        upgrade(sid, fields),
    ]
}

#[test]
fn a_session_s_requests_go_to_its_instance_whatever_else_they_say() {
    let site = Site::new("");
    let [blue, green] = &site.clients;
    let mut asked = 0;
    for (own, other) in [(blue, green), (green, blue)] {
        for request in requests(&own.sid, &other.fields) {
            let got = exchange(&mut site.proxy.connect(), &request);
            assert_eq!(instance_of(&got), own.instance, "{request}");
            assert!(got.status() == 200 || got.status() == 101, "{request}\n{}", got.head);
            // The browser was bound anew since: what is left of a session must not bind it back.
            assert_eq!(got.values("set-cookie"), [""; 0], "{request}");
            asked += 1;
        }
    }
    site.proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], asked);
    site.proxy.counts("stickyd_sticky_rebinds_total", &[], 0);
    site.proxy.counts("stickyd_engine_io_unknown_sessions_total", &[], 0);
}

#[test]
fn the_order_of_the_keys_decides_between_a_cookie_and_a_sid() {
    let site = Site::new("by = [\"cookie\", \"sid\", \"ip_hash\"]");
    let [blue, green] = &site.clients;
    for (own, other) in [(blue, green), (green, blue)] {
        let got = exchange(&mut site.proxy.connect(), &poll(&own.sid, &other.fields));
        assert_eq!((got.status(), instance_of(&got)), (400, other.instance.clone()));
        let address = other.fields.split_inclusive("\r\n").next().unwrap();
        let got = exchange(&mut site.proxy.connect(), &poll(&own.sid, address));
        assert_eq!((got.status(), instance_of(&got)), (200, own.instance.clone()));
    }
    site.proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], 2);
}

/// What an instance invents need not be safe in a URL.
#[test]
fn a_sid_is_the_same_however_it_is_encoded() {
    let stage = Stage::new();
    let (mut client, mut far, _) = stage.session("a+b/c=&é ~");
    for spelling in ["a%2Bb%2Fc%3D%26%C3%A9%20~", "%61%2bb/c=%26%c3%a9+%7E", "a%2Bb/c=%26%C3%A9+~"] {
        client.send(poll(spelling, ""));
        // It passes as the client wrote it.
        assert!(far.request().line().contains(&format!("&sid={spelling} ")), "{spelling}");
        far.send(answer("", "6"));
        assert_eq!(client.answer().text(), "6");
    }
    stage.proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], 3);
}

#[test]
fn a_sid_counts_only_where_engine_io_is_spoken() {
    let (blue, green) = (EngineIo::start("blue"), EngineIo::start("green"));
    let check = |paths: &str, known: &[&str], unknown: &[&str]| {
        let proxy = Proxy::start(&format!(
            "[upstream.app]\nbalance = \"round_robin\"\ninstances = [\"{blue}\", \"{green}\"]\n\
             engine_io_path = {paths}\n[upstream.app.sticky]\nby = [\"sid\"]\n"
        ));
        let mut client = proxy.connect();
        let begin = |path: &str| get(&format!("{path}?EIO=4&transport=polling"), "");
        let sid = known.first().map(|path| sid_of(&exchange(&mut client, &begin(path))));
        let sid = sid.as_deref().unwrap_or("blue-1");
        let poll = |path: &str| get(&format!("{path}?EIO=4&transport=polling&sid={sid}"), "");
        let mut asked = 0;
        for _ in 0..3 {
            for path in known {
                assert_eq!(exchange(&mut client, &poll(path)).text(), "6", "{path}");
                asked += 1;
            }
        }
        for path in unknown {
            exchange(&mut client, &begin(path));
            exchange(&mut client, &poll(path));
        }
        proxy.counts("stickyd_sticky_decisions_total", &[("by", "sid")], asked);
        proxy.counts("stickyd_sids", &[], u64::from(!known.is_empty()));
    };
    let elsewhere = ["/", "/other/", "/socket.iox/", "//socket.io/", "/Socket.io/", "/socket.io%2F"];
    check("\"/socket.io/\"", &["/socket.io/", "/socket.io", "/socket.io/chat"], &elsewhere);
    check("[\"/a/\", \"/b\"]", &["/a/", "/a", "/b", "/b/", "/b/c"], &["/socket.io/", "/ab/", "/c/a/"]);
    check("\"off\"", &[], &["/socket.io/", "/"]);
}

#[test]
fn sessions_of_two_upstreams_do_not_meet() {
    let instances = ["a", "b", "c", "d"].map(EngineIo::start);
    let [a, b, c, d] = &instances;
    let proxy = Proxy::start(&format!(
        "[upstream.one]\nbalance = \"round_robin\"\ninstances = [\"{a}\", \"{b}\"]\n[upstream.one.sticky]\nby = [\"sid\"]\n\
         [upstream.two]\nbalance = \"round_robin\"\ninstances = [\"{c}\", \"{d}\"]\n[upstream.two.sticky]\nby = [\"sid\"]\n\
         [[route]]\nhost = \"app\"\nupstream = \"one\"\n[[route]]\nupstream = \"two\"\n"
    ));
    let mut client = proxy.connect();
    let of_one = sid_of(&exchange(&mut client, &start("")));
    for _ in 0..3 {
        let there = exchange(&mut client, &poll(&of_one, ""));
        assert_eq!((there.status(), &*instance_of(&there)), (200, "a"));
        let elsewhere = exchange(&mut client, &poll(&of_one, "").replace("Host: app", "Host: other"));
        assert_eq!(elsewhere.status(), 400);
    }
    proxy.counts("stickyd_sticky_decisions_total", &[("upstream", "one"), ("by", "sid")], 3);
    proxy.counts("stickyd_sticky_decisions_total", &[("upstream", "two"), ("by", "sid")], 0);
    proxy.counts("stickyd_sids", &[("upstream", "one")], 1);
    proxy.counts("stickyd_sids", &[("upstream", "two")], 0);
    proxy.counts("stickyd_engine_io_unknown_sessions_total", &[("answered_by", "instance")], 3);
}
