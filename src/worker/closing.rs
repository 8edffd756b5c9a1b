//! Closing what is open at an instance, or everywhere: at once, each at a moment of its own, or evenly until nothing is left; or some,
//! the longest idle first.

mod idlest;
mod pace;

use std::rc::Rc;
use std::time::Duration;

use super::Left;
use crate::http::Context;
use crate::local::clock::{self, Moment};
use crate::local::{random, timer};
use crate::tunnel::{Force, Order, Reason, Registry, Sort};
use pace::Pace;

pub(super) use idlest::close_idlest;
pub use idlest::{Idlest, Offer};

/// The shortest step of a drain.
const STEP: Duration = Duration::from_millis(50);

/// What to close, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// The number of the instance; `None`: of all.
    pub instance: Option<u32>,
    /// Which of what is open there.
    pub which: Which,
    /// What they are told.
    pub order: Order,
    /// Each draws its moment within this.
    pub over: Duration,
}

/// Which of what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Tunnels.
    Tunnels,
    /// Exchanges, polls and streams.
    Exchanges,
    /// Session starts that wait for their answer.
    Starts,
    /// What waits for news without an end in sight: tunnels and polls.
    Waiting,
    /// The same, and streams.
    Endless,
    /// All.
    All,
}

/// An instance that is to be emptied.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// The number of the instance.
    pub instance: u32,
    /// What tunnels and polls are told.
    pub order: Order,
    /// Nothing is closed before this.
    pub begins: Moment,
    /// Then it is spread evenly over this.
    pub spread: Duration,
    /// Then the rest is cut.
    pub deadline: Moment,
}

impl Which {
    fn has(self, sort: Sort) -> bool {
        match self {
            Which::Tunnels => sort == Sort::Tunnel,
            Which::Exchanges => sort != Sort::Tunnel,
            Which::Waiting => matches!(sort, Sort::Tunnel | Sort::Poll),
            Which::Starts => sort == Sort::Start,
            Which::Endless => matches!(sort, Sort::Tunnel | Sort::Poll | Sort::Stream),
            Which::All => true,
        }
    }
}

/// Something that is open: where it sits.
type Open<'c> = (&'c Registry, usize);

/// What is open at an instance and has no order yet, or a weaker one.
fn open(ctx: &Context, instance: Option<u32>, which: Which, force: Force) -> Vec<Open<'_>> {
    let wanted = |at, sort| instance.is_none_or(|instance| instance == at) && which.has(sort);
    let of = |registry| std::iter::repeat(registry).zip(Registry::keys(registry, force, wanted));
    of(&*ctx.tunnels).chain(of(&*ctx.leased)).collect()
}

/// Closes each at a moment of its own.
pub(super) async fn close(ctx: Rc<Context>, closing: Closing) {
    let Closing { instance, which, order, over } = closing;
    let began = clock::coarse();
    let draw = |open| (if over.is_zero() { Duration::ZERO } else { random::up_to(over) }, open);
    let mut moments: Vec<_> = open(&ctx, instance, which, order.force).into_iter().map(draw).collect();
    moments.sort_by_key(|(moment, _)| *moment);
    for (moment, (registry, key)) in moments {
        if !moment.is_zero() {
            timer::sleep_until(began.after(moment)).await;
        }
        // Somebody else may sit there by now.
        registry.order_if(key, order, |at, _| instance.is_none_or(|instance| instance == at));
    }
}

/// Closes evenly until nothing is left, also what begins meanwhile, and cuts the rest at the deadline.
pub(super) async fn drain(ctx: Rc<Context>, drain: Drain) {
    let Drain { instance, order, begins, spread, deadline } = drain;
    timer::sleep_until(begins).await;
    let end = begins.after(spread).min(deadline);
    let step = (spread / 1000).max(STEP);
    let mut pace = Pace::default();
    // What is counted of it is told when the drain has ended.
    let generation = ctx.generation();
    let known = generation.all().flat_map(|upstream| &upstream.instances).find(|known| known.id == instance);
    let known = known.cloned();
    drop(generation);
    let count = |closed: usize, cut: bool| {
        if let Some(known) = &known {
            known.lifecycle.closes(closed, cut);
        }
    };
    while clock::coarse() < deadline {
        let open = open(&ctx, Some(instance), Which::Endless, order.force);
        let due = pace.due(open.len(), step, end.since(clock::coarse()));
        // From anywhere among them: the oldest are not always the first.
        let from = random::below(open.len());
        for (registry, key) in open.iter().cycle().skip(from).take(due) {
            registry.order(*key, order);
        }
        count(due, false);
        drop(open);
        timer::sleep(step).await;
    }
    count(open(&ctx, Some(instance), Which::All, order.force).len(), true);
    let order = Order { force: Force::AtOnce, ..order };
    for (registry, key) in open(&ctx, Some(instance), Which::All, order.force) {
        registry.order(key, order);
    }
}

/// Tells what is open now to go, one after the other over `spread`.
async fn tell_all(ctx: &Context, which: Which, spread: Duration) {
    let order = Order::of(Reason::Shutdown);
    let open = open(ctx, None, which, order.force);
    let (began, count) = (clock::coarse(), u32::try_from(open.len()).unwrap_or(u32::MAX));
    for (number, (registry, key)) in (0..count).zip(open) {
        // Each has its moment: how late one was does not add up.
        timer::sleep_until(began.after(spread * number / count)).await;
        // Somebody else may sit there by now.
        registry.order_if(key, order, |_, sort| which.has(sort));
    }
}

/// Tells what waits, or has no end, to go elsewhere, also what comes meanwhile and later: a balancer may be slow, and whoever it still
/// sends here is served for a while.
pub(super) async fn send_off(ctx: Rc<Context>, begins: Moment, spread: Duration) {
    timer::sleep_until(begins).await;
    loop {
        let next = clock::coarse().after(spread.max(ROUND));
        tell_all(&ctx, Which::Endless, spread).await;
        timer::sleep_until(next).await;
    }
}

/// The shortest time from one such round to the next: a client that comes straight back is not told at once.
const ROUND: Duration = Duration::from_secs(1);

/// What is left at the deadline is cut. Ends what this worker serves: exchanges run to their end, tunnels get their Close one after the other.
pub(super) async fn stop(ctx: &Rc<Context>, spread: Duration, deadline: Duration) -> Left {
    ctx.stopping.set(true);
    let last_words = clock::coarse().after(deadline.saturating_sub(LAST_WORDS.min(deadline / 4)));
    let finish = async {
        let telling = tell_all(ctx, Which::Waiting, spread);
        // Whoever has not been told by then, or is waited for, hears of it before it is cut.
        let _ = timer::within(last_words.since(clock::coarse()), telling).await;
        let mut hurried = false;
        while ctx.exchanges.get() > 0 || !ctx.tunnels.is_empty() {
            if !hurried && clock::coarse() >= last_words {
                hurried = true;
                let order = Order { force: Force::AtOnce, ..Order::of(Reason::Shutdown) };
                for (registry, key) in open(ctx, None, Which::Waiting, order.force) {
                    registry.order(key, order);
                }
            }
            timer::sleep(LOOK).await;
        }
    };
    if timer::within(deadline, finish).await.is_some() {
        return Left::default();
    }
    let (tunnels, exchanges) = (ctx.tunnels.len(), ctx.exchanges.get());
    tracing::warn!(
        worker = ctx.worker,
        tunnels,
        exchanges,
        "the deadline of the stop has passed: what is left is cut"
    );
    Left { tunnels, exchanges }
}

/// So long before the deadline of a stop nobody is spared any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a worker that stops looks whether all is done.
const LOOK: Duration = Duration::from_millis(10);
