//! Requests and answers through the proxy, as raw bytes.

mod answers;
mod bodies;
mod connections;
mod failover;
mod headers;
mod interim;
mod leaving;
mod listeners;
mod mutated;
mod patience;
pub(crate) mod refused;
mod timeouts;

use crate::support::{Instance, Message, Proxy, Socket};

/// A proxy, its instance, and a client that is connected.
fn trio() -> (Proxy, Instance, Socket) {
    trio_with("")
}

/// The same with more sections in the configuration.
fn trio_with(more: &str) -> (Proxy, Instance, Socket) {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, more);
    let client = proxy.connect();
    (proxy, instance, client)
}

/// A GET without anything that need not be.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n")
}

/// A 200 with this body.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The client asks for `path`, the instance answers with `answer`: what each of them got.
fn exchange(client: &mut Socket, far: &mut Socket, path: &str, answer: &str) -> (Message, Message) {
    client.send(get(path));
    let request = far.request();
    far.send(answer);
    (request, client.answer())
}
