//! A poll that waits for its answer. A client that gives it up is gone, and so is its session: as Node does it, and not only
//! when the ping times out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use tokio::runtime::Handle;

use super::context::Context;
use super::edge;

/// The request by which a client of polling closes its session: "close" of Engine.IO.
pub(super) fn close_of(sid: &str) -> Option<Request> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("{}/?EIO=4&transport=polling&sid={sid}", edge::PATH))
        .body(Body::from("1"))
        .ok()
}

/// A poll that waits. Dropped before it was [answered](Parked::answered), its session is closed.
pub(super) struct Parked {
    /// The way to the session, until there is an answer.
    way: Option<(Next, Request)>,
    context: Arc<Context>,
}

impl Parked {
    /// This session waits for something to be told; `next` is what serves its requests.
    pub(super) fn new(sid: &str, next: &Next, context: &Arc<Context>) -> Self {
        Self { way: close_of(sid).map(|close| (next.clone(), close)), context: context.clone() }
    }

    /// It got its answer.
    pub(super) fn answered(mut self) {
        self.way = None;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // Without a runtime the instance has ended, and the session with it.
        if let Some((next, close)) = self.way.take()
            && Handle::try_current().is_ok()
        {
            self.context.tasks.spawn("close", async move {
                // To a session that is closed already it is a mistake, and no more.
                let _ = next.run(close).await;
            });
        }
    }
}
