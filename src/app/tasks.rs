//! The tasks of one instance: each has a name, this is their owner, and they end with the instance.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

/// Tasks of one instance, on its runtime. Those that still run when it is dropped are aborted.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Begins a task on the runtime of the caller. One that panics is logged, and the others go on.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            log(ended);
        }
        tasks.spawn(async move {
            work.await;
            tracing::trace!(task = name, "ended");
        });
    }

    /// Ends all of them, and returns when they have ended.
    pub async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            log(ended);
        }
    }
}

fn log(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task panicked");
    }
}
