//! What is made before a process serves, and begins only when it does: everything that can go wrong has gone wrong by then, and nobody
//! has noticed that it is there.

use tokio::sync::watch;

/// Closed, until it is opened for good.
#[derive(Clone, Debug)]
pub(super) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Gate(watch::Sender::new(false))
    }
}

impl Gate {
    /// Whoever waits before it begins.
    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn passes(&self) {
        // An error: this end would be gone, and it is there.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
