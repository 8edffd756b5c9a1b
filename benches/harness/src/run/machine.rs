//! Facts that a figure means nothing without: machine, commit, versions, options.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::peer::{self, Installed};

/// Name and value, for the top of the summary.
pub(crate) type Facts = Vec<(String, String)>;

/// Collects them; what cannot be found out is said to be unknown.
pub(crate) fn facts(options: &Options, peers: &[Installed]) -> Facts {
    let mut facts = Facts::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    add("date", date("+%Y-%m-%d %H:%M UTC").unwrap_or_else(|_| "unknown".to_owned()));
    add("commit", commit());
    add("machine", machine());
    add(
        "run",
        format!(
            "{} rounds of {} s after {} s of warm-up; {} connections held; proxy on CPU {}, clients and instances on CPU {}; 1 worker each",
            options.rounds,
            options.seconds,
            options.warmup,
            options.held,
            options.proxy_cpu,
            options.load_cpu
        ),
    );
    for installed in peers {
        add(installed.row.name, peer::version(installed));
    }
    facts
}

/// The date in UTC, as date(1) formats it.
pub(crate) fn date(format: &str) -> Result<String> {
    said("date", &["-u", format])
}

fn commit() -> String {
    let repository = peer::repository().display().to_string();
    let git = |arguments: &[&str]| said("git", &[&["-C", &repository], arguments].concat());
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Ok(commit), Ok(changes)) if changes.is_empty() => commit,
        (Ok(commit), _) => format!("{commit} with changes that are not committed"),
        (Err(_), _) => "unknown".to_owned(),
    }
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    format!(
        "{cpus} x {}, {} of memory, Linux {}, {} open files a process",
        field(&read("/proc/cpuinfo"), "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        files.map_or_else(|| "unlimited".to_owned(), |files| files.to_string()),
    )
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
