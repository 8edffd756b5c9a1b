//! Some tunnels of an instance go elsewhere, those that are idle for longest first. Which those are nobody writes down while
//! messages pass: the tunnels are asked.
//!
//! The workers do not see each other's tunnels. So each offers the times of its longest idle, and whoever gave the order says at which
//! moments each is to close how many.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::http::Context;
use crate::local::clock::{self, Moment};
use crate::local::timer;
use crate::tunnel::{Order, Sort};

/// Tunnels that are asked before others of the worker's tasks have their turn.
const ASKED_AT_ONCE: usize = 256;

/// Tunnels of an instance that are to go elsewhere.
#[derive(Clone, Debug)]
pub struct Idlest {
    /// The number of the instance.
    pub instance: u32,
    /// What they are told.
    pub order: Order,
    /// No more than so many will go.
    pub most: usize,
    /// Where each worker's offer goes.
    pub offers: mpsc::Sender<Offer>,
}

/// What a worker has to offer.
#[derive(Debug)]
pub struct Offer {
    /// Since when its longest idle are idle, in order; at most as many as were asked for. Those that are not to be moved are left out.
    pub idle_since: Vec<Moment>,
    /// Of the instance's tunnels here so many have been told to close and are not closed yet.
    pub closing: usize,
    /// When to close one of them, and the next, and so on: times from now. Dropped: none.
    pub close: oneshot::Sender<Vec<Duration>>,
}

/// Offers, and closes what is taken.
pub(in crate::worker) async fn close_idlest(ctx: Rc<Context>, idlest: Idlest) {
    let Idlest { instance, order, most, offers } = idlest;
    let tunnels = &ctx.tunnels;
    let longest_first = ask_all(&ctx, instance, order).await;
    let (close, closes) = oneshot::channel();
    let offer = Offer {
        idle_since: longest_first.iter().map(|(since, _)| *since).take(most).collect(),
        closing: tunnels.ordered(instance, Sort::Tunnel),
        close,
    };
    // An error, here and there: nobody waits for it any more.
    if offers.send(offer).await.is_err() {
        return;
    }
    let Ok(moments) = closes.await else { return };
    let began = clock::coarse();
    let mut next = longest_first.into_iter();
    for moment in moments {
        timer::sleep_until(began.after(moment)).await;
        // Whoever has spoken since is no longer the one that is idle for longest.
        for (since, key) in next.by_ref() {
            tunnels.ask_idle(key);
            tokio::task::yield_now().await;
            if tunnels.idle_since(key) == Some(since) {
                let is_there = |at, sort| at == instance && sort == Sort::Tunnel;
                tunnels.order_if(key, order, is_there);
                break;
            }
        }
    }
}

/// The instance's tunnels that may be moved, by their keys: since when they are idle, the longest first.
async fn ask_all(ctx: &Context, instance: u32, order: Order) -> Vec<(Moment, usize)> {
    let tunnels = &ctx.tunnels;
    let keys = tunnels.keys(order.force, |at, sort| at == instance && sort == Sort::Tunnel);
    for some in keys.chunks(ASKED_AT_ONCE) {
        for key in some {
            tunnels.ask_idle(*key);
        }
        // They are woken before this task is, and so answer first.
        tokio::task::yield_now().await;
    }
    let mut answers: Vec<_> =
        keys.into_iter().filter_map(|key| Some((tunnels.idle_since(key)?, key))).collect();
    answers.sort_unstable();
    answers
}
