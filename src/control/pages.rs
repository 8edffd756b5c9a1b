//! The threads that show something to people and programs of this machine, until another process does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::local_http::Serving;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Metrics,
    Status,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(Arc<Mutex<Vec<(Page, Serving)>>>);

impl Pages {
    /// One more.
    pub(super) fn serves(&self, serving: Serving, page: Page) {
        self.lock().push((page, serving));
    }

    /// Where it is; `None`: it is not shown.
    pub(super) fn address(&self, page: Page) -> Option<SocketAddr> {
        self.lock().iter().find(|(known, _)| *known == page).map(|(_, serving)| serving.address)
    }

    /// Ends all of them.
    pub(super) fn stop(&self) {
        let all = std::mem::take(&mut *self.lock());
        for (_, serving) in all {
            serving.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Page, Serving)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
