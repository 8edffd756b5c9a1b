//! The process that hands over: starts the new binary, gives it everything, and lingers once that serves. Until then it can take back
//! what it gave: whatever goes wrong, it serves on.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command as Program};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::HANDOVER;
use super::channel::Channel;
use super::estate::{Estate, descriptors, find, left};
use super::lingering::Elders;
use super::wire::{
    Answered, DESCRIPTORS, Elder, Hello, Life, Offered, Sid, Sockets, VERSION, With, decode, encode,
    in_pieces,
};
use crate::affinity::sid::table::{Known, SidKey};
use crate::control::publisher::Publisher;
use crate::http::heir::{Place, Successor};
use crate::local::clock::{self, Moment};
use crate::upstream::load::Home;
use crate::worker::{Command, Orders};

/// A session that begins here is passed on only when the new process knows it; but no worker waits longer for that.
const HEARD: Duration = Duration::from_millis(50);

/// What is left of its time when the new process is to accept; it does so at once, or something is wrong.
const LAST: Duration = Duration::from_secs(5);

/// Lines of its standard error that are kept.
const LINES: usize = 20;

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
#[expect(dead_code, reason = "its end is what is seen")]
pub(in crate::control) struct Open(Channel);

/// Why not. This process serves on.
#[derive(Debug)]
pub(in crate::control) enum Refused {
    /// The new process does not take the configuration.
    Configuration(String),
    Otherwise(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Otherwise(error.to_string())
    }
}

/// How a program is started as this process was.
#[derive(Clone, Debug)]
pub(in crate::control) struct Started {
    binary: PathBuf,
    arguments: Vec<OsString>,
}

impl Started {
    /// As this process was; to be asked before it changes its directory. The name by which it was called, and not the file that it
    /// is: a link leads to the new binary.
    pub(in crate::control) fn as_it_was() -> Self {
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from).unwrap_or_default();
        let binary = if called.components().count() > 1 {
            std::path::absolute(&called).ok()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(&called)).find(|file| file.is_file())
        };
        let binary = binary.filter(|file| file.exists()).or_else(|| std::env::current_exe().ok());
        Started { binary: binary.unwrap_or(called), arguments: arguments.collect() }
    }
}

/// Hands over to `binary`, or the one that this process was started from. `within`: the new process has so long to be ready. `ready`:
/// this process is not about to stop.
///
/// # Errors
/// Why not; nothing has changed.
pub(in crate::control) fn hand_over(
    estate: &Estate,
    orders: &Orders,
    elders: &Elders,
    started: &Started,
    ready: &AtomicBool,
    binary: Option<&Path>,
    within: Duration,
) -> Result<(Handed, Child, Open), Refused> {
    let until = clock::now().after(within);
    // No reload and no command meanwhile: what they decide would be lost.
    let _alone = estate.publisher.alone();
    let binary = binary.unwrap_or(&started.binary);
    let mut heir = Heir::start(binary, &started.arguments)?;
    let mut paused = false;
    let handed = give(&mut heir, estate, orders, elders, ready, until, &mut paused);
    let error = match handed {
        Ok(handed) => return Ok((handed, heir.child, Open(heir.channel))),
        Err(error) => error,
    };
    estate.shared.heir.is_gone();
    heir.end();
    if let Some(admin) = estate.admin()
        && let Err(error) = admin.put()
    {
        tracing::error!(%error, "the admin socket is not where it belongs");
    }
    if paused && let Err(error) = orders.settle(Command::Accept) {
        tracing::error!(%error, "a worker does not accept");
    }
    Err(heir.explain(binary, error))
}

/// The steps of `wire`'s picture. `paused`: this process accepts no more.
fn give(
    heir: &mut Heir,
    estate: &Estate,
    orders: &Orders,
    elders: &Elders,
    ready: &AtomicBool,
    until: Moment,
    paused: &mut bool,
) -> Result<Handed, Wrong> {
    let (later, theirs) = Channel::pair()?;
    later.within(HEARD)?;
    heir.until = until;
    greet(heir, estate, elders, theirs)?;
    let mut begun = Vec::new();
    let since = Arc::new(Mutex::new(Vec::new()));
    // What is learned while the table is read, which takes its time.
    estate.shared.heir.is(Notes { since: since.clone(), most: estate.shared.sids.capacity() });
    in_pieces(estate.instances(), Offered::Instances, |piece| heir.say(piece))?;
    let mut sids = estate.sids(|piece| in_pieces(piece, Offered::Sids, |piece| heir.say(piece)))?;
    in_pieces(estate.resting(), Offered::Resting, |piece| heir.say(piece))?;
    heir.say(&Offered::All)?;
    heir.hear(&Answered::Ready)?;

    let pause = clock::now();
    heir.until = until.min(pause.after(LAST)).max(pause.after(LAST / 5));
    *paused = true;
    orders.settle(Command::Pause)?;
    // Whatever is learned from now on it hears at once.
    estate.shared.heir.is(Line { later, publisher: estate.publisher.clone() });
    begun.append(&mut *since.lock().unwrap_or_else(PoisonError::into_inner));
    sids += begun.len() as u64;
    in_pieces(begun, Offered::Sids, |piece| heir.say(piece))?;
    in_pieces(estate.instances(), Offered::Instances, |piece| heir.say(piece))?;
    if let Some(admin) = estate.admin() {
        admin.step_aside()?;
    }
    if !ready.load(Ordering::Relaxed) {
        return Err(Wrong::Other("this process is stopping".to_owned()));
    }
    heir.say(&Offered::Go)?;
    heir.hear(&Answered::Serving)?;
    Ok(Handed { to: heir.child.id(), sids, paused: clock::now().since(pause) })
}

/// Who this is, and its sockets.
fn greet(heir: &Heir, estate: &Estate, elders: &Elders, later: Channel) -> Result<(), Wrong> {
    let goods = estate.goods();
    let (stderr, later) = (io::stderr(), later.into_descriptor());
    let mut passed = vec![(With::Stderr, stderr.as_fd()), (With::Later, later.as_fd())];
    passed.extend(goods.lock.as_ref().map(|lock| (With::Lock, lock.as_fd())));
    let mut those = elders.all();
    if let Some(admin) = estate.admin() {
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
    };
    heir.give(&Offered::Hello(hello), &passed)?;
    for listener in &goods.listeners {
        let descriptors = descriptors(&listener.sockets);
        for (number, some) in descriptors.chunks(DESCRIPTORS).enumerate() {
            let sockets = Sockets { of: listener.called.clone(), first: number == 0, kept: listener.kept };
            heir.give(&Offered::Sockets(sockets), some)?;
        }
    }
    for (called, socket) in &goods.pages {
        heir.give(&Offered::Page(called.clone()), &[socket.as_fd()])?;
    }
    heir.say(&Offered::All)
}

fn named(known: &Known<Place<'_>>) -> Sid {
    let Place { upstream, instance, sid_hash } = known.home;
    Sid::of(known, (&upstream.config.name, &instance.name), Life::Polling, sid_hash)
}

/// Writes down what has begun.
struct Notes {
    since: Arc<Mutex<Vec<Sid>>>,
    most: usize,
}

impl Successor for Notes {
    fn hears(&mut self, known: &Known<Place<'_>>) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.push(named(known));
        since.len() < self.most
    }

    fn knows(&mut self, _: SidKey) -> Option<Known<Home>> {
        None
    }
}

/// The way to the process that serves.
struct Line {
    later: Channel,
    publisher: Arc<Publisher>,
}

impl Line {
    /// Says something, and waits for an answer for which `of` gives something. Those that were late before are passed over.
    fn asks<T>(&self, message: &Offered, of: impl Fn(Answered) -> Option<T>) -> io::Result<T> {
        self.later.send(&encode(message), &[])?;
        loop {
            let received = self.later.receive()?.ok_or(io::ErrorKind::BrokenPipe)?;
            if let Ok(answer) = decode(&received.bytes)
                && let Some(of) = of(answer)
            {
                return Ok(of);
            }
        }
    }
}

impl Successor for Line {
    fn hears(&mut self, known: &Known<Place<'_>>) -> bool {
        let heard =
            self.asks(&Offered::Sids(vec![named(known)]), |answer| (answer == Answered::Heard).then_some(()));
        // One that is late is told of the next all the same. One that has ended is not.
        heard.map_or_else(|error| error.kind() == io::ErrorKind::TimedOut, |()| true)
    }

    fn knows(&mut self, key: SidKey) -> Option<Known<Home>> {
        let answered = self.asks(&Offered::Ask(key.number()), |answer| match answer {
            Answered::Known { of, sid } if of == key.number() => Some(sid),
            _ => None,
        });
        let sid = *answered.ok()??;
        let generation = self.publisher.current();
        let instance = find(&generation, &sid.upstream, &sid.instance)?.clone();
        let home = Home::living(instance, sid.by.into(), sid.hash);
        Some(sid.known(home))
    }
}

/// What went wrong.
#[derive(Debug)]
enum Wrong {
    /// It said so.
    Failed {
        code: u8,
        why: String,
    },
    /// It ended.
    Ended,
    Late,
    Other(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Wrong::Late,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Wrong::Ended,
            _ => Wrong::Other(error.to_string()),
        }
    }
}

/// The new process.
struct Heir {
    child: Child,
    channel: Channel,
    /// Whatever is not done by then is late.
    until: Moment,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Heir {
    fn start(binary: &Path, arguments: &[OsString]) -> Result<Self, Refused> {
        let (channel, theirs) = Channel::pair()?;
        let mut program = Program::new(binary);
        program.args(arguments).env(HANDOVER, VERSION.to_string());
        // Those are for one process, by its number; it is given its sockets otherwise.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            program.env_remove(variable);
        }
        program.stdin(theirs.into_descriptor()).stderr(std::process::Stdio::piped());
        let child = program
            .spawn()
            .map_err(|error| Refused::Otherwise(format!("cannot start {}: {error}", binary.display())));
        let mut child = child?;
        tracing::info!(binary = %binary.display(), pid = child.id(), "the new process is started");
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            let lines = lines.clone();
            let copy = move || copy(stderr, &lines);
            std::thread::Builder::new().name("heir".to_owned()).spawn(copy)?;
        }
        Ok(Heir { child, channel, until: clock::now(), lines })
    }

    fn say(&self, message: &Offered) -> Result<(), Wrong> {
        self.give(message, &[])
    }

    fn give(&self, message: &Offered, descriptors: &[BorrowedFd<'_>]) -> Result<(), Wrong> {
        self.channel.within(left(self.until))?;
        match self.channel.send(&encode(message), descriptors) {
            // It may have said why.
            Err(error) if error.kind() != io::ErrorKind::TimedOut => match self.next() {
                Ok(other) => Err(unexpected(other)),
                Err(Wrong::Ended) => Err(error.into()),
                Err(wrong) => Err(wrong),
            },
            other => Ok(other?),
        }
    }

    fn hear(&self, wanted: &Answered) -> Result<(), Wrong> {
        let answer = self.next()?;
        if answer == *wanted { Ok(()) } else { Err(unexpected(answer)) }
    }

    fn next(&self) -> Result<Answered, Wrong> {
        self.channel.within(left(self.until))?;
        let received = self.channel.receive()?.ok_or(Wrong::Ended)?;
        decode(&received.bytes).map_err(Wrong::Other)
    }

    /// It is not to go on.
    fn end(&mut self) {
        // By itself, if it has said that it does; it may still write down why.
        let until = clock::now().after(Duration::from_millis(300));
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && !left(until).is_zero() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // An error: it has ended.
        let _ = self.child.kill();
    }

    fn explain(&mut self, binary: &Path, wrong: Wrong) -> Refused {
        let status = self.child.wait();
        // What it wrote last may be on its way.
        std::thread::sleep(Duration::from_millis(20));
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
        let said = if said.is_empty() { said } else { format!("; it said:\n  {said}") };
        let who = binary.display();
        let why = match wrong {
            Wrong::Failed { code: 78, why } => return Refused::Configuration(why),
            Wrong::Failed { why, .. } => why,
            Wrong::Ended => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                format!("{who} ended before it took over ({how}){said}")
            }
            Wrong::Late => format!("{who} was not ready in time, and was ended (--timeout){said}"),
            Wrong::Other(why) => format!("{who}: {why}{said}"),
        };
        tracing::error!(why, "the upgrade failed: this process serves on");
        Refused::Otherwise(why)
    }
}

fn unexpected(answer: Answered) -> Wrong {
    match answer {
        Answered::Failed { code, why } => Wrong::Failed { code, why },
        other => Wrong::Other(format!("it says {other:?}, which is not expected now")),
    }
}

/// What it writes goes where our own does, until it has that descriptor itself; the last lines are kept.
fn copy(stderr: ChildStderr, lines: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let _ = writeln!(io::stderr(), "{line}");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Whether a file can be a program at all: what people mistype is told before anything is begun.
///
/// # Errors
/// What is wrong with it.
pub(in crate::control) fn check(binary: &Path) -> Result<(), String> {
    let found = fs::metadata(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    if found.is_file() { Ok(()) } else { Err(format!("{} is no file", binary.display())) }
}
