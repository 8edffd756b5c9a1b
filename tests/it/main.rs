//! The integration tests: one binary, real sockets on loopback, port 0.
//!
//! | folder or file | what |
//! | --- | --- |
//! | `support` | what the tests are written with: read its `mod.rs` first |
//! | `requests` | requests and answers through the proxy, as raw bytes |
//! | `smuggling` | what can be read in two ways, and what the next one sees of it; beside nginx and HAProxy |
//! | `tunnel` | upgrade, frames, ends, pressure, Close injection |
//! | `chaos` | everything wrong at once |
//! | `affinity` | which instance a client gets, and what binds it |
//! | `sessions` | Engine.IO sessions: learned, kept, moved, limited |
//! | `lifecycle` | instances that die, are emptied, come and go with the file |
//! | `tls` | TLS at both ends, certificates, and the way to https |
//! | `limits` | limits by address, sizes of messages, the PROXY protocol |
//! | `life` | the process: limits, locks, signals |
//! | `upgrade` | another process takes over |
//! | `commands` | a running process, asked and told by its commands |
//! | `lists` | who is connected, and who is closed, by command |
//! | `oncall` | events, readiness, rotation, explanations, stops, and a terminal |
//! | `manager` | what the service manager hears, and what it hands over |
//! | `owner` | as a user of its own, also after root has run it |
//! | `page` | the status page |
//! | `services` | stickyd-app: tokens, presence, feeds, webhooks; needs redis-server |
//! | `systemd` | the units and what goes with them |
//! | `config` | the corpus of configurations, good and bad |
//! | `explain` | `stickyd explain`, as it is called |
//! | `differential` | our codec against hyper on generated messages |
//! | `app` | instances of stickyd-app in one process (with Node and Redis: tests/e2e/app.mjs) |
//! | `architecture` | what may import what |

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait, measure and start threads outside the proxy's rules"
)]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of tests are small")]

mod affinity;
#[cfg(feature = "app")]
mod app;
mod architecture;
mod chaos;
mod commands;
mod config;
mod differential;
mod explain;
mod health;
mod life;
mod lifecycle;
mod limits;
mod lists;
mod manager;
mod names;
mod oncall;
mod owner;
mod page;
mod requests;
#[cfg(feature = "app")]
mod services;
mod sessions;
mod smuggling;
mod support;
mod systemd;
mod tls;
mod tunnel;
mod upgrade;
