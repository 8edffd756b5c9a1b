//! What differs between two configurations.
//!
//! Pure.

use super::Config;
use super::model::Instance;

/// The difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff;

/// From `old` to `new`.
pub fn diff(_old: &Config, _new: &Config) -> Diff {
    Diff
}

/// For each of `new` the index of the same instance in `old`: by name, else by address.
pub fn pairs(old: &[Instance], new: &[Instance]) -> Vec<Option<usize>> {
    let mut pairs: Vec<Option<usize>> =
        new.iter().map(|new| old.iter().position(|old| old.name == new.name)).collect();
    for index in 0..new.len() {
        if pairs[index].is_none() {
            let free = |at: &usize| !pairs.contains(&Some(*at));
            let same = |at: &usize| (&old[*at].host, old[*at].port) == (&new[index].host, new[index].port);
            pairs[index] = (0..old.len()).find(|at| same(at) && free(at));
        }
    }
    pairs
}
