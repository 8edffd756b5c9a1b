//! The runner: starts one peer at a time, loads it, stops it, and again for the next peer and the next round.
//! What the peers and the workloads are is in the tables of `peer` and `work`.

mod machine;
mod peer;
mod process;
mod stats;
mod summary;
mod work;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::record::Record;
use peer::{Installed, Peer};
use process::Process;
use work::{Sizes, Work};

/// Of one measurement, with `--max-others`.
const ATTEMPTS: usize = 5;

/// Options of `run`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Workloads by name; all of the standard set by default
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Peers by name, in the order in which they alternate
    #[arg(long, value_delimiter = ',', default_value = "nginx,nginx-again,haproxy,stickyd,direct")]
    peers: Vec<String>,
    /// Rounds: each measures every workload once with every peer
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a measured window
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of load before it
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Connections of the memory workloads
    #[arg(long, default_value_t = 8000)]
    held: usize,
    /// Repeat a closed loop during which others used more than this share of a CPU (at most 5 times, then it
    /// counts as it is)
    #[arg(long)]
    max_others: Option<f64>,
    /// CPU of the proxies
    #[arg(long, default_value_t = 0)]
    proxy_cpu: usize,
    /// CPU of the clients and the instances
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// A stickyd binary to measure instead of one built from this repository
    #[arg(long)]
    stickyd: Option<PathBuf>,
    /// Where the results go; benches/runs/DATE by default
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What is set up once for the whole run. Dropping it stops the instance and removes the directory.
struct Bench<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    harness: PathBuf,
    instance: Process,
    instances: [SocketAddr; 2],
    first_port: u16,
    directory: tempfile::TempDir,
}

/// Runs everything; the exit code is 1 when a measurement failed.
pub(crate) fn run(options: &Options, stop: &AtomicBool) -> Result<ExitCode> {
    let works = work::chosen(&options.only)?;
    let peers = peer::chosen(&options.peers)?;
    ensure!(options.rounds > 0, "--rounds 0 measures nothing");
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(
        options.proxy_cpu.max(options.load_cpu) < cpus,
        "CPU {} does not exist: name others with --proxy-cpu and --load-cpu",
        options.proxy_cpu.max(options.load_cpu)
    );
    let _alone = alone(&std::env::temp_dir().join("stickyd-benches.lock"))?;
    let installed = peer::install(&peers, options.stickyd.as_deref(), stop)?;
    let facts = machine::facts(options, &installed);
    let out = out_directory(options)?;
    let raw_path = out.join("raw.txt");
    let mut raw = fs::File::create(&raw_path).with_context(|| format!("{}", raw_path.display()))?;
    let bench = Bench::set_up(options, stop)?;
    let mut records = Vec::new();
    for work in &works {
        for round in 1..=options.rounds {
            for peer in &installed {
                if !work.measures(peer.row.name) {
                    continue;
                }
                let record = bench.record(work, peer, round)?;
                println!("{record}");
                writeln!(raw, "{record}")?;
                records.push(record);
            }
        }
    }
    let table = summary::table(&works, &peers, &records);
    println!("\n{table}");
    let summary = out.join("summary.md");
    fs::write(&summary, summary::page(&facts, &table, &peers))?;
    println!("{}", summary.display());
    let failed = records.iter().any(|record| record.text("failed").is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl<'a> Bench<'a> {
    fn set_up(options: &'a Options, stop: &'a AtomicBool) -> Result<Bench<'a>> {
        let harness = std::env::current_exe()?;
        let directory = tempfile::Builder::new().prefix("stickyd-benches-").tempdir()?;
        open_to_workers(directory.path())?;
        let first_port = free_ports()?;
        let instances = [first_port, first_port + 1].map(local);
        let mut command = vec![harness.display().to_string(), "instance".to_owned()];
        for address in &instances {
            command.extend(["--listen".to_owned(), address.to_string()]);
        }
        let instance = Process::start(&command, options.load_cpu, &directory.path().join("instance.log"))?;
        instance.ready(instances[0], stop).context("the instance")?;
        Ok(Bench { options, stop, harness, instance, instances, first_port, directory })
    }

    /// One measurement as a line; a failure is a line too, and only an interruption ends the run.
    fn record(&self, work: &Work, peer: &Installed, round: usize) -> Result<Record> {
        let mut record = Record::default();
        record.set("work", work.name);
        record.set("round", round);
        record.set("peer", peer.row.name);
        match self.measure_quietly(work, peer) {
            Ok(measured) => Ok(record.with(measured)),
            Err(error) if self.stop.load(Ordering::Relaxed) => Err(error),
            Err(error) => {
                record.set("failed", format!("{error:#}"));
                Ok(record)
            }
        }
    }

    /// Again while the neighbours were too loud, if that matters to whoever runs this.
    fn measure_quietly(&self, work: &Work, peer: &Installed) -> Result<Record> {
        let most = self.options.max_others.unwrap_or(f64::INFINITY);
        let mut attempts = 1;
        loop {
            let mut measured = self.measure(work, peer)?;
            let loud = measured.get("others_busy").is_some_and(|others| others > most);
            if !loud || attempts == ATTEMPTS {
                if self.options.max_others.is_some() {
                    measured.set("attempts", attempts);
                }
                return Ok(measured);
            }
            attempts += 1;
        }
    }

    /// A fresh peer for each measurement: what one workload leaves in its memory would be the next one's.
    fn measure(&self, work: &Work, installed: &Installed) -> Result<Record> {
        let row = &installed.row;
        let directory = self.directory.path().join(row.name);
        fs::create_dir_all(&directory)?;
        open_to_workers(&directory)?;
        let port = local(self.first_port + 2 + row.port);
        let (started, targets) = if let Some(binary) = &installed.binary {
            let setting = peer::Setting {
                directory: &directory,
                port,
                metrics: local(self.first_port + 2 + row.port + 1),
                instances: self.instances,
            };
            let command = row.command(binary, &setting)?;
            let process = Process::start(&command, self.options.proxy_cpu, &directory.join("output.log"))?;
            process.ready(port, self.stop)?;
            (Some(process), vec![port])
        } else {
            (None, self.instances.to_vec())
        };
        let mut load = vec![self.harness.display().to_string()];
        let sizes = Sizes {
            seconds: self.options.seconds,
            warmup: self.options.warmup,
            held: self.options.held,
            instance_at: self.instances[0],
        };
        load.extend(work.arguments(&sizes));
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        load.extend(["--to".to_owned(), targets.join(",")]);
        load.extend(["--instance".to_owned(), self.instance.id().to_string()]);
        if let Some(process) = &started {
            load.extend(["--proxy".to_owned(), process.id().to_string()]);
        }
        let limit = Duration::from_secs_f64(self.options.warmup + self.options.seconds + 60.0);
        let output = process::output(&load, self.options.load_cpu, limit, self.stop)?;
        let line = output.lines().last().context("the load printed nothing")?;
        line.parse()
    }
}

/// Two runs at a time would measure each other. The lock goes with the process, however it ends; its file stays.
fn alone(path: &Path) -> Result<fs::File> {
    let lock = fs::File::options().create(true).append(true).open(path);
    let lock = lock.with_context(|| format!("{}", path.display()))?;
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => anyhow!("another run is measuring: wait until it ends"),
        fs::TryLockError::Error(error) => error.into(),
    })?;
    Ok(lock)
}

/// A worker process may run as another user and still has to reach its temporary files.
fn open_to_workers(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The first port of a free block, below the ports that outgoing connections take.
fn free_ports() -> Result<u16> {
    let block = 2 + peer::PORTS;
    for first in (17_000..30_000).step_by(usize::from(block)) {
        if (first..first + block).all(|port| TcpListener::bind(local(port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("no {block} free ports in a row from 17000 to 30000");
}

fn out_directory(options: &Options) -> Result<PathBuf> {
    let out = match &options.out {
        Some(out) => out.clone(),
        None => peer::repository().join("benches/runs").join(machine::date("+%Y-%m-%dT%H%M")?),
    };
    fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
    Ok(out)
}

/// Peers as the summary names them.
fn names(peers: &[Peer]) -> Vec<&'static str> {
    peers.iter().map(|peer| peer.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_until_the_first_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let first = alone(&path).expect("the first");
        let refused = alone(&path).expect_err("the second");
        assert!(refused.to_string().contains("another run"), "{refused:#}");
        drop(first);
        assert!(alone(&path).is_ok());
    }
}
