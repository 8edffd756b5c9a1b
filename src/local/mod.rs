//! What the tasks of one worker thread share without a lock: clock, timers, buffers, streams.
//!
//! A leaf: knows nothing of HTTP, tunnels or configuration. Timers and buffers are thread-local, because a worker *is*
//! its thread (one current-thread runtime) and a reference to them in every small task would cost more than it says.

pub mod buffer;
pub mod clock;
pub mod outbox;
pub mod random;
pub mod stream;
pub mod timer;
pub mod tls;
