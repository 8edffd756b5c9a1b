//! `upgrades`: one process takes over from another, again and again, under busy tunnels, sessions that poll, and a flood of
//! connections. No connect may be refused, no tunnel may end that nobody ended, no byte be another one.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::{Client, asking, polling, tunnel};
use crate::file::File;
use crate::reloads::eventually;
use crate::run::finish;
use crate::scrape::Scraper;
use crate::site::{self, Site};
use crate::tally::{Tally, percentiles};

const INSTANCES: usize = 4;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many
    #[arg(long, default_value_t = 10)]
    upgrades: u64,
    /// Tunnels that stay, all of the first process
    #[arg(long, default_value_t = 4_000)]
    tunnels: u64,
    /// Those speak so many times less often than ten times in eight seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    slower: u64,
    /// Tunnels that come and go
    #[arg(long, default_value_t = 400)]
    others: u64,
    /// Sessions that poll
    #[arg(long, default_value_t = 100)]
    sessions: u64,
    /// Who connects, asks once and leaves, again and again
    #[arg(long, default_value_t = 32)]
    flood: u64,
    /// Who does what when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Milliseconds between two upgrades
    #[arg(long, default_value_t = 2_000)]
    pace: u64,
    /// The stickyd to run
    #[arg(long)]
    stickyd: Option<PathBuf>,
    /// Keep the logs also when all is well
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    println!(
        "soak upgrades --upgrades {} --tunnels {} --slower {} --others {} --sessions {} --flood {} --seed {} --pace {}",
        options.upgrades,
        options.tunnels,
        options.slower,
        options.others,
        options.sessions,
        options.flood,
        options.seed,
        options.pace
    );
    let mut site = Site::new(options.stickyd.as_deref(), INSTANCES).expect("a site can be made");
    let tally = Rc::new(Tally::new(options.seed, INSTANCES, site.directory()));
    let result = site::runtime().block_on(upgrades(options, &mut site, &tally));
    if let Err(error) = result {
        tally.violated(format!("the program itself failed: {error}"));
    }
    finish(&mut site, &tally, options.keep)
}

fn file(site: &Site) -> File {
    let mut file = File::new(&site.addresses());
    "listen = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.0/8\"]".clone_into(&mut file.top);
    "max_handshakes = \"off\"".clone_into(&mut file.upstream);
    "[upgrade]\nlinger = \"1h\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = \"off\"\n"
        .clone_into(&mut file.rest);
    file
}

async fn upgrades(options: &Options, site: &mut Site, tally: &Rc<Tally>) -> io::Result<()> {
    for slot in 0..INSTANCES {
        site.start(slot)?;
        site.answers(slot).await?;
    }
    site.start_proxy(&file(site).text()).await?;
    let mut scraper = Scraper::new(site.metrics);
    eventually("the instances are up", async || {
        Ok(scraper.scrape().await?.count("stickyd_instance_up", &[]) as usize == INSTANCES)
    })
    .await?;
    let mut clients = JoinSet::new();
    clients.spawn_local(tally.clone().watch_lateness());
    for number in 0..options.tunnels {
        clients.spawn_local(tunnel::keep(Client::new(tally, site.address, "tunnel", number), options.slower));
    }
    eventually("all tunnels are open", async || Ok(tally.open.get() == options.tunnels)).await?;
    for number in 0..options.others {
        clients.spawn_local(tunnel::keep(Client::new(tally, site.address, "other", number), 0));
    }
    for number in 0..options.sessions {
        clients.spawn_local(polling::keep(Client::new(tally, site.address, "session", number)));
    }
    let answers = Rc::new(RefCell::new(Vec::new()));
    for number in 0..options.flood {
        let client = Client::new(tally, site.address, "flood", number);
        clients.spawn_local(asking::flood(client, answers.clone()));
    }
    sleep(Duration::from_millis(options.pace.max(3_000))).await;
    let take = |times: &RefCell<Vec<u32>>| percentiles(&mut std::mem::take(&mut *times.borrow_mut()));
    let before = (take(&answers), take(&tally.pongs));

    println!("\nupgrade: took ms, nobody accepted ms, sids passed on, tunnels of the process that lingers");
    for number in 1..=options.upgrades {
        let upgraded = upgrade(site).await?;
        let figure = |name: &str| upgraded[name].as_u64().unwrap_or(0);
        println!(
            "  {number:>3}: {:>6} {:>4} {:>7} {:>6}",
            figure("took"),
            figure("paused"),
            figure("sids"),
            figure("tunnels")
        );
        sleep(Duration::from_millis(options.pace)).await;
        let scrape = scraper.scrape().await?;
        let open = scrape.sum("stickyd_tunnels_open", &[]) as u64;
        if open < options.tunnels {
            tally.violated(format!("after upgrade {number} the metrics know of {open} open tunnels"));
        }
    }
    let during = (take(&answers), take(&tally.pongs));

    println!("\nwhat clients saw:");
    tally.print_counts();
    println!("  {:>9}  frames through tunnels, {} bytes", tally.frames.get(), tally.bytes.get());
    println!("\nfrom connect to the end of the answer, before: {}", before.0);
    println!("                             during upgrades: {}", during.0);
    println!("answers to pings through tunnels,      before: {}", before.1);
    println!("                             during upgrades: {}", during.1);
    println!("this program itself was late by up to {} ms", tally.late_ms.get());
    let scrape = scraper.scrape().await?;
    println!("processes in the end: {}", scrape.count("stickyd_processes", &[]));

    tally.leave();
    while clients.join_next().await.is_some() {}
    eventually("those that linger end", async || {
        Ok(scraper.scrape().await?.count("stickyd_processes", &[]) == 1)
    })
    .await?;
    judge(options, tally, &mut scraper).await?;
    site.terminate_heir().await?;
    for line in site.read("stickyd.log").lines() {
        if line.contains("\"ERROR\"") || !line.starts_with('{') {
            tally.violated(format!("the log says: {line}"));
        }
    }
    Ok(())
}

/// Another process takes over.
async fn upgrade(site: &mut Site) -> io::Result<Value> {
    let begin = Instant::now();
    let mut command = Command::new(site.stickyd());
    command.args(["upgrade", "--json"]).stdin(Stdio::null());
    command.env("RUNTIME_DIRECTORY", site.directory()).env("STATE_DIRECTORY", site.directory());
    let output = command.output().await?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("an upgrade failed after {:?}: {why}", begin.elapsed())));
    }
    let upgraded: Value = serde_json::from_slice(&output.stdout)?;
    site.is_served_by(upgraded["pid"].as_i64().unwrap_or(0) as i32);
    Ok(upgraded)
}

/// Sums over all processes that ever were.
async fn judge(options: &Options, tally: &Tally, scraper: &mut Scraper) -> io::Result<()> {
    let scrape = scraper.scrape().await?;
    let opened = scrape.sum("stickyd_tunnels_opened_total", &[]);
    let closed = scrape.sum("stickyd_tunnels_closed_total", &[]);
    let seen: u64 = tally.slots.iter().map(|slot| slot.opened.get()).sum();
    println!(
        "\ntunnels: {seen} opened by clients; {opened} opened and {closed} closed by the processes' counters"
    );
    if opened as u64 != seen || closed as u64 != seen || scrape.sum("stickyd_panics_total", &[]) > 0.0 {
        tally.violated("counters of tunnels do not agree, or something panicked");
    }
    let steady = tally.counted("tunnel ends: we said Close, and were answered");
    if steady < options.tunnels {
        tally.violated(format!(
            "{steady} tunnels were ended by their clients, of {} that stay",
            options.tunnels
        ));
    }
    Ok(())
}
