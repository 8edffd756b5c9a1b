//! What addresses have open, one shard: an address that has nothing open is not in it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::affinity::ClientKey;

/// Below this it is not worth to give memory back.
const SMALL: usize = 1024;

/// Which places are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A connection's.
    pub connection: bool,
    /// A tunnel's.
    pub tunnel: bool,
}

/// How many places an address has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Connections.
    pub connections: u32,
    /// Tunnels.
    pub tunnels: u32,
}

#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<ClientKey, Taken>);

impl Counts {
    /// One more each of what is wanted; how many there are with it.
    pub(super) fn take(&mut self, key: ClientKey, wanted: Wanted) -> Taken {
        let taken = self.0.entry(key).or_default();
        taken.connections += u32::from(wanted.connection);
        taken.tunnels += u32::from(wanted.tunnel);
        *taken
    }

    /// What was taken before is free.
    pub(super) fn give_back(&mut self, key: ClientKey, wanted: Wanted) {
        let Entry::Occupied(mut entry) = self.0.entry(key) else {
            debug_assert!(false, "given back twice");
            return;
        };
        let taken = entry.get_mut();
        taken.connections = taken.connections.saturating_sub(u32::from(wanted.connection));
        taken.tunnels = taken.tunnels.saturating_sub(u32::from(wanted.tunnel));
        if *taken == Taken::default() {
            entry.remove();
            // A flood that is over leaves nothing behind.
            if self.0.capacity() > SMALL && self.0.len() < self.0.capacity() / 8 {
                self.0.shrink_to(self.0.len() * 2);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> ClientKey {
        ClientKey::of(std::net::Ipv4Addr::new(192, 0, 2, number).into(), 32, 64)
    }

    proptest! {
        /// Whatever is taken and given back in whatever order: counts are those of a list, and nothing stays behind.
        #[test]
        fn counts_are_those_of_a_list(steps in proptest::collection::vec((any::<bool>(), 0..4_u8, 1..4_u8, any::<u16>()), 0..200)) {
            let (mut counts, mut list) = (Counts::default(), Vec::<(ClientKey, Wanted)>::new());
            for (takes, number, wanted, which) in steps {
                let wanted = Wanted { connection: wanted & 1 != 0, tunnel: wanted & 2 != 0 };
                if takes || list.is_empty() {
                    list.push((key(number), wanted));
                    let of = |has: fn(&Wanted) -> bool| {
                        u32::try_from(list.iter().filter(|(of, wanted)| *of == key(number) && has(wanted)).count()).unwrap()
                    };
                    let expected = Taken { connections: of(|wanted| wanted.connection), tunnels: of(|wanted| wanted.tunnel) };
                    prop_assert_eq!(counts.take(key(number), wanted), expected);
                } else {
                    let (key, wanted) = list.swap_remove(usize::from(which) % list.len());
                    counts.give_back(key, wanted);
                }
                let mut keys: Vec<_> = list.iter().map(|(key, _)| *key).collect();
                keys.sort_unstable();
                keys.dedup();
                prop_assert_eq!(counts.len(), keys.len());
            }
            for (key, wanted) in list {
                counts.give_back(key, wanted);
            }
            prop_assert_eq!(counts.len(), 0);
        }
    }

    #[test]
    fn memory_of_a_flood_is_given_back() {
        let mut counts = Counts::default();
        let wanted = Wanted { connection: true, tunnel: false };
        let key = |number: u32| ClientKey::of(std::net::Ipv4Addr::from(number).into(), 32, 64);
        for number in 0..100_000 {
            let _ = counts.take(key(number), wanted);
        }
        (0..100_000).for_each(|number| counts.give_back(key(number), wanted));
        assert!(counts.0.capacity() <= SMALL, "{}", counts.0.capacity());
    }
}
