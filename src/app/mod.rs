//! stickyd-app: the bundled Socket.IO server with a Redis adapter, so that a whole set-up can be started, tried and broken.
//!
//! # Layout, in reading order
//!
//! | file | what |
//! | --- | --- |
//! | [`cli`] | commands of the `stickyd-app` binary |
//! | [`demo`] | the whole set-up in one process: proxy, instances, page |
//! | [`instance`] | one instance: a thread with its own runtime; start, stop, kill |
//! | [`settings`] | what one instance is told |
//! | [`shared`] | what instances share: in this process, or through Redis |
//! | [`context`] | what every part of one instance can reach |
//! | [`accept`] | sockets become requests |
//! | `line` | a connection that this side can end |
//! | `leave` | how an instance ends |
//! | [`edge`] | what every answer gets: headers, and the errors of Engine.IO as Node words them |
//! | `gone` | a client that gives up its poll |
//! | [`routes`] | paths that are not Socket.IO's |
//! | [`identity`] | who a client is |
//! | [`token`] | tokens of users: signed, and verified |
//! | [`duration`] | durations as people write them |
//! | [`secrets`] | secrets from files |
//! | [`problem`] | what is answered that cannot be served |
//! | [`events`] | what clients say and hear |
//! | [`adapter`] | rooms over all instances, in the format of Node's Redis adapter |
//! | [`presence`] | who is online |
//! | [`feed`] | events for users: streams and long polls |
//! | [`webhooks`] | who is called when something happens |
//! | [`operator`] | what is said to rooms from outside |
//! | [`bus`] | messages between instances: in this process, or over Redis |
//! | [`page`] | what a browser shows of a demonstration |
//! | [`metrics`] | counters, and their page |
//!
//! Must not: use anything of the proxy, which uses nothing of this.

pub mod accept;
pub mod adapter;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod context;
pub mod demo;
pub mod duration;
pub mod edge;
pub mod events;
pub mod feed;
mod gone;
pub mod identity;
pub mod instance;
mod leave;
pub mod limits;
mod line;
pub mod metrics;
pub mod operator;
pub mod page;
pub mod presence;
pub mod problem;
mod random;
pub mod routes;
pub mod secrets;
pub mod settings;
pub mod shared;
pub mod tasks;
pub mod token;
pub mod value;
pub mod webhooks;
