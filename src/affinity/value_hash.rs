//! `header:NAME` and `query:NAME`: the value of a header or of a parameter to an instance, the same answer in every process,
//! version and CPU (golden vectors in the tests).
//!
//! Frozen, as a change would move every client at an upgrade:
//!
//! - key: `XXH3-64(seed, value)`, of the value's bytes as they came, without the space around a header's; no value and an empty
//!   one are no key
//! - draw of a key at an instance: `XXH3-64(seed, identity in 8 bytes, little endian + key in 8 bytes, little endian)`
//! - identity, cost and choice: those of an address (`ip_hash.rs`)
//!
//! The name is no part of it: a client that says the same in a header here and in the query there comes to the same instance.
//!
//! Must not: decode a value (what is decoded one way here and another way there would go to two instances).

#[cfg(test)]
mod tests;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ip_hash::{InstanceHash, Lot, SEED};

/// What is kept of a value while an instance is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueKey(u64);

impl ValueKey {
    /// Of a header's value, or of anything else that is there as bytes; `None`: there is nothing in it.
    pub fn of(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        (!value.is_empty()).then(|| Self(xxh3_64_with_seed(value, SEED)))
    }

    /// Of the first parameter `name` of a query (what stands behind the `?`), that is of its value as it came, still
    /// percent-encoded. `None`: there is no such parameter, or nothing in it.
    pub fn in_query(query: &str, name: &str) -> Option<Self> {
        let mut parameters = query.split('&');
        let value = parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))?;
        Self::of(value.as_bytes())
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
