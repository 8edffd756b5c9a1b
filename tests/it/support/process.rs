//! The `stickyd` binary as a process: for what concerns the process as a whole.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::metrics::Scrape;
use super::{DEADLINE, Socket, eventually};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_stickyd");

/// A running `stickyd`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Lines of its log that were looked at.
    seen: Vec<String>,
    /// Where it keeps state, locks and its configuration; shared by those that are to meet.
    home: Home,
}

/// Directories of a machine that several processes live on.
#[derive(Clone, Debug)]
pub(crate) struct Home(std::sync::Arc<TempDir>, PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        Home(std::sync::Arc::new(directory), path)
    }

    /// Not directly in the folder that all share, where only what is the process's own is trusted.
    pub(crate) fn below() -> Self {
        let Home(directory, path) = Home::new();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let path = path.join("home");
        fs::create_dir(&path).unwrap();
        Home(directory, path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.1.join(name).display().to_string()
    }

    /// A file in it, and its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `stickyd` with these arguments, run by `sh` after `before` (for `ulimit`).
    fn command(&self, before: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before} exec \"$0\" \"$@\"")).arg(BINARY).args(arguments);
        command.env_clear();
        command.env("RUNTIME_DIRECTORY", &self.1).env("STATE_DIRECTORY", &self.1);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        self.start_after("", arguments)
    }

    pub(crate) fn start_after(&self, before: &str, arguments: &[&str]) -> Process {
        self.spawn(self.command(before, arguments))
    }

    /// As a service manager does that hands over two descriptors (`sd_listen_fds(3)`) under these names.
    pub(crate) fn start_with(&self, names: &str, two: [OwnedFd; 2], arguments: &[&str]) -> Process {
        let [first, second] = two;
        // A command has room for two besides standard error.
        let before = format!(
            "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names};"
        );
        let mut command = self.command(&before, arguments);
        command.stdin(first).stdout(second);
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Process {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        // Ends with the process, which closes its end.
        thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Process { child, lines, seen: Vec::new(), home: self.clone() }
    }

    /// Runs to its end, its standard output being this file: exit code and what it printed on standard error.
    pub(crate) fn run_into(&self, arguments: &[&str], file: &str) -> (i32, String) {
        let output = fs::OpenOptions::new().write(true).open(file).unwrap();
        let output = self.command("", arguments).stdout(output).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// What a command prints; it has to end with this code.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, arguments: &[&str]) -> String {
        let (ended, text) = self.run(arguments);
        assert_eq!(ended, code, "{arguments:?}: {text}");
        text
    }

    /// Runs to its end: exit code and what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command("", arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

impl Process {
    /// Waits for the line of its log that has all of `parts`.
    pub(crate) fn says(&mut self, parts: &[&str]) -> String {
        let fits = |line: &String| parts.iter().all(|part| line.contains(part));
        if let Some(line) = self.seen.iter().find(|line| fits(line)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => {
                    self.seen.push(line);
                    let line = &self.seen[self.seen.len() - 1];
                    if fits(line) {
                        return line.clone();
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {parts:?}, only {:#?}", self.seen)
                }
            }
        }
    }

    /// How many lines of its log have `part`, once it has ended.
    pub(crate) fn said(&mut self, part: &str) -> usize {
        self.seen.extend(self.lines.iter());
        self.seen.iter().filter(|line| line.contains(part)).count()
    }

    /// How many lines of its log have `part`, of those that are there by now.
    pub(crate) fn said_so_far(&mut self, part: &str) -> usize {
        self.seen.extend(self.lines.try_iter());
        self.seen.iter().filter(|line| line.contains(part)).count()
    }

    /// Where it listens first.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.says(&["\"listening\""]);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn connect(&mut self) -> Socket {
        Socket::connect(self.address())
    }

    pub(crate) fn scrape(&mut self) -> Scrape {
        let line = self.says(&["metrics on http://"]);
        let (_, rest) = line.split_once("metrics on http://").unwrap();
        Scrape::of(rest.split_once('/').unwrap().0.parse().unwrap())
    }

    /// What `/-/ready` of its metrics listener says.
    pub(crate) fn scrape_ready(&mut self) -> u16 {
        let line = self.says(&["metrics on http://"]);
        let (_, rest) = line.split_once("metrics on http://").unwrap();
        let mut client = Socket::connect(rest.split_once('/').unwrap().0.parse().unwrap());
        client.send("GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n");
        client.answer().status()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Kilobytes of memory that belong to it alone, without what the kernel holds for its sockets.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many descriptors it can still have when its limit is `limit`.
    pub(crate) fn files_left(&self, limit: usize) -> usize {
        // What the tests themselves were started with may lie above the limit.
        let is_open = |number: &usize| fs::read_link(format!("/proc/{}/fd/{number}", self.pid())).is_ok();
        (0..limit).filter(|number| !is_open(number)).count()
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then neither is needed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let rest: Vec<String> = self.lines.iter().collect();
            eprintln!("the log of pid {}: {:#?}", self.pid(), [self.seen.clone(), rest].concat());
        }
    }
}
