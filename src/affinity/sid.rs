//! Engine.IO sids: which instance a session lives on. The instance invents the sid, so it is learned from the answer
//! that starts the session ([`open_packet`]) and remembered as long as the session lives ([`table`]).
//!
//! Must not: read a clock, know instances, wait.

pub mod open_packet;
pub mod table;

use std::time::Duration;

use open_packet::{Opened, TIME_MAX};

/// What a session is given beyond its own times: the way of a poll through the proxy and back, and a client that is late.
const SLACK: Duration = Duration::from_secs(10);

/// No [`lifetime`] is longer.
pub const LIFETIME_MAX: Duration = Duration::from_secs(2 * TIME_MAX.as_secs() + SLACK.as_secs());

/// How long a session is remembered after its last exchange: `pingInterval + pingTimeout + 10 s`.
/// An instance that has heard nothing for the first two closes it itself, so whoever comes later is answered 400 anyway.
pub fn lifetime(opened: &Opened) -> Duration {
    opened.ping_interval + opened.ping_timeout + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_outlives_its_times_by_some_seconds() {
        let check = |ping_interval, ping_timeout, expected| {
            let opened = Opened { sid: "a".into(), ping_interval, ping_timeout };
            assert_eq!(lifetime(&opened), expected);
        };
        check(Duration::from_secs(25), Duration::from_secs(20), Duration::from_secs(55));
        check(Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10_001));
        check(TIME_MAX, TIME_MAX, LIFETIME_MAX);
    }
}
