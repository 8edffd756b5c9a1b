//! The processes: the proxy, instances; each ends when this program does, whatever ends it.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::sleep;

use crate::file;
use crate::http::Wire;

/// What takes longer on loopback has failed, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

/// One thread, so that what clients do costs the other processes little.
pub(crate) fn runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap()
}

/// Soft limit of open files up to the hard one; what is started inherits it.
pub(crate) fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // An error: then there are fewer, which will be seen.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// This process is killed when its parent ends.
pub(crate) fn end_with_parent() {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
}

/// `become`
pub(crate) fn become_program(program: &[String]) -> ExitCode {
    end_with_parent();
    let Some((name, arguments)) = program.split_first() else { return ExitCode::from(2) };
    let error = Command::new(name).args(arguments).exec();
    eprintln!("soak: {name}: {error}");
    ExitCode::FAILURE
}

/// A port of loopback, held while nobody listens there: connects are refused then, and nobody else gets it.
#[derive(Debug)]
struct Port {
    _held: Socket,
    address: SocketAddr,
}

impl Port {
    fn hold() -> io::Result<Self> {
        let held = shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = held.local_addr()?.as_socket().expect("an address of IPv4");
        Ok(Port { _held: held, address })
    }
}

fn shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Listens on a port that another process holds.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = shared(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

/// An instance: its port, and its process when there is one.
#[derive(Debug)]
struct Instance {
    port: Port,
    process: Option<Child>,
    lives: u32,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Site {
    directory: Option<TempDir>,
    stickyd: PathBuf,
    instances: Vec<Instance>,
    proxy: Option<Child>,
    /// The processes that took over from it, one after the other.
    heirs: Vec<Pid>,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Site {
    /// So many instances; neither they nor the proxy run yet.
    pub(crate) fn new(stickyd: Option<&Path>, instances: usize) -> io::Result<Self> {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let instance = |_| Ok(Instance { port: Port::hold()?, process: None, lives: 0 });
        Ok(Site {
            directory: Some(TempDir::with_prefix("stickyd-soak-")?),
            stickyd: stickyd.unwrap_or(Path::new(env!("CARGO_BIN_EXE_stickyd"))).to_owned(),
            instances: (0..instances).map(instance).collect::<io::Result<_>>()?,
            proxy: None,
            heirs: Vec::new(),
            address: nowhere,
            metrics: nowhere,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().expect("there until the end").path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.port.address).collect()
    }

    // Instances

    /// Starts the process of an instance, and does not wait for it.
    pub(crate) fn start(&mut self, slot: usize) -> io::Result<()> {
        let violations = self.path("violations");
        let log = File::options().append(true).create(true).open(self.path("instances.log"))?;
        let instance = &mut self.instances[slot];
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("instance").arg("--listen").arg(instance.port.address.to_string());
        command.arg("--slot").arg(slot.to_string()).arg("--life").arg(instance.lives.to_string());
        command.arg("--violations").arg(violations).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        instance.lives += 1;
        instance.process = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until it lets somebody in.
    pub(crate) async fn answers(&self, slot: usize) -> io::Result<()> {
        let begin = Instant::now();
        while let Err(error) = Wire::connect(self.instances[slot].port.address).await {
            if begin.elapsed() > PATIENCE {
                return Err(error);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, slot: usize) {
        if let Some(mut process) = self.instances[slot].process.take() {
            kill(&mut process);
        }
    }

    /// SIGSTOP, SIGCONT.
    pub(crate) fn signal(&self, slot: usize, signal: Signal) {
        if let Some(process) = &self.instances[slot].process {
            kill_process(Pid::from_child(process), signal).expect("a signal to a process of ours");
        }
    }

    // The proxy

    /// Starts the proxy with this configuration, and waits until it serves.
    pub(crate) async fn start_proxy(&mut self, text: &str) -> io::Result<()> {
        fs::write(self.config(), text)?;
        let log = File::create(self.path("stickyd.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["become", "--"]).arg(&self.stickyd).args(["run", "--config"]).arg(self.config());
        command.env("RUNTIME_DIRECTORY", self.directory()).env("STATE_DIRECTORY", self.directory());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.proxy = Some(command.spawn()?);
        let begin = Instant::now();
        loop {
            let log = self.read("stickyd.log");
            let listening = log.lines().find(|line| line.contains("\"listening\"")).and_then(address);
            let metrics = log.lines().find(|line| line.contains("metrics on http://")).and_then(address);
            if let (Some(listening), Some(metrics)) = (listening, metrics) {
                (self.address, self.metrics) = (listening, metrics);
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("the proxy does not start:\n{log}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// Writes the file, and asks for a reload if that is how it is done.
    pub(crate) async fn write(&self, content: &[u8], how: file::How) -> io::Result<()> {
        file::write(&self.config(), content, how.manner).await?;
        if how.ask == file::Ask::HangUp {
            self.hang_up();
        }
        Ok(())
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        kill_process(self.proxy_pid(), Signal::HUP).expect("the proxy runs");
    }

    fn proxy_pid(&self) -> Pid {
        Pid::from_child(self.proxy.as_ref().expect("it was started"))
    }

    /// What the kernel says of the proxy.
    pub(crate) fn process(&self) -> Process {
        let directory = PathBuf::from(format!("/proc/{}", self.proxy_pid().as_raw_nonzero()));
        let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
        let figure = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        Process {
            resident: figure("VmRSS:"),
            threads: figure("Threads:"),
            files: fs::read_dir(directory.join("fd")).map_or(0, |files| files.count() as u64),
        }
    }

    /// It has ended, which it should not have.
    pub(crate) fn proxy_has_ended(&mut self) -> Option<ExitStatus> {
        self.proxy.as_mut()?.try_wait().ok()?
    }

    /// SIGTERM; how it ended, and after how long. `None`: it did not.
    pub(crate) async fn terminate(&mut self) -> Option<(ExitStatus, Duration)> {
        let begin = Instant::now();
        kill_process(self.proxy_pid(), Signal::TERM).ok()?;
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.proxy_has_ended() {
                return Some((status, begin.elapsed()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Another process has taken over.
    pub(crate) fn is_served_by(&mut self, pid: i32) {
        self.heirs.extend(Pid::from_raw(pid));
    }

    pub(crate) fn stickyd(&self) -> &Path {
        &self.stickyd
    }

    /// SIGTERM to the process that took over last; waits for its end.
    pub(crate) async fn terminate_heir(&mut self) -> io::Result<()> {
        let Some(pid) = self.heirs.last().copied() else { return Ok(()) };
        let begin = Instant::now();
        kill_process(pid, Signal::TERM)?;
        while begin.elapsed() < PATIENCE {
            // Nobody may be there to ask how it ended.
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(io::Error::other("SIGTERM does not end it"))
    }

    /// Keeps the files; where they are.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.directory.take().expect("kept once").keep()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for pid in &self.heirs {
            // It may have ended.
            let _ = kill_process(*pid, Signal::KILL);
        }
        self.proxy
            .iter_mut()
            .chain(self.instances.iter_mut().filter_map(|instance| instance.process.as_mut()))
            .for_each(kill);
    }
}

fn kill(process: &mut Child) {
    // It may have ended; then neither is needed.
    let _ = process.kill();
    let _ = process.wait();
}

/// The address in a line of the log.
fn address(line: &str) -> Option<SocketAddr> {
    let begin = line.find("127.0.0.1:")?;
    line[begin..].split(['"', '/', ' ']).next()?.parse().ok()
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// Kilobytes of memory in RAM.
    pub(crate) resident: u64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
}
