//! stickyd: a sticky-session, WebSocket-aware reverse proxy.
//!
//! # Layout, in reading order
//!
//! | folder | what |
//! | --- | --- |
//! | [`config`] | TOML to a model that the program can run on |
//! | [`codec`] | HTTP/1 on the wire: bytes in, events out; pure |
//! | [`affinity`] | keys that bind a client to an instance; pure |
//! | [`routing`] | which upstream, which instance; pure |
//! | [`control`] | the only place that changes anything |
//! | [`observe`] | metrics, access log, logging |

pub mod affinity;
pub mod codec;
pub mod config;
pub mod control;
pub mod observe;
pub mod routing;
pub mod generation;
pub mod local;
pub mod tunnel;
pub mod upstream;
