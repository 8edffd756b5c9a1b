//! `header:NAME` and `query:NAME`: the value of a header or of a parameter to an instance, the same answer in every process,
//! version and CPU (golden vectors in the tests).
//!
//! Frozen, as a change would move every client at an upgrade:
//!
//! - value: the bytes of the first header of that name; or those of the first parameter of that name, decoded as forms are (`%20`
//!   and `+` are a space). Spaces around it are no part of it, an empty one counts as none.
//! - key: `XXH3-64(seed, value)`
//! - draw of a key at an instance: `XXH3-64(seed, identity in 8 bytes, little endian + key in 8 bytes, little endian)`
//! - identity, cost and choice: those of an address (`ip_hash.rs`)
//!
//! The name is no part of it: who says the same in a header here and in the query there comes to the same instance.
//!
//! Must not: know availability, keep a value.

#[cfg(test)]
mod tests;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::engine_io;
use super::ip_hash::{InstanceHash, Lot, SEED};
use crate::config::model::StickyKey;

/// What is kept of a value while an instance is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueKey(u64);

impl ValueKey {
    /// Of a value; `None`: there is nothing in it.
    pub fn of(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        (!value.is_empty()).then(|| Self(xxh3_64_with_seed(value, SEED)))
    }

    /// What a request gives for the keys of `sticky.by`: each value at its key's place, `None` at those of other keys. Empty when
    /// `by` has no key of this kind. `header`: the first header of a name, which is in lower case.
    pub fn of_request<'h>(
        by: &[StickyKey],
        target: &str,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Vec<Option<Self>> {
        let value = |key: &StickyKey| match key {
            StickyKey::Header(name) => Self::of(header(name)?),
            StickyKey::Query(name) => Self::of(engine_io::parameter(target, name)?.as_bytes()),
            StickyKey::Sid | StickyKey::Cookie | StickyKey::IpHash => None,
        };
        if by.iter().any(|key| matches!(key, StickyKey::Header(_) | StickyKey::Query(_))) {
            by.iter().map(value).collect()
        } else {
            Vec::new()
        }
    }
}

impl Lot for ValueKey {
    fn draw(self, instance: InstanceHash) -> u64 {
        let mut lot = [0; 16];
        lot[..8].copy_from_slice(&instance.0.to_le_bytes());
        lot[8..].copy_from_slice(&self.0.to_le_bytes());
        xxh3_64_with_seed(&lot, SEED)
    }
}
