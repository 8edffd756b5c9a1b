//! Level-triggered epoll, as small as the load generator and the instance need it. Knows nothing of what is read.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Most events that one wait returns.
const EVENTS: usize = 256;

/// What a socket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Bytes to read.
    Read,
    /// Room to write, and nothing else: whoever cannot write does not read either.
    Write,
    /// Both: a client in the middle of a large message must take the answer while it is still sending.
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// One socket is ready. Errors and hang-ups show as both: the next read or write says what it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What the socket was added with.
    pub(crate) token: usize,
    /// A read will not block.
    pub(crate) read: bool,
    /// A write will not block.
    pub(crate) write: bool,
}

/// An epoll set.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// An empty set.
    pub(crate) fn new() -> Result<Poll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create1")?;
        Ok(Poll { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Adds a socket. Closing it takes it out again.
    pub(crate) fn add(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), interest.flags())
            .context("epoll add")
    }

    /// Changes what a socket waits for.
    pub(crate) fn change(&self, socket: impl AsFd, token: usize, interest: Interest) -> Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(token as u64), interest.flags())
            .context("epoll modify")
    }

    /// Waits for at most `timeout` and replaces the content of `ready`. A signal ends the wait with none.
    pub(crate) fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Duration) -> Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = Timespec::try_from(timeout).context("time-out out of range")?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        ready.extend(self.events.iter().map(|event| {
            // The struct is packed: its fields are copied, not borrowed.
            let (flags, data) = (event.flags, event.data);
            let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: usize::try_from(data.u64()).unwrap_or(usize::MAX),
                read: broken || flags.contains(EventFlags::IN),
                write: broken || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
