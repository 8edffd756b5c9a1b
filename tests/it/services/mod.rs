//! stickyd-app: tokens, presence, feeds and webhooks, each in this process and over a real Redis.

mod feed;
mod presence;
mod presence_store;
mod support;
mod tokens;
mod webhooks;

use stickyd::app::settings::Settings;
use stickyd::app::token::{Key, Secret};

/// What the instances of these tests sign with.
const SECRET: &str = "a secret of these tests";

/// What commands them.
const OPERATOR: &str = "an operator of these tests";

/// Settings of an instance that believes in tokens.
fn settings(name: &str) -> Settings {
    Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        name: name.to_owned(),
        token_secret: Some(Secret::new(SECRET)),
        operator_token: Some(Secret::new(OPERATOR)),
        ..Settings::default()
    }
}

/// A token that does not expire while tests run.
fn token(user: &str) -> String {
    Key::of(&Secret::new(SECRET)).sign(user, u64::MAX)
}
