//! `[upstream.NAME.health]`: how the instances of an upstream are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How the instances of an upstream are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked of them.
    pub check: Check,
    /// From one check to the next, 100 ms to 1 h.
    pub interval: Duration,
    /// Likewise, while it is not decided what an instance is; 100 ms to 1 h.
    pub fast_interval: Duration,
    /// How long an answer may take, 10 ms to 1 min.
    pub timeout: Duration,
    /// Checks in a row that pass until an instance is up again, 1 to 100.
    pub rise: u32,
    /// Checks in a row that fail until it is not, 1 to 100.
    pub fall: u32,
    /// Its share of clients grows for so long when it is up again.
    pub slow_start: Duration,
    /// 0 to 100: when a smaller share of the instances passes, in hundredths, checks are not believed.
    pub panic_below: u8,
}

/// What is asked of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing: it counts as up.
    Off,
    /// To accept a connection.
    Tcp,
    /// To say anything, below 500, of an Engine.IO session that does not exist.
    Speaks {
        /// Where it speaks Engine.IO.
        path: String,
    },
    /// To answer with one of some codes.
    Http {
        /// What is asked for.
        path: String,
        /// The codes that pass.
        expect: Vec<RangeInclusive<u16>>,
    },
    /// To open a WebSocket.
    WebSocket {
        /// Where.
        path: String,
    },
    /// To open an Engine.IO session.
    EngineIo {
        /// Where.
        path: String,
    },
}
