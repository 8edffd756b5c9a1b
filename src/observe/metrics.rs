//! The one table of metrics: where workers count, and the counters' names, kinds, help and labels. Nobody else knows a
//! metric's name.
//!
//! | file | what |
//! | --- | --- |
//! | `labels` | the closed sets of label values |
//! | `counters` | what a worker counts: no lock, no shared cache line |
//! | `table` | name, kind, labels, help of every metric |
//! | `text` | the exposition format |
//! | `render` | counters of all workers to one text |
//! | `sum` | the texts of several processes to one text |
//! | `process` | what the kernel says of this process |

mod counters;
mod labels;
mod process;
mod render;
pub mod sum;
mod table;
mod text;

pub use counters::{HealthCounters, InstanceCounters, ListenerCounters, UpstreamCounters};
pub use labels::{
    AnsweredBy, CheckResult, CodeClass, ConnectError, CookieRejection, DecisionBy, Direction, Handshake,
    Kind, Limit, Origin, RebindReason, Refused, State,
};
pub use process::ProcessStats;
pub use render::{
    CertificatesView, Exposition, InstanceView, ProcessView, ReloadsView, UpstreamView, render,
};
pub use text::CONTENT_TYPE;

#[cfg(test)]
mod tests;
