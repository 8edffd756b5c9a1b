//! How an instance stops: not ready, its clients let go one after the other, then the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use tokio::time::{Instant, sleep_until, timeout};

use super::adapter::RoomAdapter;
use super::clock;
use super::context::Context;
use super::edge;
use super::line::End;

/// For closing what is left.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Lets all clients go, over [`spread`](super::settings::Settings::spread). `router` is what serves them.
pub(super) async fn leave(context: &Arc<Context>, router: Router) {
    tracing::info!(instance = context.settings.name, "stops");
    context.begin_stop();
    // By their ids: who is in several namespaces is still one client.
    let sockets: BTreeMap<String, SocketRef<RoomAdapter>> = context
        .io()
        .nsps()
        .into_iter()
        .flat_map(socketioxide::operators::BroadcastOperators::sockets)
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
    // Who came meanwhile, or would not go.
    let _ = timeout(CLOSE_MAX, context.io().close()).await;
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
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("{}/?EIO=4&transport=polling&sid={id}", edge::PATH))
                // "Close" of Engine.IO.
                .body(Body::from("1"));
            if let Ok(request) = request {
                // It is answered at once, and cannot fail.
                let _ = router.call(request).await;
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
