//! The first of many, by a rank, in bounded memory.

use std::collections::BinaryHeap;

/// Keeps the things with the lowest ranks.
#[derive(Debug)]
pub struct Top<R, T> {
    most: usize,
    /// The highest rank on top.
    kept: BinaryHeap<Ranked<R, T>>,
    seen: u64,
}

#[derive(Debug)]
struct Ranked<R, T>(R, T);

impl<R: Ord + Copy, T> Top<R, T> {
    /// Of at most so many.
    pub fn new(most: usize) -> Self {
        Top { most, kept: BinaryHeap::new(), seen: 0 }
    }

    /// One more; it is made only if it is kept.
    pub fn offer(&mut self, rank: R, make: impl FnOnce() -> T) {
        self.seen += 1;
        if self.kept.len() < self.most {
            self.kept.push(Ranked(rank, make()));
        } else if let Some(mut last) = self.kept.peek_mut().filter(|last| rank < last.0) {
            *last = Ranked(rank, make());
        }
    }

    /// Those, in order, and how many there were.
    pub fn into_sorted(self) -> (Vec<T>, u64) {
        let sorted = self.kept.into_sorted_vec().into_iter().map(|Ranked(_, thing)| thing);
        (sorted.collect(), self.seen)
    }
}

impl<R: Ord, T> Ord for Ranked<R, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<R: Ord, T> PartialOrd for Ranked<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, T> PartialEq for Ranked<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<R: Ord, T> Eq for Ranked<R, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_all_are_kept_whatever_their_order() {
        let check = |most, ranks: &[u32], expected: &[u32]| {
            let mut top = Top::new(most);
            for rank in ranks {
                top.offer(*rank, || *rank);
            }
            assert_eq!(top.into_sorted(), (expected.to_vec(), ranks.len() as u64), "{most} of {ranks:?}");
        };
        check(3, &[], &[]);
        check(3, &[2, 1], &[1, 2]);
        check(3, &[5, 4, 3, 2, 1], &[1, 2, 3]);
        check(3, &[1, 2, 3, 4, 5], &[1, 2, 3]);
        check(3, &[9, 1, 8, 2, 7, 3], &[1, 2, 3]);
        check(0, &[1], &[]);
        check(2, &[1, 1, 1], &[1, 1]);
    }

    #[test]
    fn what_is_not_kept_is_not_made() {
        let mut top = Top::new(1);
        top.offer(1, || ());
        top.offer(2, || panic!("nobody wants it"));
    }
}
