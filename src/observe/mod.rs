//! What an operator sees: metrics, access log, log. A leaf: imports nothing of the crate but `config::model`.
//!
//! | file | what |
//! | --- | --- |
//! | [`count`] | numbers with one writer |
//! | [`metrics`] | the table of metrics: what workers count, and how a scrape shows it |
//! | [`access_log`] | a line for each exchange and tunnel, written by a thread of its own |
//! | [`logging`] | the process's own log |
//! | [`events`] | lines of the log that are kept, for whoever asks later |
//! | [`owner`] | whose the files are that are written |
//! | [`panics`] | counted and logged |

pub mod access_log;
pub mod count;
pub mod events;
pub mod logging;
pub mod metrics;
pub mod owner;
pub mod panics;
