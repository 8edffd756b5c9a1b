//! How an instance ends: stopped, its clients let go one after the other, then the rest; killed, nobody is told.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use socketioxide::handler::DisconnectHandler;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::adapter::RoomAdapter;
use super::clock;
use super::context::Context;
use super::gone::close_of;
use super::line::End;

/// For closing what is left.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Between two looks whether they have all left.
const LOOK: Duration = Duration::from_millis(5);

/// Lets all clients go, over [`spread`](super::settings::Settings::spread). `router` is what serves them.
pub(super) async fn leave(context: &Arc<Context>, router: Router) {
    tracing::info!(instance = context.settings.name, "stops");
    context.begin_stop();
    // By their ids: who is in several namespaces is still one client.
    let sockets: BTreeMap<String, SocketRef<RoomAdapter>> = context
        .io()
        .nsps()
        .into_iter()
        .flat_map(BroadcastOperators::sockets)
        .map(|socket| (socket.id.to_string(), socket))
        .collect();
    let router = TowerToHyperService::new(router);
    let (begin, count) = (Instant::from_std(clock::instant()), sockets.len());
    for (at, (id, socket)) in sockets.into_iter().enumerate() {
        sleep_until(begin + moment(context.settings.spread, at, count)).await;
        if socket.connected() {
            let_go(context, &router, &id, &socket).await;
        }
    }
    // What is done when a client leaves runs in tasks that only the library knows, and not at all once it is closed.
    let _ = timeout(CLOSE_MAX, async {
        while context.metrics.sockets.get() > 0 {
            sleep(LOOK).await;
        }
    })
    .await;
    // Who came meanwhile, or would not go.
    let _ = timeout(CLOSE_MAX, context.io().close()).await;
    sleep(LOOK).await;
}

/// Lets go of what the library would keep of an instance that is killed, without a word to anybody: its sockets and their
/// namespaces hold each other. Nothing runs after this but what is dropped.
pub(super) async fn forget(context: &Context) {
    let io = context.io();
    let sockets: Vec<_> = io.nsps().into_iter().flat_map(BroadcastOperators::sockets).collect();
    for socket in &sockets {
        // Instead of what is done when a client leaves, which a crash would not do either.
        socket.on_disconnect(Forget);
    }
    tokio::select! {
        biased;
        // At the first look all sessions are taken out; to be told that they are closed would take a second one.
        () = io.close() => {}
        () = ready(()) => {}
    }
    for socket in sockets {
        // What it says to the client waits in a queue that nobody reads any more.
        let _ = socket.disconnect();
    }
}

/// Takes a socket out of its namespace, and that is all.
struct Forget;

impl DisconnectHandler<RoomAdapter, ()> for Forget {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<RoomAdapter>>,
        _: DisconnectReason,
        take_out: fn(Arc<Socket<RoomAdapter>>),
    ) {
        take_out(socket);
    }
}

/// When one of so many goes.
fn moment(spread: Duration, at: usize, count: usize) -> Duration {
    let [part, whole] = [at + 1, count].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    spread * part / whole.max(1)
}

/// Ends a session as its client would, so that it comes back by itself.
async fn let_go(
    context: &Context,
    router: &TowerToHyperService<Router>,
    id: &str,
    socket: &SocketRef<RoomAdapter>,
) {
    match socket.transport_type() {
        TransportType::Websocket => {
            // Who began with a WebSocket has its connection with the request; who came to it later is noted.
            let begun = || socket.req_parts().extensions.get::<End>().cloned();
            if let Some(end) = context.lines.find(id).or_else(begun) {
                end.come();
            }
        }
        TransportType::Polling => {
            if let Some(close) = close_of(id) {
                // It is answered at once, and cannot fail.
                let _ = router.call(close).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_goes_at_the_end() {
        let check = |at, count, expected| {
            assert_eq!(moment(Duration::from_secs(4), at, count), Duration::from_millis(expected));
        };
        check(0, 1, 4000);
        check(0, 4, 1000);
        check(3, 4, 4000);
    }
}
