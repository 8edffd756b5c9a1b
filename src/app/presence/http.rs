//! Presence over HTTP: `GET /presence/{userId}` and `GET /presence?ids=a,b`, for users and for the operator.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::app::context::Context;
use crate::app::identity::Reader;
use crate::app::problem::Problem;

/// Users that are asked for at once.
const USERS_MAX: usize = 1000;

pub(crate) fn router() -> Router<Arc<Context>> {
    Router::new().route("/presence", get(of_several)).route("/presence/{user}", get(of_one))
}

async fn of_one(
    _: Reader,
    State(context): State<Arc<Context>>,
    Path(user): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    let is_online = !context.presence.online(vec![user.clone()]).await?.is_empty();
    Ok(Json(json!({ "userId": user, "online": is_online })))
}

async fn of_several(
    _: Reader,
    State(context): State<Arc<Context>>,
    RawQuery(query): RawQuery,
) -> Result<Json<serde_json::Value>, Problem> {
    let users = users(&query.unwrap_or_default());
    if users.is_empty() {
        return Err(Problem::wrong("say whose presence: ?ids=a,b"));
    }
    if users.len() > USERS_MAX {
        return Err(Problem::wrong(format!("at most {USERS_MAX} ids at once")));
    }
    Ok(Json(json!({ "online": context.presence.online(users).await? })))
}

/// The users that a query names.
fn users(query: &str) -> Vec<String> {
    let mut users = Vec::new();
    for (_, ids) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "ids") {
        users.extend(ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned));
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_users() {
        let check = |query: &str, expected: &[&str]| assert_eq!(users(query), expected, "{query}");
        check("ids=a,b", &["a", "b"]);
        check("ids=a%2Cb&ids=c", &["a", "b", "c"]);
        check("ids=,Zo%C3%AB,&other=x", &["Zoë"]);
        check("ids=", &[]);
        check("", &[]);
    }
}
