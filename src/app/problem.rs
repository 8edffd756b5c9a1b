//! What a request is answered that cannot be served: a status, and the reason in words, as JSON.

use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Body};

use super::bus::Away;
use super::identity::Refused;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    words: String,
}

impl Problem {
    /// Not as it is: its author has to change it.
    pub fn wrong(words: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, words: words.into() }
    }

    /// With this status.
    pub fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }
}

impl From<Away> for Problem {
    fn from(away: Away) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, words: away.to_string() }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::NotOffered => StatusCode::FORBIDDEN,
            Refused::Unproven | Refused::Expired => StatusCode::UNAUTHORIZED,
        };
        Self { status, words: refused.to_string() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let said = serde_json::json!({ "error": self.words });
        let mut response = (self.status, Json(said)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
