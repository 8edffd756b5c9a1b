//! The bus of instances that live in one process: what `stickyd-app demo` uses where no Redis is named.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::registry::Registry;
use super::{Away, Bus, Counts, Interest, Message, Pending, Subscription};

/// What the instances of one process share.
#[derive(Default)]
pub struct Hub {
    registry: Mutex<Registry>,
    slots: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    owners: AtomicU64,
}

impl Hub {
    /// The one `T` of this hub, made at the first call: where a store without Redis keeps what its instances share.
    pub fn slot<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // It is found by its own type.
        slot.clone().downcast().unwrap_or_default()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// One instance's way to the hub.
#[derive(Debug)]
pub struct Memory {
    hub: Arc<Hub>,
    owner: u64,
    counts: Arc<Counts>,
    /// Subscriptions begin at once.
    known: watch::Sender<u64>,
}

impl Memory {
    /// A new instance's way to the hub.
    pub fn new(hub: Arc<Hub>) -> Self {
        let owner = hub.owners.fetch_add(1, Ordering::Relaxed);
        Self { hub, owner, counts: Arc::default(), known: watch::Sender::new(0) }
    }
}

impl Bus for Memory {
    fn publish(&self, channel: String, payload: Bytes) {
        Counts::add(&self.counts.published, 1);
        self.hub.registry().offer_all(&Message { channel: channel.into(), payload });
    }

    fn subscribe(&self, interests: Vec<Interest>) -> Subscription {
        let (listening, _) = self.hub.registry().add(&interests, self.owner, &self.counts);
        let id = listening.id;
        let hub = self.hub.clone();
        Subscription::new(listening, self.known.subscribe(), 0).on_drop(move || {
            hub.registry().remove(id, &interests);
        })
    }

    fn subscribers<'a>(&'a self, channel: &'a str) -> Pending<'a, Result<u64, Away>> {
        Box::pin(async move { Ok(self.hub.registry().owners(channel)) })
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn instances_of_one_process_hear_each_other() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (Memory::new(hub.clone()), Memory::new(hub.clone()));
        let exact = Interest::Exact("room".to_owned());
        let mut by_name = a.subscribe(vec![exact.clone()]);
        let mut by_prefix = b.subscribe(vec![Interest::Prefix("ro".to_owned()), exact]);
        by_name.is_active().await;
        b.publish("room".to_owned(), Bytes::from_static(b"1"));
        b.publish("rooms".to_owned(), Bytes::from_static(b"2"));
        b.publish("other".to_owned(), Bytes::from_static(b"3"));
        assert_eq!(by_name.next().await.unwrap().payload, "1");
        // Twice the first, as with Redis: once for each of its interests.
        for expected in ["1", "1", "2"] {
            assert_eq!(by_prefix.next().await.unwrap().payload, expected);
        }
        assert_eq!(a.subscribers("room").await, Ok(2));
        drop(by_prefix);
        assert_eq!(a.subscribers("room").await, Ok(1));
        drop(by_name);
        assert_eq!(hub.registry().interests(), []);
    }

    #[tokio::test]
    async fn a_subscription_that_does_not_read_loses_and_says_so() {
        let bus = Memory::new(Arc::default());
        let mut slow = bus.subscribe(vec![Interest::Exact("room".to_owned())]);
        for _ in 0..40 {
            bus.publish("room".to_owned(), Bytes::from(vec![0; 1024 * 1024]));
        }
        assert_eq!(bus.counts.overrun.load(Ordering::Relaxed), 8);
        slow.next().await.unwrap();
        bus.publish("room".to_owned(), Bytes::from(vec![0; 1024 * 1024]));
        assert_eq!(bus.counts.overrun.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_slot_is_found_by_its_type() {
        let hub = Hub::default();
        hub.slot::<Mutex<Vec<u8>>>().lock().unwrap().push(1);
        assert_eq!(*hub.slot::<Mutex<Vec<u8>>>().lock().unwrap(), [1]);
        assert!(hub.slot::<Mutex<Vec<u16>>>().lock().unwrap().is_empty());
    }
}
