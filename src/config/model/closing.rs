//! `[upstream.NAME.down]`, `[upstream.NAME.drain]` and `[upstream.NAME.rebalance]`: how the tunnels of an instance are closed when it
//! is to carry none, or fewer.

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
    /// Over how long so many are closed. As many as a twentieth of a second has are closed at once: they overwhelm nobody when they
    /// come back, half a second and more later and each at a moment of its own.
    pub fn span(&self, tunnels: u32) -> Duration {
        let paced = tunnels.saturating_sub(self.per_second / 20);
        (Duration::from_secs(1) * paced / self.per_second).min(self.deadline)
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

/// How clients are moved to instances that carry less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// Tunnels beyond so many hundredths of an instance's fair share are closed, 101 to 10 000; `None` = off.
    pub max_skew: Option<u32>,
    /// How fast, over the whole upstream.
    pub rate: Rate,
    /// A client that was moved, for whatever reason, does not come back for so long, and is not moved again; up to a day.
    pub rest: Duration,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 1 to 1 000 000 000
    pub events: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    /// The time between two of them, at least a nanosecond.
    pub fn pause(self) -> Duration {
        (self.per / self.events.max(1)).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_closes_take() {
        let down = |per_second| Down {
            close: WhenDown::Silent,
            per_second,
            close_code: 1012,
            deadline: Duration::from_secs(5),
        };
        let check = |per_second, tunnels, millis| {
            assert_eq!(
                down(per_second).span(tunnels),
                Duration::from_millis(millis),
                "{tunnels} at {per_second}/s"
            );
        };
        check(1000, 0, 0);
        check(1000, 50, 0);
        check(1000, 100, 50);
        check(1000, 1050, 1000);
        check(1000, 1_000_000, 5000);
        check(40, 2, 0);
        check(40, 42, 1000);
        check(1, 3, 3000);
    }
}
