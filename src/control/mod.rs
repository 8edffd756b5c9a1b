//! The only place that changes anything: starts, supervises, stops.
//!
//! Stages are types: a [`Config`](crate::config::Config) is bound, what is bound runs. Nothing is listened on before
//! every secret is loaded, nothing is served before every address is bound.

pub mod admin;
mod assemble;
mod by;
pub(crate) mod certificates;
mod expand;
pub mod explain;
pub mod files;
mod follow;
mod gate;
mod gather;
mod handover;
mod health;
mod inherit;
mod kept;
mod lifecycle;
mod lists;
mod local_http;
mod lock;
pub mod metrics_listener;
mod notify;
mod pages;
mod plan;
mod publisher;
mod rebalance;
mod reload;
mod retire;
mod run;
mod scrape;
pub(crate) mod secrets;
mod sockets;
mod start;
mod surroundings;
mod terminal;
pub mod watch;

pub use follow::File;
pub use handover::Adoption;
pub use notify::Manager;
pub use plan::Plan;
pub use reload::{Caution, Reloader};
pub use run::run;
pub use start::{Origin, Running, StartError, start};
pub use surroundings::{Resolver, Surroundings};
pub use watch::Digest;
