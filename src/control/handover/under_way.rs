//! Whether a handover is under way. A stop breaks it off: the new process must not be left with sockets that nobody serves, and this one has to
//! know whether it lingers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::channel::Channel;

/// For the end of a handover that is broken off.
const PATIENCE: Duration = Duration::from_secs(10);

/// The one that is, if one is.
#[derive(Debug, Default)]
pub(in crate::control) struct UnderWay {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_begun: bool,
    /// To the new process.
    channel: Option<Channel>,
    /// This process stops.
    is_broken_off: bool,
}

impl UnderWay {
    /// One begins, and is over when the result is dropped; `None`: this process stops.
    pub(in crate::control) fn begin(&self) -> Option<Way<'_>> {
        let mut state = self.lock();
        state.is_begun = !state.is_broken_off;
        state.is_begun.then(|| Way(self))
    }

    /// None begins any more, and the one that is under way comes to its end, which is waited for. Whether the new process serves is decided then.
    pub(in crate::control) fn break_off(&self) {
        let mut state = self.lock();
        state.is_broken_off = true;
        if let Some(channel) = &state.channel
            && let Err(error) = channel.end()
        {
            tracing::warn!(%error, "a handover is not broken off");
        }
        let waited = self.over.wait_timeout_while(state, PATIENCE, |state| state.is_begun);
        if waited.is_ok_and(|(_, waited)| waited.timed_out()) {
            tracing::warn!("a handover that is broken off is not over");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handover.
#[derive(Debug)]
pub(in crate::control) struct Way<'u>(&'u UnderWay);

impl Way<'_> {
    /// The new process is at the other end of this.
    pub(super) fn leads(&self, channel: Channel) {
        let mut state = self.0.lock();
        if state.is_broken_off {
            // An error: there is no other end.
            let _ = channel.end();
        }
        state.channel = Some(channel);
    }

    /// This process stops.
    pub(super) fn is_broken_off(&self) -> bool {
        self.0.lock().is_broken_off
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.is_begun, state.channel) = (false, None);
        self.0.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_stop_breaks_off_and_waits_for_the_end() {
        let under_way = UnderWay::default();
        drop(under_way.begin().unwrap());
        let way = under_way.begin().unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        way.leads(ours.try_clone().unwrap());
        thread::scope(|scope| {
            let stops = scope.spawn(|| under_way.break_off());
            assert!(ours.receive().unwrap().is_none(), "whoever waits for the new process goes on");
            assert!(theirs.send(b"Serving", &[]).is_err());
            assert!(way.is_broken_off() && !stops.is_finished());
            drop(way);
            stops.join().unwrap();
        });
        assert!(under_way.begin().is_none());
        under_way.break_off();
    }
}
