//! `POST /emit {room, event, data}` of the operator: says something to a room of Socket.IO, on all instances.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::context::Context;
use super::identity::Operator;
use super::problem::Problem;

/// Events that are Socket.IO's own.
const RESERVED: &[&str] =
    &["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What is to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    room: String,
    event: String,
    #[serde(default)]
    data: Value,
    #[serde(default = "slash")]
    namespace: String,
}

fn slash() -> String {
    "/".to_owned()
}

pub(super) fn router() -> Router<Arc<Context>> {
    Router::new().route("/emit", post(emit))
}

async fn emit(
    _: Operator,
    State(context): State<Arc<Context>>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    let said: Said = serde_json::from_slice(&body)
        .map_err(|error| Problem::wrong(format!("no {{ room, event, data }}: {error}")))?;
    let is_name = |name: &str| !name.is_empty() && name.len() <= context.settings.name_bytes_max;
    if !is_name(&said.room) || !is_name(&said.event) {
        return Err(Problem::wrong("room and event have names, and short ones"));
    }
    if RESERVED.contains(&&*said.event) {
        return Err(Problem::wrong("this event is Socket.IO's own"));
    }
    let io = context.io();
    let operators = io.of(said.namespace);
    let operators =
        operators.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such namespace"))?;
    // A client whose queue is full misses it, and the others have it.
    let _ = operators.to(said.room).emit(said.event, &said.data).await;
    context.metrics.emitted.add_one();
    Ok(Json(serde_json::json!({ "ok": true })))
}
