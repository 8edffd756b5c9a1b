//! `[upstream.NAME.down]` and `[upstream.NAME.drain]`: how the tunnels of an instance are closed when it is to carry none.

use std::time::Duration;

/// What becomes of the tunnels of an instance that was found dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Which of them are closed.
    pub close: WhenDown,
    /// So many are closed in a second, at least one.
    pub per_second: u32,
    /// The code of the Close frame: 1001, 1012 or 1013.
    pub close_code: u16,
    /// All of them are closed after this, whatever `per_second` says; up to 1 h.
    pub deadline: Duration,
}

impl Down {
    /// Over how long so many are closed.
    pub fn span(&self, tunnels: u32) -> Duration {
        (Duration::from_secs(1) * tunnels / self.per_second).min(self.deadline)
    }
}

/// Which tunnels of a dead instance are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// Those that have heard nothing of it since it was checked in vain.
    Silent,
    /// All.
    Always,
    /// None: they end when the instance ends them.
    Never,
}

/// How an instance is emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Nothing is closed before this; up to a day.
    pub grace: Duration,
    /// Then closes are spread evenly over this; up to a day.
    pub spread: Duration,
    /// The code of the Close frame: 1001, 1012 or 1013.
    pub close_code: u16,
    /// What is open so long after the begin is cut; 1 s to 7 days.
    pub deadline: Duration,
}
