//! Lists what is open, and closes of it what is named: whoever is open is asked, a few at a time, so that others of the worker's tasks
//! have their turns in between.
//!
//! Workers do not see each other's tunnels: whoever asks puts together what each has, and says how fast all of it is closed.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::http::Context;
use crate::http::census::{Filter, First, Sorting};
use crate::local::clock;
use crate::local::timer;
use crate::tunnel::{Order, Place, Registry, Sort};

/// Asked before others of the worker's tasks have their turn: a hundred microseconds.
const ASKED_AT_ONCE: usize = 64;

/// Turns of the worker that they have to answer in; they are woken before the one that asks, so one will do.
const TURNS: usize = 3;

/// Who is connected?
#[derive(Clone, Debug)]
pub struct List {
    /// Which tunnels.
    pub filter: Filter,
    /// Which of them first.
    pub sorting: Sorting,
    /// So many of them.
    pub most: usize,
    /// Where each worker's answer goes.
    pub answer: mpsc::Sender<Listed>,
}

/// What a worker lists.
#[derive(Debug)]
pub struct Listed {
    /// The first tunnels.
    pub first: First,
    /// So many did not say in time who they are.
    pub unheard: usize,
}

/// What is open is to be closed: first it is counted.
#[derive(Clone, Debug)]
pub struct Pick {
    /// Which of what is open.
    pub filter: Filter,
    /// What is told.
    pub order: Order,
    /// Where each worker's answer goes.
    pub answer: mpsc::Sender<Picked>,
}

/// What a worker would close.
#[derive(Debug)]
pub struct Picked {
    /// Tunnels.
    pub tunnels: usize,
    /// Polls and streams.
    pub exchanges: usize,
    /// So many did not say in time who they are.
    pub unheard: usize,
    /// Closes them, evenly over this; dropped: none.
    pub close: oneshot::Sender<Duration>,
}

/// Tunnels that are to be closed at once.
#[derive(Clone, Debug)]
pub struct CloseAt {
    /// Which ones.
    pub places: Vec<Place>,
    /// What they are told.
    pub order: Order,
    /// Where the answer goes: for each whether it was there.
    pub answer: mpsc::Sender<Vec<bool>>,
}

/// Answers who is connected.
pub(super) async fn list(ctx: Rc<Context>, list: List) {
    let List { filter, sorting, most, answer } = list;
    let asking = ctx.census.begin().await;
    asking.rows(filter.clone(), sorting, most);
    let unheard = ask(&ctx.tunnels, |at, _| filter.wants_at(at), || !answer.is_closed()).await;
    // An error: nobody waits for it any more.
    let _ = answer.send(Listed { first: asking.take_rows(), unheard }).await;
}

/// Counts, and closes when it is told to.
pub(super) async fn pick(ctx: Rc<Context>, pick: Pick) {
    let Pick { filter, order, answer } = pick;
    let is_waited_for = || !answer.is_closed();
    let asking = ctx.census.begin().await;
    asking.places(filter.clone());
    let mut unheard = ask(&ctx.tunnels, |at, _| filter.wants_at(at), is_waited_for).await;
    let tunnels = asking.take_places();
    asking.places(filter.clone());
    let is_endless = |at, sort| matches!(sort, Sort::Poll | Sort::Stream) && filter.wants_at(at);
    unheard += ask(&ctx.leased, is_endless, is_waited_for).await;
    let exchanges = asking.take_places();
    // Closing may take long, and others ask meanwhile.
    drop(asking);
    let (close, closes) = oneshot::channel();
    let picked = Picked { tunnels: tunnels.len(), exchanges: exchanges.len(), unheard, close };
    if answer.send(picked).await.is_err() {
        return;
    }
    drop(answer);
    let Ok(over) = closes.await else { return };
    let (began, count) =
        (clock::coarse(), u32::try_from(tunnels.len() + exchanges.len()).unwrap_or(u32::MAX));
    let all = tunnels.into_iter().map(|place| (&ctx.tunnels, place));
    let all = all.chain(exchanges.into_iter().map(|place| (&ctx.leased, place)));
    for (number, (registry, place)) in (0..count).zip(all) {
        if !over.is_zero() {
            timer::sleep_until(began.after(over * number / count)).await;
        }
        registry.order_at(place, order);
    }
}

/// Closes at once; nothing if nobody waits for the answer any more, as it has been said then that nothing was closed.
pub(super) fn close_at(ctx: &Context, close: CloseAt) {
    let CloseAt { places, order, answer } = close;
    // With room for the answer, so that whoever asked is there to hear it.
    let Ok(answer) = answer.try_reserve() else { return };
    answer.send(places.into_iter().map(|place| ctx.tunnels.order_at(place, order)).collect());
}

/// Asks all of these who they are, for as long as somebody wants to know; how many did not say so in time.
async fn ask(
    registry: &Registry,
    wanted: impl Fn(u32, Sort) -> bool,
    is_waited_for: impl Fn() -> bool,
) -> usize {
    let mut unheard = 0;
    for some in registry.all(wanted).chunks(ASKED_AT_ONCE) {
        registry.ask(some);
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            if !registry.asks() {
                break;
            }
        }
        unheard += registry.ask_nobody();
        if !is_waited_for() {
            break;
        }
    }
    unheard
}

#[cfg(test)]
mod tests {
    use std::task::{Context as Poller, Waker};

    use super::*;
    use crate::config;
    use crate::generation::Generation;
    use crate::http::Shared;
    use crate::observe::access_log::AccessLog;
    use crate::tunnel::Reason;

    fn context() -> Context {
        let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"127.0.0.1:81\"]\n[log]\naccess = \"off\"\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let log = AccessLog::open(&config.log.access, config.log.access_format, None).unwrap();
        let generation = Generation { config, upstreams: vec![], leaving: vec![] };
        Context::new(0, Shared::new(generation, log, None))
    }

    /// The regression: it was closed after it had been said that nothing was.
    #[test]
    fn what_nobody_waits_for_any_more_is_not_closed() {
        let ctx = context();
        let seat = ctx.tunnels.seat(7, Sort::Tunnel, None);
        ctx.tunnels.ask(&ctx.tunnels.all(|_, _| true));
        let place = seat.is_asked().unwrap();
        let order = Order::of(Reason::Command);
        let cx = &Poller::from_waker(Waker::noop());
        let (answer, answers) = mpsc::channel(1);
        drop(answers);
        close_at(&ctx, CloseAt { places: vec![place], order, answer });
        assert_eq!(seat.order(cx), None);
        let (answer, mut answers) = mpsc::channel(1);
        close_at(&ctx, CloseAt { places: vec![place], order, answer });
        assert_eq!((seat.order(cx), answers.try_recv()), (Some(order), Ok(vec![true])));
    }

    /// The regression: they were missing from a list, and nobody said so.
    #[tokio::test(flavor = "current_thread")]
    async fn who_does_not_tell_is_counted() {
        let ctx = context();
        let seats: Vec<_> = (0..100).map(|_| ctx.tunnels.seat(7, Sort::Tunnel, None)).collect();
        assert_eq!(ask(&ctx.tunnels, |_, _| true, || true).await, seats.len());
    }
}
