//! Upgrade and tunnel, as raw bytes.

mod closing;
mod ends;
mod frames;
mod handshake;
mod injected;
mod ping;
mod pressure;

use crate::support::{Instance, Proxy, Socket, ws};

/// A tunnel: the proxy, its instance, the client's end and the instance's end.
fn tunnel() -> (Proxy, Instance, Socket, Socket) {
    tunnel_with("")
}

/// The same with more sections in the configuration.
fn tunnel_with(more: &str) -> (Proxy, Instance, Socket, Socket) {
    let instance = Instance::start();
    let proxy = Proxy::configured(&instance, more);
    let (client, far) = ws::open(&proxy, &instance);
    (proxy, instance, client, far)
}
