//! The only place of stickyd-app that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, for what waits and is measured.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn epoch_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
