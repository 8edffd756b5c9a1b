//! A worker: one thread, one runtime, its own listeners, pool, timers, tunnels and counters. Workers share nothing on the
//! data path.

mod census;
mod closing;
mod doors;
mod pulse;

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::http::{Context, Door, Shared};
use crate::listener::bind::Listening;
use crate::listener::permit::Permits;
use crate::local::clock::Moment;
use crate::local::{clock, timer};
use crate::tunnel::Reason;

pub use census::{CloseAt, List, Listed, Pick, Picked};
pub use closing::{Closing, Drain, Idlest, Offer, Which};
pub use pulse::Pulse;

use doors::Doors;

/// How often idle connections to instances, and sessions, are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// Sessions that are forgotten at a time.
const SWEEP_SIDS: usize = 256;

/// Orders to a worker that may wait; a controller sends few, and waits for room. Questions leave half of them free: what nobody takes in
/// must not keep orders out.
const ORDERS: usize = 16;

/// A worker that has made no room by then hangs: its order is given up, for whoever sends it has others to see to.
const ROOM: Duration = Duration::from_secs(2);

/// How often it is looked for room.
const ROOM_LOOK: Duration = Duration::from_millis(5);

/// How much later than its deadline a worker that was told to stop may end, before it is left as it is.
const JOIN: Duration = Duration::from_secs(5);

/// What a worker needs to begin.
#[derive(Debug)]
pub struct Parts {
    /// Its number, from 0.
    pub number: usize,
    /// Its sockets, some of each listener. It accepts at them once it is told to.
    pub listeners: Vec<(Arc<Listening>, Arc<Door>)>,
    /// What all workers share.
    pub shared: Shared,
    /// The process's client connections.
    pub permits: Arc<Permits>,
    /// Its sign of life.
    pub pulse: Arc<Pulse>,
}

/// An order to a worker.
#[derive(Clone, Debug)]
pub enum Command {
    /// Close something.
    Close(Closing),
    /// Close the tunnels of an instance that are idle for longest.
    CloseIdlest(Idlest),
    /// Say who is connected.
    List(List),
    /// Say what would be closed, and close it.
    Pick(Pick),
    /// Close these tunnels.
    CloseAt(CloseAt),
    /// Empty an instance; a drain of it that runs ends.
    Drain(Drain),
    /// Leave the instance of this number as it is: a drain of it ends.
    Keep(u32),
    /// Be able to accept clients, and say so: what can go wrong with that has gone wrong by then.
    Prepare(mpsc::Sender<io::Result<()>>),
    /// Accept clients, and say so.
    Accept(mpsc::Sender<io::Result<()>>),
    /// Accept no more for now, and say so: clients wait in the kernel's queue.
    Pause(mpsc::Sender<io::Result<()>>),
    /// Another process accepts from now on, for good: what is open here is served to its end. So are those that wait at the listeners
    /// of these names, which it does not have.
    Linger(Arc<[String]>),
    /// `health_path` says 503 from now on; everything is still served.
    Retire,
    /// What waits for news, or has no end, is told to go elsewhere, also what begins later, until [`Command::Return`].
    SendOff {
        /// Nobody is told before this.
        begins: Moment,
        /// Those that are open then are told at moments spread evenly over this, then those that have come since, and so on.
        spread: Duration,
        /// What they are told.
        reason: Reason,
    },
    /// `health_path` says 200 again, and nobody more is told to go.
    Return,
    /// Take no new work, close tunnels over `spread`, and end when all is done or after `deadline`.
    Stop {
        /// Tunnels close at moments spread evenly over this.
        spread: Duration,
        /// Then everything ends.
        deadline: Duration,
    },
}

/// The way of orders to all workers.
#[derive(Clone, Debug)]
pub struct Orders(Vec<mpsc::Sender<Command>>);

impl Orders {
    /// To these.
    pub fn to(workers: &[Worker]) -> Self {
        Orders(workers.iter().map(|worker| worker.commands.clone()).collect())
    }

    /// How many workers hear them.
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// Has all workers accept (`Command::Accept`), or not (`Command::Pause`), and returns when each does; from a thread that may wait.
    /// One that has ended needs not.
    ///
    /// # Errors
    /// When a runtime cannot take a socket, or somebody does not answer within this time (`TimedOut`).
    pub fn settle(
        &self,
        within: Duration,
        command: fn(mpsc::Sender<io::Result<()>>) -> Command,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        // Orders, for which there is room behind questions: whoever hangs obeys when it goes on.
        let answers = runtime.block_on(self.ask_behind(|_| 0, within, |_, answer| command(answer)));
        for (number, (worker, answer)) in self.0.iter().zip(answers).enumerate() {
            match answer {
                Some(settled) => settled?,
                None if worker.is_closed() => {}
                None => {
                    let hangs = format!("worker {number} does not answer");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, hangs));
                }
            }
        }
        Ok(())
    }

    /// Sends one; a worker that has ended needs none, and one that hangs gets none.
    pub async fn send(&self, command: Command) {
        let mut sending = Sending::to(self, command);
        while sending.is_under_way() {
            sleep(ROOM_LOOK).await;
        }
    }

    /// The same, from a thread that may wait.
    pub fn send_blocking(&self, command: Command) {
        let mut sending = Sending::to(self, command);
        while sending.is_under_way() {
            thread::sleep(ROOM_LOOK);
        }
    }

    /// Asks each something, and waits for their answers, but no longer than `within`: `None` of one that has ended, or hangs.
    pub async fn ask<A: Send + 'static>(
        &self,
        within: Duration,
        question: impl Fn(usize, mpsc::Sender<A>) -> Command,
    ) -> Vec<Option<A>> {
        self.ask_behind(|worker| worker.max_capacity() / 2, within, question).await
    }

    /// The same, where this much room is left in an inbox.
    async fn ask_behind<A: Send + 'static>(
        &self,
        room: fn(&mpsc::Sender<Command>) -> usize,
        within: Duration,
        question: impl Fn(usize, mpsc::Sender<A>) -> Command,
    ) -> Vec<Option<A>> {
        let mut asked = JoinSet::new();
        for (number, worker) in self.0.iter().cloned().enumerate() {
            let (answer, mut answers) = mpsc::channel(1);
            let question = question(number, answer);
            let answered = async move {
                while worker.capacity() <= room(&worker) {
                    sleep(ROOM_LOOK).await;
                }
                worker.try_send(question).ok()?;
                answers.recv().await
            };
            asked.spawn(async move { (number, timeout(within, answered).await.ok().flatten()) });
        }
        let mut answers: Vec<Option<A>> = self.0.iter().map(|_| None).collect();
        while let Some(answered) = asked.join_next().await {
            if let Ok((number, answer)) = answered {
                answers[number] = answer;
            }
        }
        answers
    }
}

/// An order on its way.
struct Sending<'o> {
    command: Command,
    began: Moment,
    /// Who has not got it yet, with its number.
    to: Vec<(usize, &'o mpsc::Sender<Command>)>,
}

impl<'o> Sending<'o> {
    fn to(orders: &'o Orders, command: Command) -> Self {
        Sending { command, began: clock::now(), to: orders.0.iter().enumerate().collect() }
    }

    /// Gives it to those who have room. `false`: all have it, or are given up.
    fn is_under_way(&mut self) -> bool {
        let command = &self.command;
        self.to.retain(|(_, worker)| {
            matches!(worker.try_send(command.clone()), Err(mpsc::error::TrySendError::Full(_)))
        });
        if self.to.is_empty() || clock::now().since(self.began) < ROOM {
            return !self.to.is_empty();
        }
        for (worker, _) in &self.to {
            tracing::error!(worker, "a worker hangs: it does not hear an order");
        }
        false
    }
}

/// What was left when a worker ended, and was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Tunnels.
    pub tunnels: usize,
    /// Exchanges.
    pub exchanges: usize,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: JoinHandle<Left>,
    commands: mpsc::Sender<Command>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(ORDERS);
        let (report, ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("worker-{}", parts.number)).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime: LocalRuntime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return Left::default();
                }
            };
            // Whoever started it hears of success as soon as the loop can run.
            let _ = report.send(Ok(()));
            let pulse = parts.pulse.clone();
            let left = live(runtime, work(parts, inbox));
            pulse.end();
            left
        })?;
        match ready.recv() {
            Ok(result) => result.map(|()| Worker { thread, commands }),
            Err(_) => Err(io::Error::other("the worker's thread ended before it began")),
        }
    }

    /// Waits for the end of all, but not for that of one that hangs: they are to have ended after `within`. What was left of them.
    pub fn join_all(workers: Vec<Self>, within: Duration) -> Left {
        let (began, patience) = (clock::now(), within.saturating_add(JOIN));
        let mut left = Left::default();
        for Worker { thread, commands } in workers {
            drop(commands);
            while !thread.is_finished() && clock::now().since(began) < patience {
                thread::sleep(ROOM_LOOK);
            }
            if !thread.is_finished() {
                tracing::error!("a worker hangs: it is left as it is");
            } else if let Ok(Left { tunnels, exchanges }) = thread.join() {
                left.tunnels += tunnels;
                left.exchanges += exchanges;
            } else {
                tracing::error!("a worker panicked");
            }
        }
        left
    }
}

/// Runs a worker's life to its end. A resolver that does not answer is not waited for.
fn live<T>(runtime: LocalRuntime, life: impl Future<Output = T>) -> T {
    let left = runtime.block_on(life);
    runtime.shutdown_background();
    left
}

async fn work(parts: Parts, mut inbox: mpsc::Receiver<Command>) -> Left {
    let Parts { number, listeners, shared, permits, pulse } = parts;
    let ctx = Rc::new(Context::new(number, shared));
    tokio::task::spawn_local(timer::drive());
    tokio::task::spawn_local(sweep(ctx.clone(), pulse));
    let mut doors = Doors::new(listeners, ctx.clone(), permits);
    let mut drains = HashMap::new();
    let mut send_off: Option<tokio::task::JoinHandle<()>> = None;
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Close(closing) => {
                drop(tokio::task::spawn_local(closing::close(ctx.clone(), closing)));
            }
            Command::CloseIdlest(idlest) => {
                drop(tokio::task::spawn_local(closing::close_idlest(ctx.clone(), idlest)));
            }
            Command::List(list) => drop(tokio::task::spawn_local(census::list(ctx.clone(), list))),
            Command::Pick(pick) => drop(tokio::task::spawn_local(census::pick(ctx.clone(), pick))),
            Command::CloseAt(close) => census::close_at(&ctx, close),
            Command::Drain(drain) => {
                let task = tokio::task::spawn_local(closing::drain(ctx.clone(), drain));
                if let Some(before) = drains.insert(drain.instance, task) {
                    before.abort();
                }
            }
            Command::Keep(instance) => {
                if let Some(task) = drains.remove(&instance) {
                    task.abort();
                }
            }
            Command::Prepare(done) => drop(done.try_send(doors.prepare())),
            Command::Accept(done) => drop(done.try_send(doors.open().await)),
            Command::Pause(done) => {
                doors.pause().await;
                let _ = done.try_send(Ok(()));
            }
            Command::Linger(without) => {
                ctx.lingering.set(true);
                doors.close(&without).await;
            }
            Command::Retire => ctx.retiring.set(true),
            Command::SendOff { begins, spread, reason } => {
                let task = tokio::task::spawn_local(closing::send_off(ctx.clone(), begins, spread, reason));
                if let Some(before) = send_off.replace(task) {
                    before.abort();
                }
            }
            Command::Return => {
                ctx.retiring.set(false);
                if let Some(task) = send_off.take() {
                    task.abort();
                }
            }
            Command::Stop { spread, deadline } => {
                // Whoever connects is refused from now on.
                doors.close(&[]).await;
                if let Some(task) = send_off.take() {
                    task.abort();
                }
                return closing::stop(&ctx, spread, deadline).await;
            }
        }
    }
    Left::default()
}

/// Closes connections to instances that nobody has used for a while, and forgets sessions that have ended. As it comes by
/// regularly, it is also what shows that the worker goes on.
async fn sweep(ctx: Rc<Context>, pulse: Arc<Pulse>) {
    loop {
        pulse.beat();
        timer::sleep(SWEEP).await;
        // One worker does it for all; in small steps, as others wait meanwhile.
        while ctx.worker == 0 && ctx.sids.sweep(clock::coarse().since_boot(), SWEEP_SIDS) == SWEEP_SIDS {
            tokio::task::yield_now().await;
        }
        if !ctx.pool.is_empty() {
            let generation = ctx.generation();
            ctx.pool.sweep(|id| {
                generation.upstreams.iter().find_map(|upstream| {
                    let instance = upstream.instances.iter().find(|instance| instance.id == id)?;
                    Some((instance.endpoint.number, upstream.config.timeouts.upstream_idle))
                })
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// The regression: a stop lasted for as long as the resolver was silent, whatever the deadline.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "names are looked up on such threads")]
    fn a_resolver_that_hangs_does_not_hold_a_stop() {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        let (answer, silence) = sync_channel::<()>(0);
        let (ended, end) = sync_channel(1);
        live(runtime, async move {
            // Only a failing test is ever that patient.
            tokio::task::spawn_blocking(move || {
                let _ = silence.recv_timeout(Duration::from_secs(2));
                let _ = ended.send(());
            });
        });
        assert!(end.try_recv().is_err(), "it was waited for");
        drop(answer);
    }

    /// A worker that hangs keeps nobody waiting for ever, also when its orders pile up, and the others are heard.
    #[tokio::test(flavor = "current_thread")]
    #[expect(clippy::disallowed_methods, reason = "it stands for a worker")]
    async fn who_does_not_answer_is_known_by_its_number() {
        let (hangs, _inbox) = mpsc::channel(1);
        let (answers, mut orders) = mpsc::channel(1);
        let (ended, _) = mpsc::channel(1);
        let all = Orders(vec![hangs, answers, ended]);
        let answering = tokio::task::spawn(async move {
            while let Some(Command::CloseAt(close)) = orders.recv().await {
                close.answer.send(vec![true]).await.unwrap();
            }
        });
        let question = |_, answer| {
            let order = crate::tunnel::Order::of(crate::tunnel::Reason::Command);
            Command::CloseAt(CloseAt { places: vec![], order, answer })
        };
        for _ in 0..3 {
            let answers = all.ask(Duration::from_millis(20), question).await;
            assert_eq!(answers, [None, Some(vec![true]), None]);
        }
        drop(all);
        answering.await.unwrap();
    }

    /// The regression: questions to a worker that hangs filled its inbox, and whoever had an order for all then waited for ever: the
    /// health of instances, a stop.
    #[tokio::test(flavor = "current_thread")]
    async fn a_worker_that_hangs_holds_up_no_order_to_others() {
        let (hangs, mut inbox) = mpsc::channel(ORDERS);
        let (lives, orders) = mpsc::channel(10 * ORDERS);
        let all = Orders(vec![hangs, lives]);
        let question = |_, answer: mpsc::Sender<Vec<bool>>| {
            let order = crate::tunnel::Order::of(crate::tunnel::Reason::Command);
            Command::CloseAt(CloseAt { places: vec![], order, answer })
        };
        for _ in 0..2 * ORDERS {
            all.ask(Duration::from_millis(5), question).await;
        }
        assert_eq!(inbox.len(), ORDERS / 2, "orders have room");
        let asked = orders.len();
        for _ in 0..ORDERS {
            all.send_blocking(Command::Retire);
            if inbox.len() == ORDERS {
                break;
            }
        }
        all.send_blocking(Command::Return);
        assert_eq!(orders.len(), asked + ORDERS / 2 + 1, "whoever lives hears all");
        while inbox.try_recv().is_ok() {}
        all.send(Command::Return).await;
        assert!(matches!(inbox.try_recv(), Ok(Command::Return)));
    }

    /// The regression: a worker that hung held an upgrade, and every command behind it, for ever, with nobody accepting.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it stands for a worker")]
    fn who_settles_waits_for_a_while() {
        let within = Duration::from_millis(300);
        let (hangs, _inbox) = mpsc::channel(1);
        let (answers, mut orders) = mpsc::channel(1);
        let (ended, _) = mpsc::channel(1);
        let answering = thread::spawn(move || {
            let mut count = 0;
            while let Some(Command::Pause(done) | Command::Accept(done)) = orders.blocking_recv() {
                count += 1;
                let answer = if count < 4 { Ok(()) } else { Err(io::Error::other("no descriptor")) };
                done.try_send(answer).unwrap();
            }
            count
        });
        let check = |workers: &[&mpsc::Sender<Command>], command, expected: Option<io::ErrorKind>| {
            let all = Orders(workers.iter().map(|worker| (*worker).clone()).collect());
            assert_eq!(all.settle(within, command).err().map(|error| error.kind()), expected);
        };
        check(&[&answers, &ended], Command::Pause, None);
        // Its queue is full from the second time on.
        check(&[&hangs, &answers], Command::Pause, Some(io::ErrorKind::TimedOut));
        check(&[&hangs, &answers, &ended], Command::Accept, Some(io::ErrorKind::TimedOut));
        check(&[&answers], Command::Accept, Some(io::ErrorKind::Other));
        drop(answers);
        assert_eq!(answering.join().unwrap(), 4, "the others hear of it all the same");
        // Questions that wait leave room for it: whoever hangs hears it when it goes on.
        let (hangs, inbox) = mpsc::channel(ORDERS);
        (0..ORDERS / 2).for_each(|_| hangs.try_send(Command::Retire).unwrap());
        check(&[&hangs], Command::Accept, Some(io::ErrorKind::TimedOut));
        assert_eq!(inbox.len(), ORDERS / 2 + 1);
    }
}
