//! The only place that changes anything: starts, supervises, stops.
//!
//! Stages are types: a [`Config`](crate::config::Config) is bound, what is bound runs. Nothing is listened on before
//! every secret is loaded, nothing is served before every address is bound.

pub mod explain;
pub mod files;
mod health;
mod lock;
pub mod metrics_listener;
mod run;
mod scrape;
pub(crate) mod secrets;
mod start;
mod surroundings;
pub mod watch;

pub use run::run;
pub use start::{Running, StartError, start};
pub use surroundings::Surroundings;
