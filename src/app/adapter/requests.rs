//! Questions to other instances that wait for answers: who asked, by the id that answers name.
//!
//! Owns the table of open questions, which is bounded, and forgets one when its asker is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::wire::{Response, Say};
use crate::app::random;

/// Open questions at most. Each waits 5 s at the longest, so this is a thousand in a second.
const OPEN_MAX: usize = 5000;

/// Answers to one question that wait at most: acknowledgements of all clients may come at once.
const ANSWERS_MAX: usize = 16_384;

type Table = HashMap<String, mpsc::Sender<Say>>;

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Requests(Arc<Mutex<Table>>);

impl Requests {
    /// A new question. None when too many are open.
    pub(super) fn open(&self) -> Option<Answers> {
        let mut table = lock(&self.0);
        if table.len() >= OPEN_MAX {
            return None;
        }
        let (sender, queue) = mpsc::channel(ANSWERS_MAX);
        let id = random::id();
        table.insert(id.clone(), sender);
        Some(Answers { id, queue, table: self.0.clone() })
    }

    /// An answer came. False when nobody waits for it, or does not read what came before.
    pub(super) fn answer(&self, response: Response) -> bool {
        let asker = lock(&self.0).get(&response.id).cloned();
        asker.is_some_and(|asker| asker.try_send(response.say).is_ok())
    }
}

/// Answers to one question. Dropped, nobody waits for them.
#[derive(Debug)]
pub(super) struct Answers {
    id: String,
    queue: mpsc::Receiver<Say>,
    table: Arc<Mutex<Table>>,
}

impl Answers {
    /// What answers name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Option<Say> {
        self.queue.recv().await
    }

    /// As [`Answers::next`], for who is polled.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Say>> {
        self.queue.poll_recv(context)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.id);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(id: &str) -> Response {
        Response { id: id.to_owned(), say: Say::Done }
    }

    #[tokio::test]
    async fn an_answer_finds_who_asked_until_it_is_gone() {
        let requests = Requests::default();
        let mut answers = requests.open().unwrap();
        let id = answers.id().to_owned();
        assert!(requests.answer(to(&id)));
        assert!(!requests.answer(to("nobody")));
        assert_eq!(answers.next().await, Some(Say::Done));
        drop(answers);
        assert!(!requests.answer(to(&id)));
    }

    #[test]
    fn neither_questions_nor_answers_grow_without_end() {
        let requests = Requests::default();
        let open: Vec<_> = (0..OPEN_MAX).map(|_| requests.open().unwrap()).collect();
        assert!(requests.open().is_none());
        let id = open[0].id().to_owned();
        assert_eq!((0..ANSWERS_MAX + 3).filter(|_| requests.answer(to(&id))).count(), ANSWERS_MAX);
        drop(open);
        assert!(requests.open().is_some());
    }
}
