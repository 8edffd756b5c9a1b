//! The only place that changes anything.

pub mod metrics_listener;
