//! stickyd: a sticky-session, WebSocket-aware reverse proxy.
//!
//! # Layout, in reading order
//!
//! | folder | what |
//! | --- | --- |
//! | [`cli`] | one file for each command |
//! | [`config`] | TOML to a model that the program can run on |
//! | [`control`] | the only place that changes anything: start, supervise, stop |
//! | [`generation`] | one immutable, published view of a configuration |
//! | [`worker`] | a thread with its own runtime, listeners, pool, timers, tunnels |
//! | [`listener`] | a socket becomes a connection |
//! | [`http`] | one exchange; `http/exchange.rs` tells a request's life |
//! | [`codec`] | HTTP/1 on the wire: bytes in, events out; pure |
//! | [`tunnel`] | after the 101: relay, frames, Close |
//! | [`affinity`] | keys that bind a client to an instance; pure |
//! | [`routing`] | which upstream, which instance; pure |
//! | [`upstream`] | instances: identity, connect, pool |
//! | [`certificates`] | certificates and keys as files have them |
//! | [`observe`] | metrics, access log, logging |
//! | [`local`] | what the tasks of one worker share: clock, timers, buffers, streams |
//! | `app` | stickyd-app, the bundled Socket.IO server (feature `app`): neither uses the other |

pub mod affinity;
#[cfg(feature = "app")]
pub mod app;
pub mod certificates;
pub mod cli;
pub mod codec;
pub mod config;
pub mod control;
pub mod generation;
pub mod http;
pub mod limits;
pub mod listener;
pub mod local;
pub mod observe;
pub mod routing;
pub mod tunnel;
pub mod upstream;
pub mod worker;

pub use control::{Caution, Resolver, Running, StartError, Surroundings, start};
