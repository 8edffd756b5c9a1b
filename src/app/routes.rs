//! Paths that are not Socket.IO's. Each part of the application adds its own router here.
//!
//! | path | for whom |
//! | --- | --- |
//! | `/healthz` | the proxy's health check: 200 as long as the process answers. It does not depend on Redis, for if it did, a Redis that is away would take every instance out of service at once |
//! | `/readyz` | whoever rolls out: 503 while stopping, and while Redis is away |
//! | `/metrics` | Prometheus |
//! | `/` | with `--insecure-demo`: the page |
//! | `/presence/{userId}`, `/presence?ids=a,b` | users and the operator: who is online |
//! | `/events`, `/poll?since=` | users: their events |
//! | `POST /notify`, `POST /emit` | the operator: says something to users, or to rooms |
//! | `/webhooks` | the operator: who is called when something happens |

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::context::Context;
use super::{feed, metrics, operator, page, presence, webhooks};

/// Everything but Socket.IO.
pub(super) fn router(context: &Arc<Context>) -> Router {
    // Without the demonstration around it: the chat.
    let page = if context.settings.insecure_demo { page::router() } else { Router::new() };
    Router::new()
        .merge(page)
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .merge(feed::router(context))
        .merge(operator::router())
        .merge(webhooks::router())
        .merge(presence::http::router())
        .with_state(context.clone())
}

async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if context.link.bus().is_connected() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Redis is away\n")
    }
}

async fn metrics_page(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::page(&context))
}
