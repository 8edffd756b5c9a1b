//! `run`: load, and whatever can happen to instances and to the file; then everybody leaves, and the books must agree.

mod books;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::clients::{Client, asking, polling, streaming, tunnel};
use crate::file::{Ask, File, How, Manner, State};
use crate::schedule::{Action, Deed, schedule};
use crate::scrape::{Scrape, Scraper};
use crate::site::{self, Process, Site};
use crate::tally::{Tally, percentiles};

/// More than half of them are well at any time.
const INSTANCES: usize = 7;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How long, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// What happens when; otherwise a new one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Clients with a tunnel; a tenth as many poll, and as many read streams
    #[arg(long, default_value_t = 500)]
    tunnels: u64,
    /// The stickyd to run
    #[arg(long)]
    stickyd: Option<PathBuf>,
    /// Seconds between two lines of what is going on
    #[arg(long, default_value_t = 10)]
    status: u64,
    /// Keep the logs also when all is well
    #[arg(long)]
    keep: bool,
}

impl Options {
    fn seed(&self) -> u64 {
        let now = || {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64)
        };
        self.seed.unwrap_or_else(|| now() % 1_000_000)
    }

    fn schedule(&self, seed: u64) -> Vec<Action> {
        schedule(seed, Duration::from_secs(self.seconds), INSTANCES)
    }
}

/// `schedule`
pub(crate) fn print_schedule(options: &Options) -> ExitCode {
    options.schedule(options.seed()).iter().for_each(|action| println!("{action}"));
    ExitCode::SUCCESS
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let seed = options.seed();
    println!("soak run --seconds {} --tunnels {} --seed {seed}", options.seconds, options.tunnels);
    let mut site = Site::new(options.stickyd.as_deref(), INSTANCES).expect("a site can be made");
    let tally = Rc::new(Tally::new(seed, INSTANCES, site.directory()));
    let result = site::runtime().block_on(soak(options, &mut site, &tally));
    if let Err(error) = result {
        tally.violated(format!("the soak itself failed: {error}"));
    }
    finish(&mut site, &tally, options.keep)
}

/// Says how it went; with something wrong the logs are kept.
pub(crate) fn finish(site: &mut Site, tally: &Tally, keep: bool) -> ExitCode {
    let of_instances = tally.of_instances();
    eprint!("{of_instances}");
    let violations = tally.violations();
    if violations > 0 || keep {
        println!("logs: {}", site.keep().display());
    }
    if violations > 0 {
        println!("{violations} violations; seed {}", tally.seed);
        return ExitCode::FAILURE;
    }
    println!("all is well; seed {}", tally.seed);
    ExitCode::SUCCESS
}

/// A small drain and slow start, so that many fit; pings, so that there are some.
fn file(site: &Site) -> File {
    let mut file = File::new(&site.addresses());
    "listen = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"127.0.0.0/8\"]".clone_into(&mut file.top);
    "drain = { spread = \"3s\", deadline = \"20s\" }\nhealth.slow_start = \"3s\""
        .clone_into(&mut file.upstream);
    file.rest = format!(
        "[timeouts]\nping = \"8s\"\nhalf_close = \"5s\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = \"{}\"\n",
        site.path("access.log").display()
    );
    file
}

/// What there was before anybody came, and what there is in the end.
struct Memory {
    at_start: Process,
    series: Vec<(f64, Process)>,
}

async fn soak(options: &Options, site: &mut Site, tally: &Rc<Tally>) -> io::Result<()> {
    let mut file = file(site);
    for slot in 0..INSTANCES {
        site.start(slot)?;
        site.answers(slot).await?;
    }
    site.start_proxy(&file.text()).await?;
    let mut scraper = Scraper::new(site.metrics);
    scraper.scrape().await?;
    // Its first checks are made.
    sleep(Duration::from_secs(1)).await;
    let mut memory = Memory { at_start: site.process(), series: Vec::new() };
    let mut clients = clients(options, tally, site);
    clients.spawn_local(tally.clone().watch_lateness());
    happen(options, site, &mut file, tally, &mut scraper, &mut memory).await?;
    settle(site, &file, tally, &mut scraper).await?;
    tally.leave();
    let all_left = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(90), all_left).await.is_err() {
        tally.violated(format!("{} clients do not come to an end", clients.len()));
        clients.abort_all();
    }
    books::close(site, tally, &mut scraper, memory.at_start).await?;
    summary(tally, &memory, site);
    terminate(site, tally).await;
    books::logs(site, tally);
    Ok(())
}

fn clients(options: &Options, tally: &Rc<Tally>, site: &Site) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let tenth = options.tunnels.div_ceil(10);
    let client = |what: &str, number| Client::new(tally, site.address, what, number);
    for number in 0..options.tunnels {
        clients.spawn_local(tunnel::keep(client("tunnel", number), 0));
    }
    for number in 0..tenth {
        clients.spawn_local(polling::keep(client("polling", number)));
        clients.spawn_local(streaming::read(client("streaming", number)));
    }
    for number in 0..tenth.div_ceil(10) {
        clients.spawn_local(asking::ask(client("asking", number)));
    }
    clients
}

/// What is to happen happens; meanwhile it is said how things are.
async fn happen(
    options: &Options,
    site: &mut Site,
    file: &mut File,
    tally: &Rc<Tally>,
    scraper: &mut Scraper,
    memory: &mut Memory,
) -> io::Result<()> {
    let begin = tokio::time::Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let mut actions = options.schedule(tally.seed).into_iter().peekable();
    let mut status = begin;
    loop {
        let action = actions.peek().map_or(end, |action| begin + action.at);
        if status < action.min(end) {
            sleep_until(status).await;
            let process = site.process();
            say(tally, &scraper.scrape().await?, process);
            memory.series.push((tally.seconds(), process));
            status += Duration::from_secs(options.status.max(1));
            if let Some(status) = site.proxy_has_ended() {
                return Err(io::Error::other(format!("the proxy has ended: {status}")));
            }
            continue;
        }
        sleep_until(action.min(end)).await;
        let Some(action) = actions.next() else { return Ok(()) };
        println!("{action}");
        act(action.deed, site, file, tally, scraper).await?;
    }
}

/// A line of how things are.
fn say(tally: &Tally, scrape: &Scrape, process: Process) {
    let upstream = |name| scrape.count(name, &[]);
    eprintln!(
        "{:6.0} s  tunnels {:4} (opened {}, closed {}), frames {}, {} MB, polls {}, bodies {}, 5xx {}, up {}; RSS {} kB, files {}, threads {}; violations {}",
        tally.seconds(),
        tally.open.get(),
        upstream("stickyd_tunnels_opened_total"),
        upstream("stickyd_tunnels_closed_total"),
        upstream("stickyd_tunnel_frames_total"),
        upstream("stickyd_tunnel_bytes_total") / 1_000_000,
        tally.counted("session: polls"),
        tally.counted("body: GET") + tally.counted("body: POST"),
        scrape.count("stickyd_requests_total", &[("code", "5xx")]),
        upstream("stickyd_instance_up"),
        process.resident,
        process.files,
        process.threads,
        tally.violations(),
    );
}

async fn act(
    deed: Deed,
    site: &mut Site,
    file: &mut File,
    tally: &Tally,
    scraper: &mut Scraper,
) -> io::Result<()> {
    match deed {
        Deed::Kill(slot) => {
            tally.disturb(slot);
            site.kill(slot);
        }
        Deed::Stop(slot) => {
            tally.disturb(slot);
            site.signal(slot, Signal::STOP);
        }
        Deed::Start(slot) => {
            site.start(slot)?;
            tally.is_well(slot);
        }
        Deed::Continue(slot) => {
            site.signal(slot, Signal::CONT);
            tally.is_well(slot);
        }
        Deed::Spoil(bad, how) => load(&file.spoilt(bad), how, false, site, tally, scraper).await?,
        Deed::Mend(how) => load(file.text().as_bytes(), how, true, site, tally, scraper).await?,
        Deed::Again => {
            let how = How { manner: Manner::InPlace, ask: Ask::HangUp };
            load(file.text().as_bytes(), how, true, site, tally, scraper).await?;
        }
        Deed::Rename(slot, how) => {
            file.rename(slot);
            load(file.text().as_bytes(), how, true, site, tally, scraper).await?;
        }
        Deed::Weight(slot, weight, how) => {
            file.entries[slot].weight = weight;
            load(file.text().as_bytes(), how, true, site, tally, scraper).await?;
        }
        Deed::State(slot, state, how) => {
            file.entries[slot].state = state;
            change(slot, state == State::Ready, state != State::Cordon, how, site, file, tally, scraper)
                .await?;
        }
        Deed::Remove(slot, how) => {
            file.entries[slot].present = false;
            change(slot, false, true, how, site, file, tally, scraper).await?;
        }
        Deed::Add(slot, how) => {
            file.entries[slot].present = true;
            change(slot, true, false, how, site, file, tally, scraper).await?;
        }
    }
    Ok(())
}

/// The file wants something else of an instance. `shut`: it is to get no session start from then on.
#[expect(clippy::too_many_arguments, reason = "all that there is takes part")]
async fn change(
    slot: usize,
    well: bool,
    shut: bool,
    how: How,
    site: &Site,
    file: &File,
    tally: &Tally,
    scraper: &mut Scraper,
) -> io::Result<()> {
    let shut_since = &tally.slots[slot].shut_since;
    shut_since.set(None);
    tally.disturb(slot);
    load(file.text().as_bytes(), how, true, site, tally, scraper).await?;
    if well {
        tally.is_well(slot);
    } else if shut && how.ask == Ask::HangUp {
        shut_since.set(Some(tokio::time::Instant::now()));
    }
    Ok(())
}

/// Another file. When it is asked for, waits for what comes of it.
async fn load(
    content: &[u8],
    how: How,
    good: bool,
    site: &Site,
    tally: &Tally,
    scraper: &mut Scraper,
) -> io::Result<()> {
    let before = scraper.scrape().await?.reloads();
    site.write(content, how).await?;
    if how.ask == Ask::Watch {
        return Ok(());
    }
    let begin = Instant::now();
    loop {
        let scrape = scraper.scrape().await?;
        let done = scrape.count("stickyd_config_last_reload_successful", &[]) == 1;
        // The watcher may just have come to what was there before.
        if scrape.reloads() > before && done == good {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(10) {
            let what = if scrape.reloads() == before {
                "a reload that was asked for does not come"
            } else if done {
                "a bad file is in force"
            } else {
                "a good file is refused"
            };
            tally.violated(what);
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Everything is in force, and all instances pass.
async fn settle(site: &Site, file: &File, tally: &Tally, scraper: &mut Scraper) -> io::Result<()> {
    load(
        file.text().as_bytes(),
        How { manner: Manner::Rename, ask: Ask::HangUp },
        true,
        site,
        tally,
        scraper,
    )
    .await?;
    let begin = Instant::now();
    let mut names: Vec<String> = (0..INSTANCES).map(|slot| file.name(slot)).collect();
    names.sort_unstable();
    loop {
        let scrape = scraper.scrape().await?;
        let mut shown: Vec<&str> = scrape
            .samples("stickyd_instance_up")
            .filter(|(_, up)| *up > 0.0)
            .filter_map(|(sample, _)| crate::scrape::label(sample, "instance"))
            .collect();
        shown.sort_unstable();
        if shown == names {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(20) {
            tally.violated(format!("in the end {shown:?} are up, and the file names {names:?}"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn summary(tally: &Tally, memory: &Memory, site: &Site) {
    println!("\nwhat clients saw:");
    tally.print_counts();
    println!("  pings of both ends answered: {}", percentiles(&mut tally.pongs.borrow_mut()));
    println!(
        "  {} frames and {} MB were checked at the clients",
        tally.frames.get(),
        tally.bytes.get() / 1_000_000
    );
    println!("  this program itself was late by up to {} ms", tally.late_ms.get());
    println!("\nseconds: RSS kB, files, threads of the proxy");
    let show = |when: &str, process: Process| {
        println!("  {when:>6}: {:7} {:5} {:3}", process.resident, process.files, process.threads);
    };
    show("start", memory.at_start);
    memory.series.iter().for_each(|(at, process)| show(&format!("{at:.0}"), *process));
    show("end", site.process());
}

/// SIGTERM ends the proxy in time, and as a success.
pub(crate) async fn terminate(site: &mut Site, tally: &Tally) {
    match site.terminate().await {
        Some((status, took)) => {
            println!("SIGTERM: {status} after {:.2} s", took.as_secs_f64());
            if !status.success() || took > Duration::from_secs(12) {
                tally.violated(format!("SIGTERM: {status} after {took:?}"));
            }
        }
        None => tally.violated("SIGTERM does not end the proxy"),
    }
}
