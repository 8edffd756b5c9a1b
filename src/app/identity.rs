//! Who a client is: what the handshake's `auth` and a request's headers prove. The only place that decides it.
//!
//! | who | proves it by |
//! | --- | --- |
//! | a user, at the handshake | `auth: { token }` |
//! | a user, at a request | `Authorization: Bearer TOKEN`; `?token=` for `EventSource`, which cannot set headers |
//! | the operator | `Authorization: Bearer` with the operator's token, whoever the peer is: behind a proxy all are loopback |
//!
//! With `--insecure-demo` a user's word is enough: `auth: { userId }`, `?userId=`. Never that of an operator.
//!
//! Must not: log a token, or the query that has one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use rmpv::Value;

use super::clock;
use super::context::Context;
use super::problem::Problem;
use super::settings::Settings;
use super::token::{Key, Wrong};
use super::value::field;

/// A client whose identity was established. Kept with its socket: `socket.extensions.get::<User>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub String);

/// Whoever runs the instances, and the programs that they gave the operator's token to.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

/// The client has not said who it is, or cannot prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No proof, or a wrong one. Which, only its author needs to know.
    Unproven,
    /// The token was good once: the client should fetch another.
    Expired,
    /// There is nothing that would prove it: the instance was not given a secret.
    NotOffered,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unproven => "unauthorized",
            Self::Expired => "token expired",
            Self::NotOffered => "this instance has no --operator-token-file, so it is nobody's to command",
        })
    }
}

impl std::error::Error for Refused {}

/// Who the client of a handshake of Socket.IO is.
///
/// # Errors
/// It cannot prove it.
pub fn of_handshake(auth: &Value, settings: &Settings) -> Result<User, Refused> {
    let text = |name| field(auth, name).and_then(Value::as_str);
    match who(text("token"), text("userId"), settings, now()) {
        // A demonstration has also clients that do not say who they are; they are nobody's user.
        Err(Refused::Unproven)
            if settings.insecure_demo
                && field(auth, "token").is_none()
                && field(auth, "userId").is_none() =>
        {
            Ok(User(String::new()))
        }
        found => found,
    }
}

/// Who it is by a token, or by its word where that is enough.
fn who(token: Option<&str>, word: Option<&str>, settings: &Settings, now: u64) -> Result<User, Refused> {
    let is_name = |user: &str| !user.is_empty() && user.len() <= settings.name_bytes_max;
    if let Some(token) = token {
        let secret = settings.token_secret.as_ref().ok_or(Refused::Unproven)?;
        return match Key::of(secret).verify(token, now) {
            Ok(user) if is_name(&user) => Ok(User(user)),
            Err(Wrong::Expired) => Err(Refused::Expired),
            Ok(_) | Err(Wrong::Form | Wrong::Signature) => Err(Refused::Unproven),
        };
    }
    match word {
        Some(user) if settings.insecure_demo && is_name(user) => Ok(User(user.to_owned())),
        _ => Err(Refused::Unproven),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// Who a request's user is.
fn of_request(headers: &HeaderMap, query: &str, settings: &Settings, now: u64) -> Result<User, Refused> {
    let pair =
        |name| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    let in_query = pair("token");
    who(bearer(headers).or(in_query.as_deref()), pair("userId").as_deref(), settings, now)
}

fn is_operator(headers: &HeaderMap, settings: &Settings) -> Result<Operator, Refused> {
    let secret = settings.operator_token.as_ref().ok_or(Refused::NotOffered)?;
    match bearer(headers) {
        Some(token) if secret.is(token.as_bytes()) => Ok(Operator),
        _ => Err(Refused::Unproven),
    }
}

fn now() -> u64 {
    clock::epoch_millis() / 1000
}

impl FromRequestParts<Arc<Context>> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        of_request(&parts.headers, query, &context.settings, now()).map_err(|refused| {
            context.metrics.requests_refused.add_one();
            refused.into()
        })
    }
}

/// A user or the operator: who may ask what everybody may see.
#[derive(Clone, Copy, Debug)]
pub struct Reader;

impl FromRequestParts<Arc<Context>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
        if is_operator(&parts.headers, &context.settings).is_ok() {
            return Ok(Self);
        }
        User::from_request_parts(parts, context).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<Context>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Problem> {
        is_operator(&parts.headers, &context.settings).map_err(|refused| {
            context.metrics.requests_refused.add_one();
            refused.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::app::token::Secret;
    use crate::app::value::map;

    fn settings(secret: Option<&str>, insecure_demo: bool) -> Settings {
        let token_secret = secret.map(Secret::new);
        let operator_token = Some(Secret::new("operator-of-this"));
        Settings { insecure_demo, token_secret, operator_token, ..Settings::default() }
    }

    fn token(user: &str, expires: u64) -> String {
        Key::of(&Secret::new("0123456789abcdef")).sign(user, expires)
    }

    #[test]
    fn a_handshake_proves_who_it_is() {
        let strict = settings(Some("0123456789abcdef"), false);
        let demo = settings(Some("0123456789abcdef"), true);
        let none = settings(None, false);
        let check = |auth: &[(&str, &str)], settings: &Settings, expected: Result<&str, Refused>| {
            let auth = auth.iter().map(|&(name, value)| (name.into(), value.into())).collect();
            let found = of_handshake(&Value::Map(auth), settings);
            assert_eq!(found, expected.map(|user| User(user.to_owned())));
        };
        let alice = token("alice", u64::MAX);
        check(&[("token", &alice)], &strict, Ok("alice"));
        check(&[("token", &alice)], &demo, Ok("alice"));
        check(&[("token", &alice)], &none, Err(Refused::Unproven));
        check(&[("token", &alice), ("userId", "bob")], &demo, Ok("alice"));
        check(&[("token", &token("alice", 1))], &strict, Err(Refused::Expired));
        check(&[("token", "alice")], &strict, Err(Refused::Unproven));
        check(&[("userId", "alice")], &strict, Err(Refused::Unproven));
        check(&[("userId", "alice")], &demo, Ok("alice"));
        check(&[("token", "wrong"), ("userId", "alice")], &demo, Err(Refused::Unproven));
        check(&[("userId", &"x".repeat(257))], &demo, Err(Refused::Unproven));
        check(&[("token", &token(&"x".repeat(257), u64::MAX))], &strict, Err(Refused::Unproven));
        check(&[], &strict, Err(Refused::Unproven));
        check(&[], &demo, Ok(""));
        let odd = map([("token", 1.into())]);
        assert_eq!(of_handshake(&odd, &demo), Err(Refused::Unproven));
    }

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
    }

    #[test]
    fn a_request_proves_who_its_user_is() {
        let (strict, demo) = (settings(Some("0123456789abcdef"), false), settings(None, true));
        let check = |header: &str, query: &str, settings: &Settings, expected: Result<&str, Refused>| {
            let found = of_request(&headers(header), query, settings, 5);
            assert_eq!(found, expected.map(|user| User(user.to_owned())), "{header} {query}");
        };
        let (alice, bob) = (token("alice", 6), token("bob", 6));
        check(&format!("Bearer {alice}"), "", &strict, Ok("alice"));
        check(&format!("bearer {alice}"), "", &strict, Ok("alice"));
        check(&format!("Basic {alice}"), "", &strict, Err(Refused::Unproven));
        check("", &format!("since=1&token={bob}"), &strict, Ok("bob"));
        check(&format!("Bearer {alice}"), &format!("token={bob}"), &strict, Ok("alice"));
        check(&format!("Bearer {}", token("alice", 5)), "", &strict, Err(Refused::Expired));
        check("", "userId=alice", &strict, Err(Refused::Unproven));
        check("", "userId=Zo%C3%AB", &demo, Ok("Zoë"));
        check("", "", &demo, Err(Refused::Unproven));
        // The operator is no user.
        check("Bearer operator-of-this", "", &strict, Err(Refused::Unproven));
    }

    #[test]
    fn the_operator_has_a_token_always() {
        let check = |header: &str, settings: &Settings, expected: Option<Refused>| {
            assert_eq!(is_operator(&headers(header), settings).err(), expected, "{header}");
        };
        let demo = settings(Some("0123456789abcdef"), true);
        check("Bearer operator-of-this", &demo, None);
        check("Bearer operator-of-thi", &demo, Some(Refused::Unproven));
        check("Bearer ", &demo, Some(Refused::Unproven));
        check(&format!("Bearer {}", token("alice", u64::MAX)), &demo, Some(Refused::Unproven));
        let nobody = Settings { operator_token: None, ..demo };
        check("Bearer operator-of-this", &nobody, Some(Refused::NotOffered));
        check("Bearer ", &nobody, Some(Refused::NotOffered));
    }
}
