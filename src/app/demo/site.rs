//! The page and what it asks for, at an address of its own behind the proxy: it answers when all instances are dead.
//!
//! | path | what |
//! | --- | --- |
//! | `/` | the [`page`] |
//! | `GET /demo/instances` | the instances as they are now |
//! | `POST /demo/instances/{name}/kill`, `.../revive` | does so; with the header `x-stickyd-demo`, which no page of another site can send without being asked first, and which is not granted then |

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::stage::{Deed, Seen, Stage};
use crate::app::page;

/// What the page's requests to do something have.
const ASKED: &str = "x-stickyd-demo";

/// What the answers are made of.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) stage: Arc<Stage>,
    /// Where the proxy's own status page is.
    pub(super) status: Option<String>,
}

#[derive(Serialize)]
struct Instances<'s> {
    instances: Vec<Seen>,
    status: Option<&'s str>,
}

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/demo/instances", get(instances))
        .route("/demo/instances/{name}/{deed}", post(act))
        .merge(page::router())
        .with_state(site)
}

async fn instances(State(site): State<Arc<Site>>) -> Response {
    let seen = Instances { instances: site.stage.look().await, status: site.status.as_deref() };
    ([(CACHE_CONTROL, "no-store")], Json(seen)).into_response()
}

async fn act(
    State(site): State<Arc<Site>>,
    Path((name, deed)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !headers.contains_key(ASKED) || !is_here(&headers) {
        return (StatusCode::FORBIDDEN, "only the page of the demonstration may do so\n").into_response();
    }
    let deed = match deed.as_str() {
        "kill" => Deed::Kill,
        "revive" => Deed::Revive,
        _ => return (StatusCode::NOT_FOUND, "kill or revive\n").into_response(),
    };
    match site.stage.act(&name, deed).await {
        Some(Ok(seen)) => Json(seen).into_response(),
        Some(Err(error)) => (StatusCode::CONFLICT, format!("{name}: {error}\n")).into_response(),
        None => (StatusCode::NOT_FOUND, "no such instance\n").into_response(),
    }
}

/// Whoever asks has opened the page by an address, or as localhost: no name that somebody else could point here.
fn is_here(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    host.is_some_and(|host| {
        let host = host.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::app::shared::Shared;

    #[tokio::test]
    async fn no_page_of_another_site_kills_an_instance() {
        let stage = Arc::new(Stage::start(1, Shared::in_process()).unwrap());
        let site = Arc::new(Site { stage: stage.clone(), status: None });
        let check = async |deed: &'static str, host: &'static str, asked: bool, expected: u16, up: bool| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            if asked {
                headers.insert(ASKED, HeaderValue::from_static("1"));
            }
            let path = Path(("a".to_owned(), deed.to_owned()));
            let answer = act(State(site.clone()), path, headers).await;
            assert_eq!(answer.status(), expected, "{deed} {host} {asked}");
            assert_eq!(stage.look().await[0].up, up, "{deed} {host} {asked}");
        };
        check("kill", "127.0.0.1:8080", false, 403, true).await;
        check("kill", "evil.example", true, 403, true).await;
        check("hang", "127.0.0.1:8080", true, 404, true).await;
        check("kill", "127.0.0.1:8080", true, 200, false).await;
        check("revive", "[::1]:8080", true, 200, true).await;
        check("kill", "localhost:8080", true, 200, false).await;
    }
}
