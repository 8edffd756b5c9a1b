//! What is open at the instances of one worker, so that an order to close finds it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

use super::Reason;
use crate::local::clock::Moment;
use crate::local::random;

/// An order to close what has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub reason: Reason,
    /// The Close frame's code; `None`: the reason's own.
    pub code: Option<NonZeroU16>,
    /// How it is meant.
    pub force: Force,
}

/// How an order is meant. It stands until a stronger one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Force {
    /// Only if the instance has said nothing since.
    IfSilentSince(Moment),
    /// As soon as it does no harm.
    Gently,
    /// There is no time left to wait for that.
    AtOnce,
}

/// What has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A tunnel.
    Tunnel,
    /// A poll of an Engine.IO session.
    Poll,
    /// An answer without an end in sight.
    Stream,
    /// A session start that waits for its answer.
    Start,
    /// Any other exchange.
    Exchange,
}

/// What is open of one worker: its tunnels, or its exchanges.
#[derive(Debug)]
pub struct Registry {
    seats: RefCell<Slab<State>>,
    /// The next seat's.
    serial: Cell<u32>,
    /// Who is asked who it is. Few at a time, and not at their seats, where each would pay for it at rest.
    asked: RefCell<HashSet<u32>>,
    asks: Cell<bool>,
}

/// A seat and who has it: whoever has the key next has another serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Of the seat.
    pub key: u32,
    /// Counts up with every seat that is taken, from anywhere; below [`SERIALS`].
    pub serial: u32,
}

/// So many seats are taken before a serial comes again.
pub const SERIALS: u32 = 1 << 24;

#[derive(Debug)]
struct State {
    waker: Option<Waker>,
    note: Note,
    /// The number of the instance that it is open at.
    instance: u32,
    sort: Sort,
    /// In as many bytes as were free.
    serial: [u8; 3],
}

/// What lies at a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Nothing,
    /// It is to close.
    Order(Order),
    /// It is to say since when it is idle.
    Asked,
    /// It has said so.
    Idle(Moment),
}

// There is one for every tunnel.
const _: () = assert!(size_of::<Note>() == size_of::<Option<Order>>(), "to be asked costs nothing at rest");
const _: () = assert!(size_of::<State>() == 48, "who has the seat costs nothing at rest");

/// What somebody wants of what has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To close.
    Close(Order),
    /// To say since when it is idle: by [`Seat::is_idle`], or not at all.
    TellIdle,
}

/// A place in the registry; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    registry: Rc<Registry>,
    key: u32,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            seats: RefCell::default(),
            // So that what was noted of a process before this one is nobody here.
            serial: Cell::new(u32::try_from(random::next() % u64::from(SERIALS)).unwrap_or(0)),
            asked: RefCell::default(),
            asks: Cell::new(false),
        }
    }
}

impl Registry {
    /// Takes a seat for what is open at this instance. `order`: it is to close as soon as it begins.
    pub fn seat(self: &Rc<Self>, instance: u32, sort: Sort, order: Option<Order>) -> Seat {
        let note = order.map_or(Note::Nothing, Note::Order);
        let [_, serial @ ..] = self.serial.get().to_be_bytes();
        self.serial.set((self.serial.get() + 1) % SERIALS);
        let key = self.seats.borrow_mut().insert(State { waker: None, note, instance, sort, serial });
        Seat { registry: self.clone(), key: u32::try_from(key).expect("seats are bounded by open files") }
    }

    /// Seats taken.
    pub fn len(&self) -> usize {
        self.seats.borrow().len()
    }

    /// No seat is taken.
    pub fn is_empty(&self) -> bool {
        self.seats.borrow().is_empty()
    }

    /// The keys of those that have no order yet, or a weaker one than such; `wanted` says of which instances and sorts.
    pub fn keys(&self, force: Force, wanted: impl Fn(u32, Sort) -> bool) -> Vec<usize> {
        let seats = self.seats.borrow();
        let free = seats.iter().filter(|(_, state)| state.yields_to(force));
        free.filter(|(_, state)| wanted(state.instance, state.sort)).map(|(key, _)| key).collect()
    }

    /// Orders one to close; an earlier order stands, unless it is weaker.
    pub fn order(&self, key: usize, order: Order) {
        self.order_if(key, order, |_, _| true);
    }

    /// The same, if what sits there is `wanted` still.
    pub fn order_if(&self, key: usize, order: Order, wanted: impl Fn(u32, Sort) -> bool) {
        let mut seats = self.seats.borrow_mut();
        if let Some(state) = seats.get_mut(key).filter(|state| wanted(state.instance, state.sort)) {
            state.is_told(order);
        }
    }

    /// The same of one that is known by its place; `false`: it is not there.
    pub fn order_at(&self, place: Place, order: Order) -> bool {
        let mut seats = self.seats.borrow_mut();
        let state = seats.get_mut(place.key as usize).filter(|state| state.serial() == place.serial);
        state.map(|state| state.is_told(order)).is_some()
    }

    /// The keys of all, also of those that have an order.
    pub fn all(&self, wanted: impl Fn(u32, Sort) -> bool) -> Vec<u32> {
        let seats = self.seats.borrow();
        let wanted = seats.iter().filter(|(_, state)| wanted(state.instance, state.sort));
        wanted.filter_map(|(key, _)| u32::try_from(key).ok()).collect()
    }

    /// Asks these who they are: each finds that out once, when its task runs next.
    pub fn ask(&self, keys: &[u32]) {
        let seats = self.seats.borrow();
        let mut asked = self.asked.borrow_mut();
        for key in keys {
            if let Some(state) = seats.get(*key as usize) {
                asked.insert(*key);
                state.wake();
            }
        }
        self.asks.set(!asked.is_empty());
    }

    /// Somebody was asked, and has not found it out yet.
    pub fn asks(&self) -> bool {
        self.asks.get()
    }

    /// Nobody is asked any more; how many have not found it out.
    pub fn ask_nobody(&self) -> usize {
        self.asks.set(false);
        std::mem::take(&mut *self.asked.borrow_mut()).len()
    }

    /// How many of this instance have an order, and have not ended yet.
    pub fn ordered(&self, instance: u32, sort: Sort) -> usize {
        let seats = self.seats.borrow();
        let of = |state: &State| state.instance == instance && state.sort == sort && state.order().is_some();
        seats.iter().filter(|(_, state)| of(state)).count()
    }

    /// Asks one that has no order since when it is idle. It answers when its task runs next.
    pub fn ask_idle(&self, key: usize) {
        let mut seats = self.seats.borrow_mut();
        if let Some(state) = seats.get_mut(key).filter(|state| state.order().is_none()) {
            state.note = Note::Asked;
            state.wake();
        }
    }

    /// What it answered to that. `None`: nothing yet, it is not to be moved, or another one sits there.
    pub fn idle_since(&self, key: usize) -> Option<Moment> {
        match self.seats.borrow().get(key)?.note {
            Note::Idle(since) => Some(since),
            Note::Nothing | Note::Order(_) | Note::Asked => None,
        }
    }
}

impl State {
    fn serial(&self) -> u32 {
        let [a, b, c] = self.serial;
        u32::from_be_bytes([0, a, b, c])
    }

    fn order(&self) -> Option<Order> {
        match self.note {
            Note::Order(order) => Some(order),
            Note::Nothing | Note::Asked | Note::Idle(_) => None,
        }
    }

    fn yields_to(&self, force: Force) -> bool {
        self.order().is_none_or(|order| order.force < force)
    }

    fn is_told(&mut self, order: Order) {
        if self.yields_to(order.force) {
            self.note = Note::Order(order);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Seat {
    /// It is asked who it is: where it sits.
    pub fn is_asked(&self) -> Option<Place> {
        if !self.registry.asks.get() {
            return None;
        }
        let mut asked = self.registry.asked.borrow_mut();
        let is_asked = asked.remove(&self.key);
        self.registry.asks.set(!asked.is_empty());
        is_asked.then(|| Place {
            key: self.key,
            serial: self.registry.seats.borrow()[self.key as usize].serial(),
        })
    }

    /// The order to close, if one came; otherwise the task is woken when it comes.
    pub fn order(&self, cx: &Context<'_>) -> Option<Order> {
        match self.wish(cx)? {
            Wish::Close(order) => Some(order),
            Wish::TellIdle => None,
        }
    }

    /// The same, for what may be asked.
    pub fn wish(&self, cx: &Context<'_>) -> Option<Wish> {
        let mut seats = self.registry.seats.borrow_mut();
        let state = &mut seats[self.key as usize];
        if let Note::Order(order) = state.note {
            return Some(Wish::Close(order));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        (state.note == Note::Asked).then_some(Wish::TellIdle)
    }

    /// It was asked, and is idle since; `None`: it is not to be moved.
    pub fn is_idle(&self, since: Option<Moment>) {
        self.registry.seats.borrow_mut()[self.key as usize].note = since.map_or(Note::Nothing, Note::Idle);
    }

    /// The order was not meant for it: it stays as it is.
    pub fn declines(&self) {
        self.registry.seats.borrow_mut()[self.key as usize].note = Note::Nothing;
    }

    /// It has turned out to be something else.
    pub fn becomes(&self, sort: Sort) {
        self.registry.seats.borrow_mut()[self.key as usize].sort = sort;
    }
}

impl Order {
    /// For this reason, with its own code, whatever the instance says.
    pub fn of(reason: Reason) -> Self {
        Order { reason, code: None, force: Force::Gently }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.seats.borrow_mut().remove(self.key as usize);
        if self.registry.asks.get() {
            let mut asked = self.registry.asked.borrow_mut();
            asked.remove(&self.key);
            self.registry.asks.set(!asked.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_asked_says_so_and_an_order_outranks_it() {
        let registry = Rc::new(Registry::default());
        let seat = registry.seat(7, Sort::Tunnel, None);
        let cx = &Context::from_waker(Waker::noop());
        let key = registry.keys(Force::Gently, |_, _| true)[0];
        let then = Moment::at(Duration::from_secs(5));
        assert_eq!((seat.wish(cx), registry.idle_since(key)), (None, None));
        registry.ask_idle(key);
        assert_eq!((seat.wish(cx), registry.idle_since(key)), (Some(Wish::TellIdle), None));
        // It is no order: it can be found and closed as before, and exchanges, which are not asked, see nothing.
        assert_eq!(
            (
                registry.keys(Force::Gently, |_, _| true).len(),
                registry.ordered(7, Sort::Tunnel),
                seat.order(cx)
            ),
            (1, 0, None)
        );
        seat.is_idle(Some(then));
        assert_eq!((seat.wish(cx), registry.idle_since(key)), (None, Some(then)));
        // What it said before does not count for the next time.
        registry.ask_idle(key);
        seat.is_idle(None);
        assert_eq!((seat.wish(cx), registry.idle_since(key)), (None, None));
        registry.ask_idle(key);
        let order = Order::of(Reason::Rebalanced);
        registry.order(key, order);
        registry.order(key, Order::of(Reason::Drained));
        registry.ask_idle(key);
        assert_eq!((seat.wish(cx), registry.idle_since(key)), (Some(Wish::Close(order)), None));
        assert_eq!(
            (registry.keys(Force::Gently, |_, _| true).len(), registry.ordered(7, Sort::Tunnel)),
            (0, 1)
        );
        assert_eq!((registry.ordered(8, Sort::Tunnel), registry.ordered(7, Sort::Poll)), (0, 0));
        seat.declines();
        assert_eq!(seat.wish(cx), None);
        drop(seat);
        // Nobody sits there.
        registry.ask_idle(key);
        assert_eq!(registry.idle_since(key), None);
    }

    /// The regression: whoever was to close if its instance stays silent, or gently, heard no stronger order.
    #[test]
    fn a_stronger_order_is_heard() {
        let registry = Rc::new(Registry::default());
        let seat = registry.seat(7, Sort::Tunnel, None);
        let cx = &Context::from_waker(Waker::noop());
        let order = |reason, force| Order { force, ..Order::of(reason) };
        let if_silent = order(Reason::Down, Force::IfSilentSince(Moment::at(Duration::from_secs(5))));
        let (gently, at_once) =
            (order(Reason::Drained, Force::Gently), order(Reason::Shutdown, Force::AtOnce));
        let mut told: Vec<Order> = vec![];
        for next in [if_silent, if_silent, gently, if_silent, gently, at_once, gently] {
            let reached = registry.keys(next.force, |_, _| true);
            assert_eq!(
                reached.len(),
                usize::from(told.iter().all(|order| order.force < next.force)),
                "{next:?}"
            );
            registry.order(0, next);
            told.push(next);
            let strongest = told.iter().max_by_key(|order| order.force).copied();
            assert_eq!(seat.order(cx), strongest);
        }
    }

    #[test]
    fn a_place_is_that_of_one_alone() {
        let registry = Rc::new(Registry::default());
        registry.serial.set(SERIALS - 1);
        let (first, second) = (registry.seat(7, Sort::Tunnel, None), registry.seat(8, Sort::Poll, None));
        let cx = &Context::from_waker(Waker::noop());
        assert_eq!((first.is_asked(), registry.asks()), (None, false));
        registry.ask(&registry.all(|at, sort| at == 7 && sort == Sort::Tunnel));
        assert_eq!((registry.asks(), second.is_asked()), (true, None));
        let place = Place { key: 0, serial: SERIALS - 1 };
        assert_eq!((first.is_asked(), first.is_asked(), registry.asks()), (Some(place), None, false));
        // To be asked is no order, and who has an order is asked all the same.
        assert_eq!(first.wish(cx), None);
        let order = Order::of(Reason::Command);
        // The regression: of one that was closing already it was said that it is gone.
        assert_eq!((registry.order_at(place, order), registry.order_at(place, order)), (true, true));
        assert_eq!(first.wish(cx), Some(Wish::Close(order)));
        registry.ask(&registry.all(|_, _| true));
        assert_eq!((first.is_asked(), second.is_asked()), (Some(place), Some(Place { key: 1, serial: 0 })));
        // The seat is taken by another one: what was known of the first is not true of it.
        registry.ask(&[0, 1, 99]);
        drop(first);
        let third = registry.seat(7, Sort::Tunnel, None);
        assert_eq!((third.is_asked(), registry.order_at(place, order)), (None, false));
        assert_eq!(registry.ask_nobody(), 1);
        assert_eq!((second.is_asked(), registry.asks()), (None, false));
        registry.ask(&[0]);
        assert_eq!(third.is_asked(), Some(Place { key: 0, serial: 1 }));
    }
}
