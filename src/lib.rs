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
//! | [`observe`] | metrics, access log, logging |

pub mod affinity;
pub mod codec;
pub mod config;
pub mod control;
pub mod generation;
pub mod listener;
pub mod local;
pub mod observe;
pub mod routing;
pub mod tunnel;
pub mod upstream;
