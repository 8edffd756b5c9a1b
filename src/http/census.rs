//! Who is connected to a worker: tunnels and exchanges that are asked tell it here, each on its own turn.
//!
//! One question at a time. Must not: ask (that is `worker/census.rs`), close.

mod top;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::join::Life;
use crate::local::clock::Moment;
use crate::tunnel::{Place, Told, Total};

pub use top::Top;

/// Bytes of a host or a path that are shown; those of a client may be much longer.
const SHOWN_MAX: usize = 128;

/// Which of what is open.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Numbers of instances, sorted; `None`: any.
    pub instances: Option<Arc<[u32]>>,
    /// Clients' addresses; `None`: any.
    pub client: Option<IpNet>,
}

impl Filter {
    /// What is open at this instance may be wanted.
    pub fn wants_at(&self, instance: u32) -> bool {
        self.instances.as_ref().is_none_or(|wanted| wanted.binary_search(&instance).is_ok())
    }

    /// What this client has open may be wanted.
    pub fn wants_of(&self, client: IpAddr) -> bool {
        self.client.is_none_or(|network| network.contains(&client.to_canonical()))
    }
}

/// Which tunnels come first in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sorting {
    /// The oldest.
    Age,
    /// The longest idle.
    Idle,
    /// Those that carried most.
    Bytes,
}

/// A tunnel, as it was when it was asked.
#[derive(Clone, Debug)]
pub struct Row {
    /// By what it is sorted: the lowest first.
    pub rank: u64,
    /// Where it sits.
    pub place: Place,
    /// The client's address.
    pub client: IpAddr,
    /// Its upstream's name.
    pub upstream: String,
    /// Its instance's name.
    pub instance: String,
    /// When it began.
    pub began: Moment,
    /// What it carried, and when last.
    pub told: Told,
    /// The key that brought its client to that instance.
    pub by: &'static str,
    /// What the access log knows of its request, where there is one: host, path without query, hash of the sid.
    pub request: Option<(String, String, Option<u64>)>,
}

/// The first tunnels of a worker.
pub type First = Top<(u64, Place), Row>;

/// What is asked now.
#[derive(Debug)]
enum Question {
    /// The first tunnels, by rank.
    Rows(Sorting, First),
    /// All of them, by their places.
    Places(Vec<Place>),
}

/// The question that is asked now, and what was answered so far.
#[derive(Debug, Default)]
pub struct Census {
    now: RefCell<Option<(Filter, Question)>>,
    /// Whose turn it is to ask.
    turn: Cell<bool>,
    waiting: tokio::sync::Notify,
}

/// The right to ask.
#[derive(Debug)]
pub struct Asking<'c>(&'c Census);

impl Census {
    /// Waits until nobody else asks.
    pub async fn begin(&self) -> Asking<'_> {
        while self.turn.replace(true) {
            self.waiting.notified().await;
        }
        Asking(self)
    }

    /// A tunnel tells.
    pub(super) fn tunnel(&self, life: &Life, place: Place, told: &Told) {
        let mut now = self.now.borrow_mut();
        let Some((filter, question)) = &mut *now else { return };
        let client = life.known_as.address;
        if !filter.wants_at(life.instance.id) || !filter.wants_of(client) {
            return;
        }
        match question {
            Question::Places(_) if told.closing => {}
            Question::Places(places) => places.push(place),
            Question::Rows(sorting, top) => {
                let rank = rank(*sorting, life.began, told);
                top.offer((rank, place), || row(life, rank, place, told));
            }
        }
    }

    /// An exchange tells.
    pub(super) fn exchange(&self, place: Place, instance: u32, client: IpAddr) {
        if let Some((filter, Question::Places(places))) = &mut *self.now.borrow_mut()
            && filter.wants_at(instance)
            && filter.wants_of(client)
        {
            places.push(place);
        }
    }
}

impl Asking<'_> {
    /// From now on tunnels tell about themselves.
    pub fn rows(&self, filter: Filter, sorting: Sorting, most: usize) {
        *self.0.now.borrow_mut() = Some((filter, Question::Rows(sorting, Top::new(most))));
    }

    /// From now on all tell where they sit.
    pub fn places(&self, filter: Filter) {
        *self.0.now.borrow_mut() = Some((filter, Question::Places(Vec::new())));
    }

    /// The first. Whoever asked sorts them, for it has the time.
    pub fn take_rows(&self) -> First {
        match self.0.now.take() {
            Some((_, Question::Rows(_, first))) => first,
            _ => Top::new(0),
        }
    }

    /// Where all sit.
    pub fn take_places(&self) -> Vec<Place> {
        match self.0.now.take() {
            Some((_, Question::Places(places))) => places,
            _ => Vec::new(),
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.now.take();
        self.0.turn.set(false);
        self.0.waiting.notify_one();
    }
}

fn rank(sorting: Sorting, began: Moment, told: &Told) -> u64 {
    let nanos = |moment: Moment| u64::try_from(moment.since_boot().as_nanos()).unwrap_or(u64::MAX);
    match sorting {
        Sorting::Age => nanos(began),
        Sorting::Idle => nanos(told.active),
        Sorting::Bytes => u64::MAX - carried(told.up, told.down),
    }
}

fn carried(up: Total, down: Total) -> u64 {
    up.bytes.saturating_add(down.bytes)
}

fn row(life: &Life, rank: u64, place: Place, told: &Told) -> Row {
    let request = life.notes.as_deref().map(|notes| {
        let path = notes.target.split('?').next().unwrap_or_default();
        (short(&notes.host), short(path), notes.sid_hash)
    });
    Row {
        rank,
        place,
        client: life.known_as.address,
        upstream: life.upstream.config.name.clone(),
        instance: life.instance.name.clone(),
        began: life.began,
        told: *told,
        by: life.by.as_str(),
        request,
    }
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_MAX);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wanted() {
        let filter = |instances: Option<&[u32]>, client: Option<&str>| Filter {
            instances: instances.map(Into::into),
            client: client.map(|network| network.parse().unwrap()),
        };
        let check = |filter: &Filter, instance, client: &str, expected| {
            let found = filter.wants_at(instance) && filter.wants_of(client.parse().unwrap());
            assert_eq!(found, expected, "{filter:?} {instance} {client}");
        };
        check(&filter(None, None), 7, "192.0.2.1", true);
        check(&filter(Some(&[3, 7]), None), 7, "::1", true);
        check(&filter(Some(&[3, 7]), None), 5, "::1", false);
        check(&filter(Some(&[]), None), 5, "::1", false);
        check(&filter(None, Some("192.0.2.0/24")), 5, "192.0.2.200", true);
        check(&filter(None, Some("192.0.2.0/24")), 5, "::ffff:192.0.2.200", true);
        check(&filter(None, Some("192.0.2.0/24")), 5, "192.0.3.1", false);
        check(&filter(None, Some("2001:db8::/32")), 5, "192.0.2.1", false);
        check(&filter(Some(&[5]), Some("2001:db8::/32")), 5, "2001:db8::7", true);
    }

    #[test]
    fn who_comes_first() {
        let told = |active, up, down| Told {
            active: Moment::at(std::time::Duration::from_secs(active)),
            up: Total { bytes: up, frames: 0 },
            down: Total { bytes: down, frames: 0 },
            closing: false,
        };
        let began = |seconds| Moment::at(std::time::Duration::from_secs(seconds));
        // (began, active, up, down): the first comes before the second.
        let check = |sorting, (a, first): (u64, Told), (b, second): (u64, Told)| {
            assert!(rank(sorting, began(a), &first) < rank(sorting, began(b), &second), "{sorting:?}");
        };
        check(Sorting::Age, (1, told(9, 0, 0)), (2, told(3, 9, 9)));
        check(Sorting::Idle, (2, told(3, 9, 9)), (1, told(9, 0, 0)));
        check(Sorting::Bytes, (2, told(3, 2, 2)), (1, told(1, 3, 0)));
        check(Sorting::Bytes, (2, told(3, u64::MAX, 2)), (1, told(1, 3, 0)));
    }

    #[test]
    fn texts_of_clients_are_cut_between_characters() {
        assert_eq!(short("/socket.io/"), "/socket.io/");
        assert_eq!(short(&format!("{}ä", "x".repeat(SHOWN_MAX - 1))), "x".repeat(SHOWN_MAX - 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_asks_at_a_time() {
        let census = Census::default();
        let first = census.begin().await;
        first.places(Filter::default());
        let second = async {
            let second = census.begin().await;
            assert!(census.now.borrow().is_none());
            drop(second);
        };
        let mut second = std::pin::pin!(second);
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
        drop(first);
        second.await;
    }
}
