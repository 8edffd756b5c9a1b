//! Instances that die, are emptied, come and go with the file: what their clients hear, and that nobody else notices.

mod down;
mod drain;
mod rebalance;
mod reload;
mod replaced;
mod upgrading;

use std::fmt::Display;

use crate::support::{Instance, Proxy, Socket, ws};

/// An upstream `app` of these, without affinity, in turn. `more`: its keys, then sections.
fn upstream(instances: &[&dyn Display], more: &str) -> String {
    let instances: Vec<String> = instances.iter().map(|instance| format!("\"{instance}\"")).collect();
    format!(
        "[upstream.app]\nbalance = \"round_robin\"\nsticky.by = []\ninstances = [{}]\n{more}\n",
        instances.join(", ")
    )
}

/// A tunnel, and where it went: its client, the far end, the number of the instance.
pub(crate) fn tunnel(proxy: &Proxy, instances: &[&Instance]) -> (Socket, Socket, usize) {
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let (mut far, at) = crate::support::eventually("a connection", || {
        instances.iter().enumerate().find_map(|(at, instance)| Some((instance.try_accept()?, at)))
    });
    far.request();
    far.send(ws::switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (client, far, at)
}

/// A message each way.
pub(crate) fn talks(client: &mut Socket, far: &mut Socket) {
    client.send(ws::Frame::masked(ws::TEXT, "up").bytes());
    assert_eq!(ws::Frame::read(far).payload, b"up");
    far.send(ws::Frame::new(ws::TEXT, "down").bytes());
    assert_eq!(ws::Frame::read(client).payload, b"down");
}
