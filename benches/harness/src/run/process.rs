//! Processes that the runner starts: pinned to a CPU, and gone with the runner whatever happens to it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::dial::Dialer;
use crate::http::{self, Head};
use crate::{load, sample};

/// For a peer to answer after its start.
const READY: Duration = Duration::from_secs(10);
/// For a process to go after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(2);
/// Answers in a row that make a peer ready, each to another client address: an instance that is not yet believed
/// would take clients from the other one later.
const ANSWERS: usize = 16;

/// A running process; dropping it ends it and all that descends from it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// `setpriv` has the kernel end the process when the runner is killed without a chance to clean up.
fn pinned(command: &[String], cpu: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &cpu.to_string(), "setpriv", "--pdeathsig", "TERM", "--"]).args(command);
    pinned.stdin(Stdio::null());
    pinned
}

impl Process {
    /// Starts it; what it prints goes to `log`.
    pub(crate) fn start(command: &[String], cpu: usize, log: &Path) -> Result<Process> {
        let output = fs::File::create(log)?;
        let child = pinned(command, cpu)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", command.join(" ")))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it answers GETs.
    pub(crate) fn ready(&self, address: SocketAddr, stop: &AtomicBool) -> Result<()> {
        let began = Instant::now();
        loop {
            let Err(error) = answers(address) else { return Ok(()) };
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            if began.elapsed() > READY || !Path::new(&format!("/proc/{}/fd/0", self.id())).exists() {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("not ready ({error:#}); it said: {}", said.trim());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn answers(address: SocketAddr) -> Result<()> {
    let mut dialer = Dialer::new(&[address])?;
    for _ in 0..ANSWERS {
        let stream = dialer.dial()?;
        let (answer, body) = load::ask(&stream, &http::get("/ready", Head::Small, None))?;
        load::check_ordinary(&answer, &body)?;
    }
    Ok(())
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks the process to go, and kills what is still there after a while: exactly the processes that were its family
/// when it was asked, told from others with the same number by their start.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let family: BTreeMap<u32, Option<u64>> =
        sample::tree(child.id()).into_iter().map(|pid| (pid, sample::started(pid))).collect();
    signal(child.id(), Signal::TERM);
    let began = Instant::now();
    while began.elapsed() < FAREWELL && !matches!(child.try_wait(), Ok(Some(_))) {
        thread::sleep(Duration::from_millis(5));
    }
    for (pid, started) in family {
        if started.is_some() && sample::started(pid) == started {
            signal(pid, Signal::KILL);
        }
    }
    // It is dead or about to be; waiting for it removes its entry.
    let _ = child.wait();
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The process may have gone in between, which is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &[String], cpu: usize, limit: Duration, stop: &AtomicBool) -> Result<String> {
    let mut child = Guarded(pinned(command, cpu).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        ensure!(began.elapsed() < limit, "the load did not end within {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(10));
    };
    // A few lines: they fit into the pipes, so the child never waited for a reader.
    let text = std::io::read_to_string(child.0.stdout.take().context("piped")?)?;
    let complaint = std::io::read_to_string(child.0.stderr.take().context("piped")?)?;
    ensure!(!stop.load(Ordering::Relaxed), "interrupted");
    ensure!(status.success(), "{}", complaint.trim());
    Ok(text)
}

struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(pid: u32) -> bool {
        sample::started(pid).is_none()
    }

    #[test]
    fn a_process_and_its_child_go_with_the_guard_though_both_ignore_sigterm() {
        let script = "trap '' TERM; sleep 60 & sleep 60; exit";
        let directory = tempfile::tempdir().expect("a directory");
        let command: Vec<String> = ["sh", "-c", script].map(String::from).to_vec();
        let process = Process::start(&command, 0, &directory.path().join("log")).expect("sh");
        let began = Instant::now();
        let family = loop {
            let family = sample::tree(process.id());
            // sh and two sleeps, which inherit what it ignores.
            if family.len() == 3 || began.elapsed() > Duration::from_secs(5) {
                break family;
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(family.len(), 3, "{family:?}");
        let began = Instant::now();
        drop(process);
        assert!(began.elapsed() < FAREWELL * 4, "they were waited for, not killed");
        // SIGKILL is sent before drop returns; orphans are reaped by init, later.
        let dead = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            gone(*pid) || stat.contains(") Z ")
        };
        let began = Instant::now();
        while !family.iter().all(dead) && began.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(family.iter().all(dead), "{family:?}");
    }

    #[test]
    fn the_output_of_a_failure_is_its_complaint_and_a_stuck_load_is_ended() {
        let stop = AtomicBool::new(false);
        let command = |script: &str| ["sh", "-c", script].map(String::from).to_vec();
        let limit = Duration::from_secs(5);
        let text = output(&command("echo a; echo b >&2"), 0, limit, &stop).expect("success");
        assert_eq!(text, "a\n");
        let error = output(&command("echo b >&2; exit 3"), 0, limit, &stop).expect_err("a failure");
        assert_eq!(error.to_string(), "b");
        assert!(output(&command("sleep 60"), 0, Duration::from_millis(50), &stop).is_err());
        stop.store(true, Ordering::Relaxed);
        let error = output(&command("sleep 60"), 0, limit, &stop).expect_err("an interruption");
        assert_eq!(error.to_string(), "interrupted");
    }
}
