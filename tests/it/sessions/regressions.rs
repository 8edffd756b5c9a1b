//! Regressions: each states what was not so once.

use std::fmt::Display;
use std::time::{Duration, Instant};

use stickyd::tunnel::Reason;

use crate::support::engine_io;
use crate::support::ws::{self, Frame};
use crate::support::{Answering, Instance, Message, Proxy, Socket, eventually};

const NAME: &str = "stickyd-app";
const SID: &str = "lv_VI97HAXpY6yYWAAAB";

fn proxy(top: &str, instances: &[&dyn Display], more: &str) -> Proxy {
    let instances: Vec<String> = instances.iter().map(|instance| format!("\"{instance}\"")).collect();
    Proxy::start(&format!("{top}\n[upstream.app]\ninstances = [{}]\n{more}\n", instances.join(", ")))
}

fn start_session(proxy: &Proxy) -> Socket {
    let mut client = proxy.connect();
    client.send(engine_io::start(""));
    client
}

fn open_packet(fields: &str) -> String {
    engine_io::answer(fields, &engine_io::open_packet(SID))
}

fn poll(fields: &str) -> String {
    engine_io::poll(SID, fields)
}

/// A client whose session has begun at `instance`, and the connection there.
fn begun(proxy: &Proxy, instance: &Instance) -> (Socket, Socket) {
    let mut client = start_session(proxy);
    let mut far = instance.accept();
    far.request();
    far.send(open_packet(""));
    client.answer();
    (client, far)
}

/// One instance that may have one tunnel.
fn tight() -> (Instance, Proxy) {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [{{ address = \"{instance}\", max_tunnels = 1 }}]\n"
    ));
    (instance, proxy)
}

/// An upgrade of an unknown sid to a full instance made a worker spin for ever.
#[test]
fn an_upgrade_of_an_unknown_session_to_a_full_instance_is_refused() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "health_path = \"/-/ready\"\n[upstream.app]\ninstances = [{{ address = \"{instance}\", max_tunnels = 1 }}]\n"
    ));
    let _tunnel = ws::open(&proxy, &instance);
    let mut client = proxy.connect();
    client.send(ws::handshake("/socket.io/?EIO=4&transport=websocket&sid=invented", ""));
    assert_eq!(client.answer().status(), 503);
    assert_eq!(proxy.get("/-/ready", "").status(), 200);
}

#[test]
fn a_poll_of_a_known_session_does_not_rewrite_the_cookie_of_another_tab() {
    let (blue, green) = (Instance::start(), Instance::start());
    let proxy = proxy("", &[&blue, &green], "[upstream.app.sticky]\nby = [\"sid\", \"cookie\"]");
    // One tab's session.
    let mut client = start_session(&proxy);
    let (mut far, home) = eventually("a connection", || {
        blue.try_accept().map(|far| (far, &blue)).or_else(|| green.try_accept().map(|far| (far, &green)))
    });
    far.request();
    far.send(open_packet(""));
    client.answer();
    // Another tab's cookie, for the other instance.
    let other = if home.address() == blue.address() { &green } else { &blue };
    let cookie = loop {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        let at = eventually("a request", || {
            if far.has_at_once(1) {
                far.request();
                far.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                return Some(false);
            }
            let mut other = other.try_accept()?;
            other.request();
            other.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            Some(true)
        });
        let answer = client.answer();
        if at {
            break answer.cookie(NAME).unwrap().0;
        }
    };
    // The first tab polls on, with the browser's one cookie.
    client.send(poll(&format!("Cookie: {cookie}\r\n")));
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6");
    let answer = client.answer();
    assert_eq!(answer.values("set-cookie"), [""; 0], "{}", answer.head);
}

#[test]
fn a_client_without_cookies_is_not_stamped_with_every_poll() {
    let blue = Instance::start();
    let proxy = proxy("", &[&blue], "");
    let mut client = start_session(&proxy);
    let mut far = blue.accept();
    far.request();
    far.send(open_packet(""));
    assert!(client.answer().cookie(NAME).is_some());
    client.send(poll(""));
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6");
    assert_eq!(client.answer().values("set-cookie"), [""; 0]);
}

/// One client with `max_handshakes` connections and no traffic keeps everybody out, for as long as it likes.
#[test]
fn an_answer_that_is_no_switch_gives_the_turn_back() {
    let instance = Instance::start();
    let proxy = proxy("", &[&instance], "max_handshakes = 1");
    let mut greedy = proxy.connect();
    greedy.send(ws::handshake("/events", ""));
    let mut far = instance.accept();
    far.request();
    far.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    );
    greedy.head();
    assert_eq!(proxy.count("stickyd_upgrades_in_flight", &[]), 0);
}

/// The same with a slow reader of anything long below the path of Engine.IO, such as Node's /socket.io/socket.io.js.
#[test]
fn a_slow_reader_of_a_file_below_the_path_holds_no_turn() {
    let instance = Instance::start();
    let proxy = proxy("", &[&instance], "max_handshakes = 1");
    let mut greedy = proxy.connect();
    greedy.send("GET /socket.io/socket.io.js?transport=polling HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n/*");
    greedy.head();
    let begin = Instant::now();
    let mut honest = start_session(&proxy);
    let mut second = instance.try_accept();
    while second.is_none() && begin.elapsed() < Duration::from_secs(3) {
        second = instance.try_accept();
    }
    if second.is_none() {
        let answer = honest.answer();
        panic!("after {:?}: {} {}", begin.elapsed(), answer.status(), answer.text());
    }
}

#[test]
fn who_leaves_the_queue_gives_up_its_place() {
    let instance = Instance::start();
    let proxy = proxy("", &[&instance], "max_handshakes = 1");
    let _first = start_session(&proxy);
    let mut far = instance.accept();
    far.request();
    let crowd: Vec<Socket> = (0..256).map(|_| start_session(&proxy)).collect();
    proxy.counts("stickyd_upgrades_queued", &[], 256);
    crowd.into_iter().for_each(Socket::reset);
    proxy.counts("stickyd_upgrades_queued", &[], 0);
    let mut honest = start_session(&proxy);
    far.send(open_packet("Connection: close\r\n"));
    let mut far = instance.accept();
    far.request();
    far.send(open_packet(""));
    assert_eq!(honest.answer().status(), 200);
}

/// The instance does not answer the Close within the half second in which the client is back.
#[test]
fn a_client_that_was_moved_is_known_as_soon_as_it_is_told() {
    let (blue, green) = (Instance::start(), Instance::start());
    let proxy = proxy("", &[&blue, &green], "[upstream.app.sticky]\nby = [\"cookie\"]\n");
    let accept = || {
        eventually("a connection", || {
            blue.try_accept().map(|far| (far, 0)).or_else(|| green.try_accept().map(|far| (far, 1)))
        })
    };
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let (mut far, first) = accept();
    far.request();
    far.send(ws::switch(""));
    let (cookie, _) = client.answer().cookie(NAME).unwrap();
    proxy.close_tunnels(Reason::Rebalanced);
    ws::expect_close(&mut client, 1012, false);
    client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    client.half_close();
    std::thread::sleep(Duration::from_millis(600));
    let mut again = proxy.connect();
    again.send(ws::handshake("/ws", &format!("Cookie: {cookie}\r\n")));
    let (_far, second) = accept();
    assert_ne!(first, second, "it came back to where it was moved from");
}

/// A client that was moved from its first choice keeps away from it, also when its second one goes.
#[test]
fn a_moved_client_rests_although_it_is_bound_anew() {
    let mut instances = ["a", "b", "c"].map(Answering::start);
    let all: Vec<&dyn Display> = instances.iter().map(|instance| instance as &dyn Display).collect();
    let proxy = proxy("", &all, "[timeouts]\nhalf_close = \"100ms\"\nclose_wait = \"100ms\"\n");
    let place = |instances: &[Answering; 3], cookie: &str| -> (usize, Option<String>, Socket) {
        let before: Vec<usize> = instances.iter().map(|instance| instance.requests().len()).collect();
        let mut client = proxy.connect();
        client.send(ws::handshake("/ws", &format!("Cookie: {cookie}\r\n")));
        let answer: Message = client.answer();
        assert_eq!(answer.status(), 101);
        let at = (0..3).find(|at| instances[*at].requests().len() > before[*at]).unwrap();
        (at, answer.cookie(NAME).map(|cookie| cookie.0), client)
    };
    let (_, cookie, bound) = place(&instances, "x=y");
    let cookie = cookie.unwrap();
    drop(bound);
    proxy.counts("stickyd_tunnels_open", &[], 0);
    let (first, _, mut client) = place(&instances, &cookie);
    proxy.close_tunnels(Reason::Rebalanced);
    ws::expect_close(&mut client, 1012, false);
    client.send(Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    drop(client);
    proxy.counts("stickyd_tunnels_open", &[], 0);
    let (second, cookie, client) = place(&instances, &cookie);
    assert_ne!(second, first);
    drop(client);
    instances[second].stop();
    let (third, _, _client) = place(&instances, &cookie.unwrap());
    assert_ne!(third, first, "it came back to where it was moved from");
}

/// HTTP/1.0 asks for what it is to be told.
#[test]
fn our_own_answer_to_http_1_0_says_whether_the_connection_is_kept() {
    let mut blue = Answering::start("blue");
    let proxy = proxy("", &[&blue], "");
    blue.stop();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 503);
    assert!(answer.field("connection").is_some(), "kept open without a word: {}", answer.head);
}

/// The client is told before the instance hears of it.
#[test]
fn a_poll_that_is_closed_ends_at_the_instance() {
    let blue = Instance::start();
    let proxy = proxy("", &[&blue], "");
    let mut client = start_session(&proxy);
    let mut far = blue.accept();
    far.request();
    far.send(open_packet("Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n"));
    client.answer();
    client.send(poll(""));
    far.request();
    proxy.close_tunnels(Reason::Command);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (400, engine_io::UNKNOWN));
    assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some("https://a.example"));
    far.is_gone();
    proxy.counts("stickyd_requests_open", &[], 0);
}

/// Behind two proxies: where the session began and where the other proxy looks for it are the same instance.
#[test]
fn an_unknown_session_is_looked_for_where_a_new_one_would_begin() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [{{ address = \"{blue}\", state = \"cordon\" }}, \"{green}\"]\n"
    ));
    let mut lost = 0;
    for number in 0..40 {
        let fields = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let begun = proxy.get("/socket.io/?EIO=4&transport=polling", &fields);
        let looked = proxy.get("/socket.io/?EIO=4&transport=polling&sid=of-the-other-proxy", &fields);
        lost += u32::from(begun.text() != looked.text());
    }
    assert_eq!(lost, 0, "of 40 clients");
}

/// A page that is loaded again leaves no place taken.
#[test]
fn a_session_that_its_instance_does_not_know_any_more_takes_no_place() {
    let (instance, proxy) = tight();
    let (mut client, mut far) = begun(&proxy, &instance);
    client.send(poll(""));
    far.request();
    far.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 41\r\n\r\n{\"code\":1,\"message\":\"Session ID unknown\"}");
    assert_eq!(client.answer().status(), 400);
    let mut again = start_session(&proxy);
    // On the kept connection if anywhere.
    if far.has_at_once(1) {
        far.request();
        far.send(open_packet(""));
    }
    assert_eq!(again.answer().status(), 200);
}

/// The same when the client drops its poll: the instance closes such a session.
#[test]
fn a_session_whose_client_dropped_its_poll_takes_no_place() {
    let (instance, proxy) = tight();
    let (mut client, mut far) = begun(&proxy, &instance);
    client.send(poll(""));
    far.request();
    client.close();
    far.is_gone();
    let mut again = start_session(&proxy);
    std::thread::sleep(Duration::from_millis(100));
    if let Some(mut far) = instance.try_accept() {
        far.request();
        far.send(open_packet(""));
    }
    assert_eq!(again.answer().status(), 200);
}
