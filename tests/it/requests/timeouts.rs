//! Every wait has an end, with a status of its own or a close. Here time itself is tested: limits are short, and what must
//! not happen yet is not waited for.

use std::time::{Duration, Instant};

use socket2::{Domain, Socket as Raw, Type};

use super::{get, ok, trio_with};
use crate::support::{End, Proxy, Socket, ws};

/// A trio with one time-out short.
fn with(timeout: &str) -> (Proxy, crate::support::Instance, Socket) {
    trio_with(&format!("[timeouts]\n{timeout} = \"150ms\"\n"))
}

/// `wait` lasts at least as long as the short time-out.
fn lasts<T>(wait: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = wait();
    assert!(begin.elapsed() >= Duration::from_millis(140), "too early: {:?}", begin.elapsed());
    result
}

#[test]
fn first_byte() {
    let (_proxy, _instance, mut client) = with("first_byte");
    lasts(|| client.ends());
}

#[test]
fn request_head() {
    let (_proxy, instance, mut client) = with("request_head");
    client.send("GET / HTTP/1.1\r\nHost: app\r\n");
    let answer = lasts(|| client.answer());
    assert_eq!((answer.status(), answer.field("connection").as_deref()), (408, Some("close")));
    client.ends();
    instance.saw_nothing();
}

#[test]
fn request_head_is_for_all_of_it() {
    let (_proxy, _instance, client) = with("request_head");
    let mut writer = client.writer();
    let mut client = client;
    std::thread::scope(|scope| {
        // A byte now and then does not help.
        scope.spawn(move || {
            for byte in b"GET / HTTP/1.1\r\nHost: app\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                if writer.try_send([*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(client.answer().status(), 408);
        client.is_gone();
    });
}

#[test]
fn request_body() {
    let (_proxy, instance, mut client) = with("request_body");
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
    let mut far = instance.accept();
    far.head();
    far.expect("half");
    assert_eq!(lasts(|| client.answer()).status(), 408);
    client.ends();
    far.is_gone();
}

#[test]
fn request_body_also_while_the_answer_comes() {
    let (_proxy, instance, mut client) = with("request_body");
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
    let mut far = instance.accept();
    far.head();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    let mut writer = far.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while writer.try_send("x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        client.head();
        // What moves in one direction does not excuse the other.
        assert_eq!(client.rest().1, End::Reset);
        far.rest();
    });
}

#[test]
fn request_body_begins_anew_with_every_byte() {
    let (_proxy, instance, mut client) = with("request_body");
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        client.send("x");
    }
    assert_eq!(instance.accept().request().text(), "xxxxxxxxxx");
}

/// The regression: a client that was told nothing owed a body that it could not send yet, and got a 408.
#[test]
fn request_body_is_owed_once_it_is_asked_for() {
    const ASKS: &str = "Expect: 100-continue\r\n\r\n";
    let check = |version: &str, sent: &str, told: &str, status: u16| {
        let (_proxy, instance, mut client) =
            trio_with("[timeouts]\nrequest_body = \"150ms\"\nresponse_head = \"600ms\"\n");
        client.send(format!("POST / HTTP/{version}\r\nHost: app\r\nContent-Length: 10\r\n{sent}"));
        let mut far = instance.accept();
        far.head();
        far.send(told);
        client.expect(told);
        assert_eq!(lasts(|| client.answer()).status(), status, "{version} {sent} {told}");
        client.ends();
        far.rest();
    };
    check("1.1", ASKS, "", 504);
    check("1.1", ASKS, "HTTP/1.1 100 Continue\r\n\r\n", 408);
    check("1.1", &format!("{ASKS}half"), "", 408);
    check("1.1", "\r\n", "", 408);
    // It knows of no such thing.
    check("1.0", ASKS, "", 408);
}

#[test]
fn response_head() {
    let (_proxy, instance, mut client) = with("response_head");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    assert_eq!(lasts(|| client.answer()).status(), 504);
    far.is_gone();
}

#[test]
fn response_head_also_between_two_looks_at_a_client_that_pipelined_much() {
    let (_proxy, instance, mut client) = trio_with("[timeouts]\nresponse_head = \"1400ms\"\n");
    // The client is looked at once a second: a deadline in between is kept all the same.
    client.send(get("/").repeat(2000));
    let mut far = instance.accept();
    far.request();
    let begin = Instant::now();
    assert_eq!(client.answer().status(), 504);
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
}

#[test]
fn response_head_that_began() {
    let (_proxy, instance, mut client) = with("response_head");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-");
    assert_eq!(client.answer().status(), 504);
    far.is_gone();
}

#[test]
fn upgrade() {
    let (_proxy, instance, mut client) = with("upgrade");
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    assert_eq!(lasts(|| client.answer()).status(), 504);
    far.is_gone();
}

#[test]
fn body_idle() {
    let (_proxy, instance, mut client) = with("body_idle");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    client.head();
    assert_eq!(lasts(|| client.rest()), (b"half".to_vec(), End::Reset));
    far.is_gone();
}

#[test]
fn body_idle_begins_anew_with_every_byte() {
    let (_proxy, instance, mut client) = with("body_idle");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        far.send("x");
    }
    assert_eq!(client.answer().text(), "xxxxxxxxxx");
}

#[test]
fn send() {
    let (proxy, instance, mut client) = with("send");
    client.shrink();
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let mut writer = far.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || while writer.try_send(vec![0; 65_536]).is_ok() {});
        // The client takes nothing.
        far.is_gone();
    });
    proxy.counts("stickyd_requests_open", &[], 0);
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn an_instance_that_takes_nothing() {
    let instance = crate::support::Instance::small();
    let proxy = Proxy::configured(&instance, "[timeouts]\nsend = \"150ms\"\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 9000000\r\n\r\n");
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.try_send(vec![0; 9_000_000]));
        let _far = instance.accept();
        assert_eq!(client.answer().status(), 504);
    });
}

#[test]
fn keep_alive() {
    let (_proxy, instance, mut client) = with("keep_alive");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send(ok("one"));
    client.answer();
    lasts(|| client.ends());
}

#[test]
fn keep_alive_is_not_for_the_first_request() {
    let (_proxy, instance, mut client) = with("keep_alive");
    std::thread::sleep(Duration::from_millis(300));
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    std::thread::sleep(Duration::from_millis(300));
    far.send(ok("one"));
    assert_eq!(client.answer().text(), "one");
}

#[test]
fn connect() {
    // A queue of one that is full: the kernel says nothing to who comes next.
    let socket = Raw::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _queued = Socket::connect(address);
    let proxy = Proxy::configured(&address, "[timeouts]\nconnect = \"150ms\"\n");
    let answer = lasts(|| proxy.get("/", ""));
    assert_eq!(answer.status(), 503);
    proxy.counts("stickyd_connect_errors_total", &[("kind", "timeout")], 1);
}

#[test]
fn an_upstream_has_its_own_time_outs() {
    let (_proxy, instance, mut client) = trio_with(
        "[upstream.app.timeouts]\nresponse_head = \"150ms\"\n[timeouts]\nresponse_head = \"50s\"\n",
    );
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    assert_eq!(lasts(|| client.answer()).status(), 504);
    far.is_gone();
}
