//! `POST /webhooks {url, events}`, `GET /webhooks` and `DELETE /webhooks/{id}`, for the operator.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::EVENTS;
use super::store::Hook;
use super::target::Target;
use crate::app::context::Context;
use crate::app::identity::Operator;
use crate::app::problem::Problem;
use crate::app::{clock, random};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
    events: Vec<String>,
}

pub(crate) fn router() -> Router<Arc<Context>> {
    Router::new().route("/webhooks", get(list).post(add)).route("/webhooks/{id}", delete(remove))
}

/// What everybody may see of a webhook who may see it: not its secret.
fn shown(hook: &Hook) -> Value {
    json!({ "id": hook.id, "url": hook.url, "events": hook.events, "created": hook.created })
}

async fn add(_: Operator, State(context): State<Arc<Context>>, body: Bytes) -> Result<Response, Problem> {
    let Wanted { url, events } = serde_json::from_slice(&body)
        .map_err(|error| Problem::wrong(format!("no {{ url, events }}: {error}")))?;
    Target::parse(&url, context.settings.allow_private_webhooks)
        .map_err(|refusal| Problem::wrong(refusal.to_string()))?;
    if events.is_empty() || events.iter().any(|event| !EVENTS.contains(&&**event)) {
        return Err(Problem::wrong(format!("events are some of {}", EVENTS.join(", "))));
    }
    let hook = Hook {
        id: format!("wh_{}", random::secret(12)),
        url,
        events,
        secret: format!("whsec_{}", random::secret(32)),
        created: clock::epoch_millis() / 1000,
    };
    if !context.webhooks.store.add_hook(&hook).await? {
        return Err(Problem::new(StatusCode::CONFLICT, "there are too many webhooks"));
    }
    let mut said = shown(&hook);
    // This once.
    said["secret"] = hook.secret.into();
    Ok((StatusCode::CREATED, Json(said)).into_response())
}

async fn list(_: Operator, State(context): State<Arc<Context>>) -> Result<Json<Value>, Problem> {
    let hooks = context.webhooks.store.hooks().await?;
    Ok(Json(json!({ "webhooks": hooks.iter().map(shown).collect::<Vec<_>>() })))
}

async fn remove(
    _: Operator,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if context.webhooks.store.remove_hook(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(StatusCode::NOT_FOUND, "there is no such webhook"))
    }
}
