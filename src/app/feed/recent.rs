//! The last events of the stream, in memory: most who come back missed only a few, and need not ask the store for them.
//!
//! Pure. Must not: know what time it is, or who listens.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Event, Id};

/// Events at most.
const EVENTS_MAX: usize = 1024;

/// Their bytes at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// A part of the stream without a gap, up to its newest event.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Everything after this is here. None: nothing is known yet.
    from: Option<Id>,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Recent {
    /// The newest event's id, or what was said at [`Recent::begin`].
    pub(super) fn newest(&self) -> Option<Id> {
        self.events.back().and_then(|event| event.id).or(self.from)
    }

    /// Everything after `newest` will be told.
    pub(super) fn begin(&mut self, newest: Id) {
        *self = Self { from: Some(newest), ..Self::default() };
    }

    /// The next event.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.text.len();
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.from = oldest.id.or(self.from);
        }
    }

    /// Everything after `id`. None: some of it is not here any more.
    pub(super) fn since(&self, id: Id) -> Option<Vec<Arc<Event>>> {
        if self.from.is_none_or(|from| id < from) {
            return None;
        }
        let start = self.events.partition_point(|event| event.id.is_some_and(|of| of <= id));
        Some(self.events.range(start..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id { millis: 1, number }
    }

    fn push(recent: &mut Recent, number: u64, bytes: usize) {
        let text = "x".repeat(bytes);
        recent.push(Arc::new(Event { id: Some(id(number)), user: None, text }));
    }

    fn numbers(recent: &Recent, since: u64) -> Option<Vec<u64>> {
        let events = recent.since(id(since))?;
        Some(events.iter().map(|event| event.id.unwrap().number).collect())
    }

    #[test]
    fn what_is_here_is_given_and_what_is_not_is_said() {
        let mut recent = Recent::default();
        assert_eq!((recent.newest(), numbers(&recent, 0)), (None, None));
        recent.begin(id(4));
        assert_eq!((recent.newest(), numbers(&recent, 4)), (Some(id(4)), Some(vec![])));
        assert_eq!(numbers(&recent, 3), None);
        for number in [5, 7, 9] {
            push(&mut recent, number, 1);
        }
        assert_eq!(recent.newest(), Some(id(9)));
        let check = |since: u64, expected: Option<&[u64]>| {
            assert_eq!(numbers(&recent, since).as_deref(), expected, "{since}");
        };
        check(3, None);
        check(4, Some(&[5, 7, 9]));
        check(5, Some(&[7, 9]));
        check(6, Some(&[7, 9]));
        check(9, Some(&[]));
        check(100, Some(&[]));
    }

    #[test]
    fn it_is_bounded_by_events_and_by_bytes() {
        let mut recent = Recent::default();
        recent.begin(id(0));
        for number in 1..=2000 {
            push(&mut recent, number, 1);
        }
        assert_eq!(numbers(&recent, 975), None);
        assert_eq!(numbers(&recent, 976).unwrap().len(), EVENTS_MAX);
        push(&mut recent, 2001, BYTES_MAX);
        assert_eq!(numbers(&recent, 2000), Some(vec![2001]));
        assert_eq!(numbers(&recent, 1999), None);
        push(&mut recent, 2002, BYTES_MAX + 1);
        assert_eq!((numbers(&recent, 2001), numbers(&recent, 2002)), (None, Some(vec![])));
        assert_eq!(recent.newest(), Some(id(2002)));
    }
}
