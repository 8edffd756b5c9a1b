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
//! | [`listener`] | a socket becomes a connection; the client's address |
//! | [`observe`] | metrics, access log, logging |

pub mod affinity;
pub mod codec;
pub mod config;
pub mod listener;
pub mod observe;
pub mod routing;
