//! `POST /notify` of the operator; `GET /events` and `GET /poll` of users.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::time::timeout;

use super::event::{self, Event, Id, Unfit};
use super::{Listening, stream};
use crate::app::context::Context;
use crate::app::identity::{Operator, User};
use crate::app::problem::Problem;

/// What a browser says that comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// With 204: what to say as `since` the next time. The old one is right too, and dearer.
const NEXT_SINCE: HeaderName = HeaderName::from_static("next-since");

/// Events in the answer to one poll.
const EVENTS_MAX: usize = 512;

/// Their bytes, but for the last one.
const BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn router(context: &Context) -> Router<Arc<Context>> {
    Router::new()
        .route("/notify", post(notify).layer(DefaultBodyLimit::max(context.settings.notification_bytes_max)))
        .route("/events", get(events))
        .route("/poll", get(poll))
}

async fn notify(
    _: Operator,
    State(context): State<Arc<Context>>,
    body: Bytes,
) -> Result<Json<serde_json::Value>, Problem> {
    let text = event::to_send(&body).map_err(|unfit| {
        Problem::wrong(match unfit {
            Unfit::NoObject => "an event is a JSON object",
            Unfit::NoUser => "userId is the name of a user; without it, an event is for everybody",
            Unfit::HasId => "an event has no id and no after: its place in the stream gives them",
        })
    })?;
    let id = context.feed.add(&text).await?;
    context.metrics.notifications.add_one();
    if !context.webhooks.happened("notification", id.to_string(), &text) {
        context.metrics.webhooks_dropped.add_one();
    }
    Ok(Json(json!({ "id": id.to_string() })))
}

async fn events(
    User(user): User,
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let said = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    // A browser that has had none yet says nothing; and one may begin where a page that the instance made has ended.
    let since = match said.filter(|id| !id.is_empty()).or_else(|| pair(query.as_deref(), "since")) {
        Some(id) => Some(place(&id)?),
        None => None,
    };
    Ok(stream::answer(&context, context.feed.listen(&user, since)))
}

async fn poll(
    User(user): User,
    State(context): State<Arc<Context>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let Some(since) = pair(query.as_deref(), "since") else {
        return Ok(answer(context.feed.newest().await?, &[]));
    };
    let since = place(&since)?;
    let mut listening = context.feed.listen(&user, Some(since));
    context.metrics.feed_polls.up();
    let first = tokio::select! {
        first = timeout(context.settings.poll_hold, listening.next()) => first,
        () = context.feed.is_over(&context.settings) => Ok(Ok(None)),
    };
    context.metrics.feed_polls.down();
    match first {
        Ok(Ok(Some(first))) => {
            let events = collect(&first, &mut listening);
            Ok(answer(listening.last.unwrap_or(since), &events))
        }
        Ok(Err(away)) => Err(away.into()),
        Ok(Ok(None)) => Ok(nothing(since)),
        Err(_) => Ok(nothing(listening.checked.unwrap_or(since))),
    }
}

/// The event that came, and what is there besides.
fn collect(first: &Arc<Event>, listening: &mut Listening) -> Vec<Arc<Event>> {
    let mut events = vec![first.clone()];
    let mut bytes = first.text.len();
    while events.len() < EVENTS_MAX && bytes < BYTES_MAX {
        let Some(event) = listening.next_at_once() else { break };
        bytes += event.text.len();
        events.push(event);
    }
    events
}

fn answer(since: Id, events: &[Arc<Event>]) -> Response {
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    let body = format!(r#"{{"since":"{since}","events":[{}]}}"#, texts.join(","));
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn nothing(since: Id) -> Response {
    (StatusCode::NO_CONTENT, [(CACHE_CONTROL, "no-store".to_owned()), (NEXT_SINCE, since.to_string())])
        .into_response()
}

fn pair(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn place(id: &str) -> Result<Id, Problem> {
    id.parse().map_err(|_| Problem::wrong("no event has such an id: say what the last one had, or nothing"))
}
