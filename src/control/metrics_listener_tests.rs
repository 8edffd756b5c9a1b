use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::control::local_http::{self, Bounds};

/// Long enough for a loaded machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

struct Server {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(bounds: Bounds, body: impl Fn() -> String + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let (stop, stopped) = oneshot::channel();
    let is_ready = {
        let ready = Arc::clone(&ready);
        move || ready.load(Ordering::Relaxed)
    };
    let shutdown = async { stopped.await.unwrap_or_default() };
    #[expect(clippy::disallowed_methods, reason = "the test joins it")]
    let task =
        tokio::spawn(local_http::serve(bounds, "metrics", listener, answers(body, is_ready), shutdown));
    Server { address, ready, stop, task }
}

async fn connect(server: &Server) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(server.address)).await.unwrap().unwrap()
}

/// Sends `request` and reads until the server closes.
async fn ask(server: &Server, request: &str) -> String {
    let mut stream = connect(server).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    to_end(&mut stream).await
}

/// What is left until the end; a reset is an end too.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the server does not close");
    String::from_utf8(all).unwrap()
}

/// Asks for health on a connection that is kept.
async fn keep(stream: &mut TcpStream) {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 256];
    let count = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..count].ends_with(b"\r\n\r\nok"), "{}", String::from_utf8_lossy(&answer[..count]));
}

#[tokio::test]
async fn what_is_answered() {
    let server = start(Bounds::LOOK, || "a_total 1\n".to_owned()).await;
    let check = async |request: &str, status: &str, body: &str| {
        let answer = ask(&server, &format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert_eq!(rest, body, "{request}");
        head.to_ascii_lowercase()
    };
    let head = check("GET /metrics HTTP/1.1", "200", "a_total 1\n").await;
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    check("GET /metrics?x=y HTTP/1.1", "200", "a_total 1\n").await;
    let head = check("HEAD /metrics HTTP/1.1", "200", "").await;
    assert!(head.contains("\r\ncontent-length: 10\r\n"), "{head}");
    check("GET /-/healthy HTTP/1.1", "200", "ok").await;
    check("GET /-/ready HTTP/1.1", "200", "ok").await;
    server.ready.store(false, Ordering::Relaxed);
    check("GET /-/ready HTTP/1.1", "503", "not ready").await;
    check("HEAD /-/ready HTTP/1.1", "503", "").await;
    check("GET /-/healthy HTTP/1.1", "200", "ok").await;
    check("GET / HTTP/1.1", "404", "not found: /metrics, /-/healthy, /-/ready\n").await;
    check("GET /metrics/ HTTP/1.1", "404", "not found: /metrics, /-/healthy, /-/ready\n").await;
    check("DELETE / HTTP/1.1", "404", "not found: /metrics, /-/healthy, /-/ready\n").await;
    let head = check("POST /metrics HTTP/1.1", "405", "only GET and HEAD\n").await;
    assert!(head.contains("\r\nallow: get, head\r\n"), "{head}");
}

#[tokio::test]
async fn no_body_is_waited_for() {
    let server = start(Bounds::LOOK, String::new).await;
    let answer =
        ask(&server, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer =
        ask(&server, "GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_has_a_size() {
    let server = start(Bounds::LOOK, String::new).await;
    let answer = ask(&server, &format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(9000))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_connection_serves_more_than_once() {
    let server = start(Bounds::LOOK, String::new).await;
    let mut stream = connect(&server).await;
    keep(&mut stream).await;
    keep(&mut stream).await;
}

#[tokio::test]
async fn who_says_nothing_is_cut() {
    let server = start(Bounds { head: SHORT, ..Bounds::LOOK }, String::new).await;
    for begin in ["", "GET /metrics HTTP/1.1\r\nHost:"] {
        assert_eq!(ask(&server, begin).await, "", "{begin:?}");
    }
    let mut kept = connect(&server).await;
    keep(&mut kept).await;
    assert_eq!(to_end(&mut kept).await, "");
}

#[tokio::test]
async fn connections_are_bounded_and_the_next_waits() {
    let server = start(Bounds { connections_max: 2, ..Bounds::LOOK }, String::new).await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    keep(&mut first).await;
    keep(&mut second).await;
    let mut third = connect(&server).await;
    let early = timeout(Duration::from_millis(200), keep(&mut third)).await;
    assert!(early.is_err(), "a third connection is served beside two");
    drop(first);
    // It asked above; the answer is to that.
    let mut answer = [0; 256];
    let count = timeout(PATIENCE, third.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..count].ends_with(b"ok"));
}

#[tokio::test]
async fn who_reads_nothing_is_cut() {
    let bounds = Bounds { connections_max: 1, life: SHORT, rest: SHORT, ..Bounds::LOOK };
    let server = start(bounds, || "x".repeat(64 << 20)).await;
    let mut stuck = connect(&server).await;
    stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut next = connect(&server).await;
    keep(&mut next).await;
    assert!(to_end(&mut stuck).await.len() < 64 << 20);
}

#[tokio::test]
async fn shutdown_ends_what_is_open() {
    let server = start(Bounds::LOOK, String::new).await;
    let mut kept = connect(&server).await;
    keep(&mut kept).await;
    server.stop.send(()).unwrap();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert_eq!(to_end(&mut kept).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
}
