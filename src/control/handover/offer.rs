//! The process that hands over: starts the new binary, gives it everything, and lingers once that serves. Until then it can take back
//! what it gave: whatever goes wrong, it serves on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use super::channel::Channel;
use super::elders::Elders;
use super::estate::{Estate, descriptors};
use super::heir::{Heir, Refused, Started, Wrong};
use super::line::{Begun, Line};
use super::under_way::Way;
use super::wire::{DESCRIPTORS, Elder, Hello, Offered, Retired, Serving, Sockets, VERSION, With, in_pieces};
use crate::local::clock::{self, Moment};
use crate::worker::{Command, Orders};

/// What the new process has left of its time when it is to accept, whenever that is; it does so at once, or something is wrong.
const LAST: Duration = Duration::from_secs(5);

/// For the workers, to accept or not.
const SETTLE: Duration = Duration::from_secs(3);

/// Who handed over to whom, and how that went.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Handed {
    pub(in crate::control) to: u32,
    /// Learned sids that went with it.
    pub(in crate::control) sids: u64,
    /// Clients waited so long in the kernel's queue.
    pub(in crate::control) paused: Duration,
}

/// While it is there the new process does not believe that it is the main one.
#[derive(Debug)]
pub(in crate::control) struct Open(Channel);

impl Drop for Open {
    fn drop(&mut self) {
        // An error: it has ended, and believes nothing.
        let _ = self.0.end();
    }
}

/// Who hands over, and with what.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Giver<'g> {
    pub(in crate::control) estate: &'g Estate,
    pub(in crate::control) orders: &'g Orders,
    pub(in crate::control) elders: &'g Elders,
    /// A stop breaks it off.
    pub(in crate::control) way: &'g Way<'g>,
    /// How this process was started, and so the new one is.
    pub(in crate::control) started: &'g Started,
    /// It has left a balancer's rotation.
    pub(in crate::control) retired: Option<Retired>,
}

/// Hands over to `binary`, or the one that this process was started from. `within`: the new process has so long to be ready.
///
/// # Errors
/// Why not; nothing has changed.
pub(in crate::control) fn hand_over(
    giver: Giver<'_>,
    binary: Option<&Path>,
    within: Duration,
) -> Result<(Handed, Child, Open), Refused> {
    let until = clock::now().after(within);
    // No reload and no command meanwhile: what they decide would be lost.
    let _alone = giver.estate.publisher.alone();
    let mut heir = Heir::start(giver.started, binary, until)?;
    let mut steps = Steps { giver, paused: None, sids: 0 };
    let given = steps.give(&mut heir);
    // The last word is the new one's: what it may have said when nobody waited for it any more counts.
    let given = given.or_else(|wrong| heir.is_cut().map_err(|_| wrong));
    match given {
        Ok(serving) => {
            let handed = steps.handed(&heir, &serving);
            Ok((handed, heir.child, Open(heir.channel)))
        }
        Err(wrong) => Err(steps.take_back(heir, wrong)),
    }
}

/// The steps of `wire`'s picture, and how far they have come.
struct Steps<'g> {
    giver: Giver<'g>,
    /// This process accepts no more, since then.
    paused: Option<Moment>,
    sids: u64,
}

impl Steps<'_> {
    fn give(&mut self, heir: &mut Heir) -> Result<Serving, Wrong> {
        let Giver { estate, orders, way, .. } = self.giver;
        way.leads(heir.channel.try_clone()?);
        let (later, theirs) = Channel::pair()?;
        self.greet(heir, theirs)?;
        // What is learned while the table is read, which takes its time.
        let begun = Begun::at_most(estate.shared.sids.capacity());
        estate.shared.heir.is(begun.clone());
        in_pieces(estate.instances(), Offered::Instances, |piece| heir.say(piece))?;
        self.sids = estate.sids(|piece| in_pieces(piece, Offered::Sids, |piece| heir.say(piece)))?;
        in_pieces(estate.resting(), Offered::Resting, |piece| heir.say(piece))?;
        heir.say(&Offered::All)?;
        heir.is_ready()?;

        let pause = clock::now();
        self.paused = Some(pause);
        orders.settle(SETTLE, Command::Pause)?;
        heir.until = clock::now().after(LAST);
        // Whatever is learned from now on it hears at once.
        estate.shared.heir.is(Line::new(later, estate.publisher.clone()));
        estate.shared.heir.tell_load();
        let (keys, missed) = begun.take();
        if missed > 0 {
            tracing::warn!(missed, "sessions that began meanwhile are not passed on: they were too many");
        }
        let begun = estate.sids_of(&keys);
        self.sids += begun.len() as u64;
        in_pieces(begun, Offered::Sids, |piece| heir.say(piece))?;
        in_pieces(estate.instances(), Offered::Instances, |piece| heir.say(piece))?;
        in_pieces(estate.resting(), Offered::Resting, |piece| heir.say(piece))?;
        if let Some(admin) = estate.admin() {
            admin.step_aside()?;
        }
        heir.say(&Offered::Go)?;
        heir.serves()
    }

    /// Who this is, and its sockets.
    fn greet(&self, heir: &Heir, later: Channel) -> Result<(), Wrong> {
        let Giver { estate, elders, retired, .. } = self.giver;
        let goods = estate.goods();
        let (stderr, later) = (io::stderr(), later.into_descriptor());
        let mut passed = vec![(With::Stderr, stderr.as_fd()), (With::Later, later.as_fd())];
        passed.extend(goods.lock.as_ref().map(|lock| (With::Lock, lock.as_fd())));
        let mut those = elders.all();
        let admin = estate.admin();
        if let Some(admin) = &admin {
            those.push(Elder { pid: std::process::id(), socket: admin.aside() });
        }
        let (with, passed): (Vec<With>, Vec<BorrowedFd<'_>>) = passed.into_iter().unzip();
        let hello = Hello {
            version: VERSION,
            pid: std::process::id(),
            secret: estate.shared.sids.secret().words(),
            with,
            elders: those,
            members: estate.members(),
            commands: admin.map(|admin| admin.belongs_at()),
            retired,
        };
        heir.give(&Offered::Hello(hello), &passed)?;
        for listener in &goods.listeners {
            let descriptors = descriptors(&listener.sockets);
            let kept = listener.leaves.is_none();
            for (number, some) in descriptors.chunks(DESCRIPTORS).enumerate() {
                let sockets = Sockets { of: listener.called.clone(), first: number == 0, kept };
                heir.give(&Offered::Sockets(sockets), some)?;
            }
        }
        for (called, socket) in &goods.pages {
            heir.give(&Offered::Page(called.clone()), &[socket.as_fd()])?;
        }
        heir.say(&Offered::All)
    }

    /// It serves. Before anybody else decides anything: what is kept is its affair.
    fn handed(&self, heir: &Heir, serving: &Serving) -> Handed {
        let Giver { estate, orders, .. } = self.giver;
        let without = estate.give_up(&serving.without);
        orders.send_blocking(Command::Linger(without.into()));
        if let Some(admin) = estate.admin() {
            admin.is_followed_by(serving.commands.clone());
        }
        let paused = self.paused.map_or(Duration::ZERO, |pause| clock::now().since(pause));
        Handed { to: heir.child.id(), sids: self.sids, paused }
    }

    /// It does not serve, and cannot any more: this process goes on, and the other one ends.
    fn take_back(&self, mut heir: Heir, wrong: Wrong) -> Refused {
        let Giver { estate, orders, way, .. } = self.giver;
        // First of all: clients wait.
        if self.paused.is_some()
            && let Err(error) = orders.settle(SETTLE, Command::Accept)
        {
            tracing::error!(%error, "a worker does not accept");
        }
        estate.shared.heir.is_gone();
        let pid = heir.child.id();
        let status = heir.end();
        if let Some(admin) = estate.admin()
            && let Err(error) = admin.is_back(pid)
        {
            tracing::error!(%error, "the admin socket is not where it belongs");
        }
        let why = if way.is_broken_off() {
            Refused::Otherwise("this process is stopping".to_owned())
        } else {
            heir.explain(wrong, status)
        };
        if let Refused::Otherwise(why) = &why {
            tracing::error!(why, "the upgrade failed: this process serves on");
        }
        why
    }
}
