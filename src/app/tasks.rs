//! The tasks of one instance: each has a name, this is their owner, and they end with the instance.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::Semaphore;
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

/// Events that begin before everybody else has had a turn.
const TURNS: usize = 64;

/// Lets events begin in their order, a few at a time, and what writes to clients and to Redis run in between. A client can
/// send thousands with one packet, and the library begins them all at once: without this, queues overflow behind which
/// somebody only waits to be let run.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    /// Returns when it is the caller's turn.
    pub(super) async fn take(&self) {
        // It is never closed. Those who wait are let in as they came.
        let turn = self.0.acquire().await;
        to_the_end().await;
        drop(turn);
    }
}

/// Goes to the end of the queue of those who can run. Not as tokio's own `yield_now`, which turns the order of many around.
async fn to_the_end() {
    let mut is_there = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_there, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(TURNS))
    }
}

fn log(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn turns_keep_their_order_and_let_others_run() {
        let (turns, seen) = (Rc::new(Turns::default()), Rc::new(RefCell::new(Vec::new())));
        let set = LocalSet::new();
        for number in 0..1000 {
            let (turns, seen) = (turns.clone(), seen.clone());
            set.spawn_local(async move {
                turns.take().await;
                seen.borrow_mut().push(number);
            });
        }
        let other = seen.clone();
        set.spawn_local(async move {
            // Whoever comes behind a thousand others does not wait for all of them.
            to_the_end().await;
            to_the_end().await;
            assert!(other.borrow().len() <= 2 * TURNS, "{}", other.borrow().len());
        });
        set.await;
        assert!(seen.borrow().is_sorted() && seen.borrow().len() == 1000);
    }
}
