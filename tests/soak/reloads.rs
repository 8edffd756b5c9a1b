//! `reloads`: many of them under busy tunnels of instances that stay. Nothing of theirs may end, nothing that is counted of them go
//! back, nothing grow.
//!
//! One instance comes back from the dead when the reloads begin: its slow start must go on, however often the file changes.

mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::{Client, asking, tunnel};
use crate::dice::Dice;
use crate::file::{Ask, File, How, Manner, State};
use crate::run::{finish, terminate};
use crate::scrape::Scraper;
use crate::site::{self, Site};
use crate::tally::{Tally, percentiles};
use watch::Watch;

/// Instances with tunnels, that stay.
pub(crate) const KEPT: usize = 4;
/// The one that comes back; it stays too, without tunnels.
const RETURNS: usize = KEPT;
/// With those that come and go.
const INSTANCES: usize = 9;

/// The begin of the slow start, before which a share says too little, and its end, in hundredths of the reloads.
const SLOW_START: u64 = 40;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    reloads: u64,
    /// Tunnels of the instances that stay
    #[arg(long, default_value_t = 2_000)]
    tunnels: u64,
    /// What changes when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Milliseconds between two reloads
    #[arg(long, default_value_t = 150)]
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
        "soak reloads --reloads {} --tunnels {} --seed {} --pace {}",
        options.reloads, options.tunnels, options.seed, options.pace
    );
    let mut site = Site::new(options.stickyd.as_deref(), INSTANCES).expect("a site can be made");
    let tally = Rc::new(Tally::new(options.seed, INSTANCES, site.directory()));
    let result = site::runtime().block_on(reloads(options, &mut site, &tally));
    if let Err(error) = result {
        tally.violated(format!("the program itself failed: {error}"));
    }
    finish(&mut site, &tally, options.keep)
}

/// Without affinity and in turn, so that shares can be told from counts.
fn file(options: &Options, site: &Site) -> File {
    let slow_start = (options.reloads * options.pace * SLOW_START / 100).max(1_000);
    let mut file = File::new(&site.addresses());
    "listen = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.0/8\"]".clone_into(&mut file.top);
    file.upstream = format!(
        "balance = \"round_robin\"\nsticky.by = []\ndrain = {{ spread = \"100ms\", deadline = \"1s\" }}\nhealth.slow_start = \"{slow_start}ms\""
    );
    "[metrics]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = \"off\"\n"
        .clone_into(&mut file.rest);
    file.entries[RETURNS + 1..].iter_mut().for_each(|entry| entry.present = false);
    file
}

async fn reloads(options: &Options, site: &mut Site, tally: &Rc<Tally>) -> io::Result<()> {
    let mut file = file(options, site);
    for slot in (0..INSTANCES).filter(|slot| *slot != RETURNS) {
        site.start(slot)?;
        site.answers(slot).await?;
    }
    site.start_proxy(&file.text()).await?;
    let mut scraper = Scraper::new(site.metrics);
    // It is found to be down, so that every tunnel is opened elsewhere.
    eventually("one instance is down", async || {
        Ok(scraper.scrape().await?.count("stickyd_instance_up", &[]) as usize == KEPT)
    })
    .await?;
    let mut clients = JoinSet::new();
    for number in 0..options.tunnels {
        clients.spawn_local(tunnel::keep(Client::new(tally, site.address, "tunnel", number), 1));
    }
    clients.spawn_local(tally.clone().watch_lateness());
    for number in 0..12 {
        clients.spawn_local(asking::ask(Client::new(tally, site.address, "asking", number)));
    }
    eventually("all tunnels are open", async || Ok(tally.open.get() == options.tunnels)).await?;
    let quiet = Instant::now() + quiet(options);
    tally.pongs.borrow_mut().clear();
    while Instant::now() < quiet {
        // As often as later, for that takes the time of this program.
        for _ in 0..8 {
            scraper.scrape().await?;
        }
        sleep(Duration::from_millis(options.pace)).await;
    }
    let before = percentiles(&mut std::mem::take(&mut *tally.pongs.borrow_mut()));

    site.start(RETURNS)?;
    eventually("it is back", async || {
        Ok(scraper.scrape().await?.count("stickyd_instance_up", &[]) as usize == KEPT + 1)
    })
    .await?;
    let mut watch = Watch::new(site, &file, &scraper.scrape().await?);
    let mut times = reload_all(options, site, &mut file, tally, &mut scraper, &mut watch).await?;
    let during = percentiles(&mut std::mem::take(&mut *tally.pongs.borrow_mut()));

    println!("\nwhat clients saw:");
    tally.print_counts();
    println!("\nfrom HUP until the reload is counted: {}", percentiles(&mut times));
    println!("answers to pings through tunnels, before: {before}");
    println!("                          while reloading: {during}");
    println!("this program itself was late by up to {} ms", tally.late_ms.get());
    watch.judge(site, tally);
    leave(options, tally, &mut scraper, &mut clients).await?;
    terminate(site, tally).await;
    errors(site, tally);
    Ok(())
}

/// How long answers are timed before anything changes.
fn quiet(options: &Options) -> Duration {
    Duration::from_millis((options.reloads * options.pace / 10).clamp(2_000, 15_000))
}

/// All the reloads: how long each took, microseconds.
async fn reload_all(
    options: &Options,
    site: &Site,
    file: &mut File,
    tally: &Tally,
    scraper: &mut Scraper,
    watch: &mut Watch,
) -> io::Result<Vec<u32>> {
    let mut dice = Dice::of(options.seed, "reloads", 0);
    let mut times = Vec::new();
    let mut answers = Vec::new();
    for number in 0..options.reloads {
        let begin = Instant::now();
        (0..dice.within(1..=3)).for_each(|_| change(file, &mut dice));
        times.push(reload(site, file, scraper).await?.as_micros() as u32);
        watch.look(site, file, tally, &scraper.scrape().await?);
        if options.tunnels != tally.open.get() {
            tally.violated(format!("{} tunnels are open after reload {number}", tally.open.get()));
        }
        if number.is_multiple_of(options.reloads.div_ceil(20)) {
            watch.sample(number, site);
        }
        let percent = number * 100 / options.reloads;
        if percent as usize >= answers.len() * 10 {
            answers.push([0, RETURNS].map(|slot| tally.slots[slot].answers.get()));
        }
        sleep(Duration::from_millis(options.pace).saturating_sub(begin.elapsed())).await;
    }
    watch.sample(options.reloads, site);
    answers.push([0, RETURNS].map(|slot| tally.slots[slot].answers.get()));
    slow_start(tally, &answers);
    Ok(times)
}

/// The instance that came back and one that was always there have the same weight: what they were given, tenth by tenth.
fn slow_start(tally: &Tally, answers: &[[u64; 2]]) {
    let given = |from: usize, to: usize| [0, 1].map(|of| answers[to][of] - answers[from][of]);
    println!(
        "\nrequests that an instance was given, and one that came back and began slowly, by tenths of the reloads:"
    );
    let tenths: Vec<String> = (1..answers.len())
        .map(|tenth| given(tenth - 1, tenth))
        .map(|[kept, back]| format!("{kept}:{back}"))
        .collect();
    println!("  {}", tenths.join(" "));
    let tenths = answers.len() - 1;
    let [kept, back] = given(0, tenths / 5);
    if back * 10 > kept * 7 {
        tally.violated(format!(
            "in its slow start the instance that came back was given {back}, another one {kept}"
        ));
    }
    // From well behind the slow start on.
    let [kept, back] = given(tenths * 6 / 10, tenths);
    if back * 10 < kept * 7 || back * 7 > kept * 10 {
        tally.violated(format!(
            "after its slow start the instance that came back was given {back}, another one {kept}"
        ));
    }
}

/// Something else in the file. The first of those that stay and the one that comes back keep their weight, to be compared.
fn change(file: &mut File, dice: &mut Dice) {
    let comes_and_goes = dice.within(RETURNS as u64 + 1..=INSTANCES as u64 - 1) as usize;
    match dice.within(0..=99) {
        0..45 => {
            let entry = &mut file.entries[comes_and_goes];
            entry.present = !entry.present;
        }
        45..65 => file.rename(dice.within(0..=INSTANCES as u64 - 1) as usize),
        65..75 => file.entries[dice.within(1..=KEPT as u64 - 1) as usize].weight = dice.within(1..=4) as u32,
        75..82 => file.entries[comes_and_goes].weight = dice.within(1..=4) as u32,
        _ => {
            let states = [State::Ready, State::Cordon, State::Drain, State::Maintain];
            file.entries[comes_and_goes].state = dice.one(&states);
        }
    }
}

/// Writes the file, asks, and waits until it is in force.
async fn reload(site: &Site, file: &File, scraper: &mut Scraper) -> io::Result<Duration> {
    let before = scraper.scrape().await?.reloads();
    site.write(file.text().as_bytes(), How { manner: Manner::Rename, ask: Ask::Watch }).await?;
    let asked = Instant::now();
    site.hang_up();
    while scraper.scrape().await?.reloads() == before {
        if asked.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other("a reload that was asked for does not come"));
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(asked.elapsed())
}

async fn leave(
    options: &Options,
    tally: &Tally,
    scraper: &mut Scraper,
    clients: &mut JoinSet<()>,
) -> io::Result<()> {
    tally.leave();
    while clients.join_next().await.is_some() {}
    let opened: u64 = tally.slots[..KEPT].iter().map(|slot| slot.opened.get()).sum();
    if opened != options.tunnels {
        tally.violated(format!("{opened} tunnels were opened for {}", options.tunnels));
    }
    eventually("nothing is open", async || {
        Ok(scraper.scrape().await?.sum("stickyd_tunnels_open", &[]) == 0.0)
    })
    .await?;
    let scrape = scraper.scrape().await?;
    let closed = scrape.count("stickyd_tunnels_closed_total", &[("reason", "client_closed")]);
    if closed != options.tunnels || scrape.count("stickyd_panics_total", &[]) > 0 {
        tally.violated(format!("{closed} tunnels were closed by their clients, or something panicked"));
    }
    Ok(())
}

fn errors(site: &Site, tally: &Tally) {
    for line in
        site.read("stickyd.log").lines().filter(|line| line.contains("\"ERROR\"") || !line.starts_with('{'))
    {
        tally.violated(format!("the log says: {line}"));
    }
}

/// Looks until it is so.
pub(crate) async fn eventually(
    what: &str,
    mut is_so: impl AsyncFnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let begin = Instant::now();
    while !is_so().await? {
        if begin.elapsed() > Duration::from_mins(1) {
            return Err(io::Error::other(format!("never came true: {what}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
