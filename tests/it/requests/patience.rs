//! What moves in one direction of an exchange says nothing of the other: each has its own time-outs, and each is left alone
//! for as long as it moves at all.

use std::thread;
use std::time::Duration;

use super::{get, trio_with};
use crate::support::{End, Instance, Proxy, Socket};

const SHORT: &str = "[timeouts]\nrequest_body = \"300ms\"\nbody_idle = \"300ms\"\nsend = \"300ms\"\n";

/// A request whose body comes in chunks, and the beginning of an answer that does.
const POST: &str = "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n";
const BEGUN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Far more often than anything has time for, and for far longer.
const STEP: Duration = Duration::from_millis(30);
const STEPS: usize = 90;

/// Sends a chunk now and then; `true`: until the proxy ended that.
fn trickles(mut to: Socket) -> bool {
    (0..STEPS).any(|_| {
        thread::sleep(STEP);
        to.try_send("1\r\nx\r\n").is_err()
    })
}

/// Sends as much as is taken, until the proxy ends that.
fn floods(mut to: Socket, piece: &[u8]) {
    while to.try_send(piece).is_ok() {}
}

#[test]
fn an_upload_that_trickles_does_not_keep_an_answer_that_is_not_taken() {
    let (proxy, instance, mut client) = trio_with(SHORT);
    client.shrink();
    client.send(POST);
    let mut far = instance.accept();
    far.head();
    far.send(BEGUN);
    let (upload, answer) = (client.writer(), far.writer());
    thread::scope(|scope| {
        scope.spawn(|| floods(answer, format!("10000\r\n{}\r\n", "y".repeat(65_536)).as_bytes()));
        assert!(trickles(upload), "a client that takes nothing was waited for");
        far.rest();
    });
    proxy.counts("stickyd_requests_open", &[], 0);
}

#[test]
fn an_upload_that_trickles_does_not_keep_an_answer_that_does_not_come() {
    let (proxy, instance, mut client) = trio_with(SHORT);
    client.send(POST);
    let mut far = instance.accept();
    far.head();
    far.send(BEGUN);
    client.head();
    assert!(trickles(client.writer()), "an instance that says nothing was waited for");
    far.rest();
    proxy.counts("stickyd_requests_open", &[], 0);
}

#[test]
fn an_answer_that_trickles_does_not_keep_an_upload_that_does_not_come() {
    let (proxy, instance, mut client) = trio_with(SHORT);
    client.send(POST);
    let mut far = instance.accept();
    far.head();
    far.send(BEGUN);
    client.head();
    assert!(trickles(far.writer()), "a client that sends no body was waited for");
    assert_eq!(client.rest().1, End::Reset);
    proxy.counts("stickyd_requests_open", &[], 0);
}

#[test]
fn an_answer_that_trickles_does_not_keep_an_upload_that_is_not_taken() {
    let instance = Instance::small();
    let proxy = Proxy::configured(&instance, &format!("{SHORT}[limits]\nbody = \"off\"\n"));
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000000\r\n\r\n");
    let mut far = instance.accept();
    far.head();
    far.send(BEGUN);
    client.head();
    let upload = client.writer();
    thread::scope(|scope| {
        scope.spawn(|| floods(upload, &vec![0; 65_536]));
        assert!(trickles(far.writer()), "an instance that takes nothing was waited for");
    });
    proxy.counts("stickyd_requests_open", &[], 0);
}

#[test]
fn both_directions_may_trickle_for_longer_than_either_may_rest() {
    let (_proxy, instance, mut client) = trio_with(SHORT);
    client.send(POST);
    let mut far = instance.accept();
    far.head();
    far.send(BEGUN);
    for _ in 0..20 {
        thread::sleep(STEP);
        client.send("1\r\nx\r\n");
        far.send("1\r\ny\r\n");
    }
    client.send("0\r\n\r\n");
    far.send("0\r\n\r\n");
    assert_eq!(client.answer().text(), "y".repeat(20));
}

/// The regression: the kernel says that a reader has taken something only when a third of megabytes is gone.
#[test]
fn a_client_that_reads_slowly_but_steadily_is_not_stalled() {
    let (proxy, instance, mut client) = trio_with("[timeouts]\nsend = \"500ms\"\n");
    client.send(get("/"));
    let mut far = instance.accept();
    far.request();
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.head();
    let answer = far.writer();
    thread::scope(|scope| {
        scope.spawn(|| floods(answer, &vec![b'y'; 65_536]));
        // At about 1 MB a second the client's kernel makes room every 100 ms, and for several times `send`.
        for _ in 0..60 {
            thread::sleep(STEP);
            client.exactly(30_000);
        }
        proxy.counts("stickyd_requests_open", &[], 1);
        drop(client);
        far.rest();
    });
}
