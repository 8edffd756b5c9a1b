//! What an operator sees: metrics, access log, log. A leaf: imports nothing of the crate but `config::model`.

pub mod access_log;
pub mod count;
pub mod logging;
pub mod metrics;
pub mod panics;
