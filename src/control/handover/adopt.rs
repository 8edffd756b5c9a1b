//! The process that takes over: what it is given, and when it may begin.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::HANDOVER;
use super::channel::Channel;
use super::intake::{as_it_was, hear, learn, members, rest};
use super::wire::{
    Answered, Elder, Hello, Instance, Offered, Retired, Serving, VERSION, With, decode, encode,
};
use crate::affinity::sid::table::Secret;
use crate::control::lock::Lock;
use crate::control::publisher::Publisher;
use crate::generation::Generation;
use crate::http::Shared;
use crate::listener::inherited::Inherited;
use crate::upstream::expand::Members;
use crate::worker::Command;

/// Whoever hands over is quicker, or has ended.
const PATIENCE: Duration = Duration::from_mins(2);

/// The service manager is told at once.
const KNOWN: Duration = Duration::from_secs(2);

/// What this process takes over.
#[derive(Debug)]
pub struct Adoption {
    channel: Channel,
    later: Option<Channel>,
    lock: Option<OwnedFd>,
    hello: Hello,
    sockets: Vec<Passed>,
    pages: Vec<(String, OwnedFd)>,
    instances: HashMap<(String, String), Instance>,
    /// Listeners that nobody has asked for.
    without: Vec<String>,
}

impl Adoption {
    /// What another process hands over to this one; `None`: it was started by somebody else. To be asked first of all: standard error
    /// is what that process has.
    ///
    /// # Errors
    /// What went wrong. Whoever hands over sees that it does.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(version) = std::env::var_os(HANDOVER) else { return Ok(None) };
        if version.to_str() != Some(&VERSION.to_string()) {
            return Err(io::Error::other(format!(
                "{HANDOVER} says {}, which this version does not know",
                version.display()
            )));
        }
        let channel = Channel::of(io::stdin().as_fd().try_clone_to_owned()?);
        let channel =
            channel.map_err(|_| io::Error::other(format!("{HANDOVER} is set, and nobody hands over")))?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        channel.within(PATIENCE)?;
        match Self::begin(&channel) {
            Ok((hello, (later, lock), sockets, pages)) => {
                let (instances, without) = (HashMap::new(), Vec::new());
                Ok(Some(Adoption { channel, later, lock, hello, sockets, pages, instances, without }))
            }
            Err(error) => {
                failed(&channel, 1, error.to_string());
                Err(error)
            }
        }
    }

    fn begin(channel: &Channel) -> io::Result<Begun> {
        let (first, descriptors) = next(channel)?;
        let Offered::Hello(hello) = first else { return Err(unexpected(&first)) };
        if hello.version != VERSION || hello.with.len() != descriptors.len() {
            return Err(io::Error::other(format!("version {} is not understood", hello.version)));
        }
        let (mut later, mut lock) = (None, None);
        for (with, descriptor) in hello.with.iter().zip(descriptors) {
            match with {
                With::Stderr => rustix::stdio::dup2_stderr(descriptor)?,
                With::Later => later = Some(Channel::of(descriptor)?),
                With::Lock => lock = Some(descriptor),
            }
        }
        let (mut sockets, mut pages): (Vec<Passed>, Vec<_>) = (Vec::new(), Vec::new());
        loop {
            match next(channel)? {
                (Offered::Sockets(some), descriptors) => match sockets.last_mut() {
                    Some(last) if !some.first => last.sockets.extend(descriptors),
                    _ => sockets.push(Passed { of: some.of, kept: some.kept, sockets: descriptors }),
                },
                (Offered::Page(called), mut descriptors) => {
                    pages.extend(descriptors.pop().map(|descriptor| (called, descriptor)));
                }
                (Offered::All, _) => return Ok((hello, (later, lock), sockets, pages)),
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }

    /// Says that this process gives up, with this exit code.
    pub fn failed(&self, code: u8, why: String) {
        failed(&self.channel, code, why);
    }

    /// Whoever says so when the rest of this is gone; `None`: there is no descriptor left.
    pub(in crate::control) fn teller(&self) -> Option<Teller> {
        let channel = self.channel.as_fd().try_clone_to_owned().ok()?;
        Channel::of(channel).ok().map(Teller)
    }

    /// Under which learned sids are known.
    pub(in crate::control) fn secret(&self) -> Secret {
        Secret::of(self.hello.secret)
    }

    /// Where the other one takes commands.
    pub(in crate::control) fn commands(&self) -> Option<&Path> {
        self.hello.commands.as_deref()
    }

    /// How the other one has left a balancer's rotation; `None`: it has not.
    pub(in crate::control) fn retired(&self) -> Option<Retired> {
        self.hello.retired
    }

    /// The configuration does not have these of its listeners.
    pub(in crate::control) fn is_without(&mut self, left: &[Inherited]) {
        self.without = left.iter().map(|one| one.name.clone()).collect();
        self.without.dedup();
    }

    /// Those who linger.
    pub(in crate::control) fn elders(&self) -> Vec<Elder> {
        self.hello.elders.clone()
    }

    /// The lock against a second start.
    pub(in crate::control) fn lock(&mut self) -> Option<Lock> {
        self.lock.take().map(Lock::taken_over)
    }

    /// All sockets of listeners.
    pub(in crate::control) fn listeners(&mut self) -> Vec<Inherited> {
        let each = |Passed { of, kept, sockets }: Passed| {
            sockets.into_iter().map(move |socket| Inherited { name: of.clone(), socket, kept })
        };
        std::mem::take(&mut self.sockets).into_iter().flat_map(each).collect()
    }

    /// The listener of metrics or of the status page that is called so, if there is one.
    pub(in crate::control) fn page(&mut self, called: &str) -> Option<TcpListener> {
        let place = self.pages.iter().position(|(known, _)| known == called)?;
        Some(TcpListener::from(self.pages.swap_remove(place).1))
    }

    /// The same generation, with the members that its names have.
    pub(in crate::control) fn with_members(&self, generation: Generation) -> Generation {
        let upstreams = generation.config.upstreams.iter().zip(&generation.upstreams);
        let upstreams = upstreams.map(|(file, upstream)| {
            let members = members(&self.hello.members, &upstream.config.name).kept_by(file);
            if members == Members::default() {
                return upstream.clone();
            }
            Arc::new(upstream.with_members(file.clone(), members))
        });
        let upstreams = upstreams.collect();
        Generation { upstreams, ..generation }
    }

    /// Takes in what was learned. From then on sessions are heard of that begin at the other process later.
    ///
    /// # Errors
    /// When this process is not to go on.
    pub(in crate::control) fn learns(
        &mut self,
        shared: &Shared,
        publisher: &Arc<Publisher>,
    ) -> io::Result<()> {
        while !self.take_in(shared, publisher, &Offered::All)? {}
        if let Some(later) = self.later.take() {
            let (shared, publisher) = (shared.clone(), publisher.clone());
            let hear = move || hear(&later, &shared, &publisher);
            thread::Builder::new().name("elder".to_owned()).spawn(hear)?;
        }
        Ok(())
    }

    /// Says that this process is ready, and waits until it is to accept.
    ///
    /// # Errors
    /// When it is not to.
    pub(in crate::control) fn is_ready(&mut self, shared: &Shared, publisher: &Publisher) -> io::Result<()> {
        self.channel.send(&encode(&Answered::Ready { pid: std::process::id() }), &[])?;
        while !self.take_in(shared, publisher, &Offered::Go)? {}
        Ok(())
    }

    /// One message; `true`: it was the last.
    fn take_in(&mut self, shared: &Shared, publisher: &Publisher, last: &Offered) -> io::Result<bool> {
        match next(&self.channel)?.0 {
            Offered::Instances(some) => {
                let named = |one: Instance| ((one.upstream.clone(), one.name.clone()), one);
                self.instances.extend(some.into_iter().map(named));
            }
            Offered::Sids(some) => learn(some, shared, &publisher.current()),
            Offered::Resting(some) => rest(&some, shared, &publisher.current()),
            other if other == *last => return Ok(true),
            other => return Err(unexpected(&other)),
        }
        Ok(false)
    }

    /// Instances are as they were; drains that have begun there go on. What the workers have to do for that.
    pub(in crate::control) fn instances(&self, generation: &Generation) -> Vec<Command> {
        let mut commands = Vec::new();
        for upstream in &generation.upstreams {
            for instance in upstream.named() {
                let known = (upstream.config.name.clone(), instance.name.clone());
                if let Some(known) = self.instances.get(&known) {
                    commands.extend(as_it_was(upstream, instance, known));
                }
            }
        }
        commands
    }

    /// Says that this process serves; it has to accept then. `commands`: where it takes them.
    ///
    /// # Errors
    /// The other one does not hear it, and serves on.
    pub(in crate::control) fn serves(&mut self, commands: Option<PathBuf>) -> io::Result<()> {
        let serving = Serving { commands, without: std::mem::take(&mut self.without) };
        match self.channel.send(&encode(&Answered::Serving(serving)), &[]) {
            Err(error) if self.is_alone() => {
                tracing::warn!(%error, "the process that handed over has ended");
                Ok(())
            }
            said => said,
        }
    }

    /// Whoever handed over has ended: nobody else serves.
    fn is_alone(&self) -> bool {
        let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get().cast_unsigned());
        parent != Some(self.hello.pid)
    }

    /// Waits until the service manager knows. An end of the other one is no reason to end too.
    pub(in crate::control) fn waits_until_main(self) {
        let known = self.channel.within(KNOWN).and_then(|()| self.channel.receive());
        if let Err(error) = known {
            tracing::warn!(%error, "the process that handed over is not done with it");
        }
    }
}

/// Says that this process gives up.
#[derive(Debug)]
pub(in crate::control) struct Teller(Channel);

impl Teller {
    /// With this exit code.
    pub(in crate::control) fn failed(&self, code: u8, why: String) {
        failed(&self.0, code, why);
    }
}

fn failed(channel: &Channel, code: u8, why: String) {
    // An error: nobody is there any more.
    let _ = channel.send(&encode(&Answered::Failed { code, why }), &[]);
}

/// What comes first.
type Begun = (Hello, (Option<Channel>, Option<OwnedFd>), Vec<Passed>, Vec<(String, OwnedFd)>);

/// The sockets of a listener.
#[derive(Debug)]
struct Passed {
    /// What the file calls it.
    of: String,
    kept: bool,
    sockets: Vec<OwnedFd>,
}

fn next(channel: &Channel) -> io::Result<(Offered, Vec<OwnedFd>)> {
    let ended = || io::Error::other("the process that hands over has taken back what it gave, or has ended");
    let received = channel.receive()?.ok_or_else(ended)?;
    let message = decode(&received.bytes).map_err(io::Error::other)?;
    Ok((message, received.descriptors))
}

fn unexpected(message: &Offered) -> io::Error {
    let text = format!("{message:?}");
    let begin: String = text.chars().take(40).collect();
    io::Error::other(format!("{begin} is not expected now"))
}
