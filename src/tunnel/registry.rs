//! The tunnels of one worker, so that an order to close finds them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

use super::Reason;

/// An order to close a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Why; also decides the Close frame's code.
    pub reason: Reason,
}

/// All tunnels of one worker.
#[derive(Debug, Default)]
pub struct Registry {
    seats: RefCell<Slab<State>>,
}

#[derive(Debug)]
struct State {
    waker: Option<Waker>,
    order: Option<Order>,
}

/// A tunnel's place in the registry; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    registry: Rc<Registry>,
    key: u32,
}

impl Registry {
    /// Takes a seat. `order`: the tunnel is to close as soon as it begins.
    pub fn seat(self: &Rc<Self>, order: Option<Order>) -> Seat {
        let key = self.seats.borrow_mut().insert(State { waker: None, order });
        Seat { registry: self.clone(), key: u32::try_from(key).expect("tunnels are bounded by open files") }
    }

    /// Open tunnels.
    pub fn len(&self) -> usize {
        self.seats.borrow().len()
    }

    /// No tunnel is open.
    pub fn is_empty(&self) -> bool {
        self.seats.borrow().is_empty()
    }

    /// The keys of all tunnels that are open now.
    pub fn keys(&self) -> Vec<usize> {
        self.seats.borrow().iter().map(|(key, _)| key).collect()
    }

    /// Orders one tunnel to close; an earlier order stands.
    pub fn order(&self, key: usize, order: Order) {
        if let Some(state) = self.seats.borrow_mut().get_mut(key) {
            state.order.get_or_insert(order);
            if let Some(waker) = &state.waker {
                waker.wake_by_ref();
            }
        }
    }
}

impl Seat {
    /// The order to close, if one came; otherwise the task is woken when it comes.
    pub fn order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut seats = self.registry.seats.borrow_mut();
        let state = &mut seats[self.key as usize];
        if state.order.is_none() && !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.order
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.seats.borrow_mut().remove(self.key as usize);
    }
}
