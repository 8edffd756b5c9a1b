//! Sockets become requests: accepts, serves HTTP/1 with upgrades, and ends connections when the instance ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::context::Context;
use super::line::Line;

/// For a request's head, and for the time in which a kept connection says nothing. Longer than a proxy keeps one unused, so
/// that it is never closed under a request that is on its way.
const HEAD_MAX: Duration = Duration::from_secs(75);

/// For a client to take what it was sent. Of a stream of events that ends nobody would wait for its end otherwise.
const UNREAD_MAX: Duration = Duration::from_mins(1);

/// After an accept that failed, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// For the answers that are under way when the instance ends.
const REST: Duration = Duration::from_secs(1);

/// Accepts until `last` says that it is over, then lets what is under way end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    context: Arc<Context>,
    mut last: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), context.clone(), last.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = is_over(&mut last) => break,
        }
    }
    drop(listener);
    let _ = timeout(REST, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    context: Arc<Context>,
    mut last: watch::Receiver<bool>,
) {
    // Messages are small: each would wait for the acknowledgement of the one before (about 40 ms).
    let _ = stream.set_nodelay(true);
    // A client that takes nothing any more, whatever of ours it has not read, is gone after this.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX));
    context.metrics.connections.up();
    let (line, end) = Line::new(stream, &context.lines);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(end.clone());
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(line), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    // Who is the client and what went wrong with it, is not of interest here: it is gone.
    let _ = tokio::select! {
        ended = &mut serving => ended,
        () = is_over(&mut last) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    context.metrics.connections.down();
}

/// Returns when the instance ends. So it does when nobody is left to say so.
async fn is_over(last: &mut watch::Receiver<bool>) {
    let _ = last.wait_for(|last| *last).await;
}
