//! Clients that leave: what they asked for is ended at the instance at once, however they hide it.

use super::{get, trio, trio_with};
use crate::support::{Instance, Proxy, Socket, eventually, ws};

const POLL: &str = "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: app\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";

/// A long-poll is parked; the client does `leave`; the instance sees the end.
fn check_poll(leave: fn(Socket)) {
    let (proxy, instance, mut client) = trio();
    client.send(POLL);
    let mut far = instance.accept();
    far.request();
    proxy.counts("stickyd_requests_open", &[("kind", "poll")], 1);
    leave(client);
    far.is_gone();
    proxy.counts("stickyd_requests_open", &[], 0);
    proxy.counts("stickyd_connections_open", &[], 0);
}

#[test]
fn a_dropped_poll_is_dropped_at_the_instance() {
    check_poll(Socket::close);
    check_poll(Socket::reset);
}

#[test]
fn a_dropped_poll_is_noticed_behind_pipelined_bytes() {
    check_poll(|mut client| {
        client.send(get("/next"));
        client.close();
    });
    check_poll(|mut client| {
        client.send(get("/next"));
        client.reset();
    });
    // More than `limits.header`: the proxy stops reading, and must still notice.
    check_poll(|mut client| {
        client.send(get("/next").repeat(2000));
        client.close();
    });
    check_poll(|mut client| {
        client.send(get("/next").repeat(2000));
        client.reset();
    });
}

#[test]
fn a_dropped_poll_is_noticed_behind_what_was_sent_with_it() {
    let (_proxy, instance, mut client) = trio();
    client.send(POLL.to_owned() + &get("/next").repeat(2000));
    let mut far = instance.accept();
    far.request();
    client.close();
    far.is_gone();
}

#[test]
fn a_reader_of_events_that_leaves_ends_them() {
    for pipelined in [0, 1, 2000] {
        let (proxy, instance, mut client) = trio();
        client.send(get("/events"));
        let mut far = instance.accept();
        far.request();
        far.send(EVENTS);
        let head = client.head();
        assert!(head.contains("text/event-stream"), "{head}");
        client.expect("9\r\ndata: 1\n\n\r\n");
        proxy.counts("stickyd_requests_open", &[("kind", "stream")], 1);
        far.send("data: 2\n\n");
        client.expect("9\r\ndata: 2\n\n\r\n");
        client.send(get("/next").repeat(pipelined));
        client.close();
        far.is_gone();
        proxy.counts("stickyd_requests_open", &[], 0);
    }
}

#[test]
fn a_client_that_leaves_amid_its_body_ends_it() {
    for leave in [Socket::close, Socket::reset] {
        let (_proxy, instance, mut client) = trio();
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
        let mut far = instance.accept();
        far.head();
        far.expect("half");
        leave(client);
        far.is_gone();
    }
}

#[test]
fn a_client_that_breaks_off_while_the_instance_takes_nothing_ends_it() {
    let instance = Instance::small();
    let proxy = Proxy::configured(&instance, "[limits]\nbody = \"off\"\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000000\r\n\r\n");
    let mut far = instance.accept();
    far.head();
    client.fill_up();
    // An end in order would still wait behind what the kernel holds; the proxy cannot know of it.
    client.reset();
    proxy.counts("stickyd_requests_open", &[], 0);
    proxy.counts("stickyd_connections_open", &[], 0);
    far.rest();
}

#[test]
fn a_client_that_leaves_amid_a_long_answer_ends_it() {
    for leave in [Socket::close, Socket::reset] {
        let (_proxy, instance, mut client) = trio();
        client.send(get("/"));
        let mut far = instance.accept();
        far.request();
        far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        client.head();
        let mut writer = far.writer();
        std::thread::scope(|scope| {
            // Until it fails: more than fits in between.
            scope.spawn(move || while writer.try_send(vec![0; 65_536]).is_ok() {});
            client.exactly(1_000_000);
            leave(client);
            far.is_gone();
        });
    }
}

#[test]
fn a_client_that_left_is_not_asked_again() {
    // The instance is slow to accept: the client is gone before it is connected to.
    let (proxy, instance, mut client) = trio_with("");
    client.send(get("/"));
    client.close();
    let mut far = instance.accept();
    let (bytes, _) = far.rest();
    assert!(bytes.is_empty() || bytes.starts_with(b"GET / HTTP/1.1\r\n"), "{}", bytes.escape_ascii());
    proxy.counts("stickyd_connections_open", &[], 0);
}

/// The regression: only the answer was not given; the instance did the work all the same.
#[test]
fn what_a_client_wanted_that_left_before_the_instance_was_reached_is_not_done() {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, "[timeouts]\nconnect = \"20s\"\n");
    let post = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody".to_owned();
    let requests = [get("/"), get("/").repeat(2000), post, POLL.to_owned(), ws::handshake("/ws", "")];
    instance.shuts();
    let mut clients = Vec::new();
    for leave in [Socket::close, Socket::reset] {
        for request in &requests {
            let mut client = proxy.connect();
            client.send(request);
            clients.push((client, leave));
        }
    }
    let count = clients.len();
    eventually("the proxy connects for each", || (instance.connecting() == count).then_some(()));
    for (client, leave) in clients {
        leave(client);
    }
    instance.opens();
    for _ in 0..count {
        instance.accept().is_gone();
    }
    proxy.counts("stickyd_connections_open", &[], 0);
    // As nginx's 499.
    proxy.counts("stickyd_requests_total", &[("origin", "proxy"), ("code", "4xx")], count as u64);
    proxy.counts("stickyd_requests_total", &[], count as u64);
    proxy.counts("stickyd_requests_open", &[], 0);
    assert_eq!(proxy.count("stickyd_connect_errors_total", &[]), 0);
    instance.saw_nothing();
}

#[test]
fn a_client_that_leaves_before_its_head_is_whole_is_forgotten() {
    let instance = Instance::start();
    let proxy = Proxy::before(&instance);
    for bytes in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: app\r\n"] {
        for leave in [Socket::close, Socket::reset, |client: Socket| client.half_close()] {
            let mut client = proxy.connect();
            client.send(bytes);
            leave(client);
        }
    }
    proxy.counts("stickyd_connections_total", &[], 9);
    proxy.counts("stickyd_connections_open", &[], 0);
    instance.saw_nothing();
}
