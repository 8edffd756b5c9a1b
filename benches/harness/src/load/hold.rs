//! Memory: opens many tunnels, keep-alive connections or long-polls through the proxy, leaves them alone, and
//! compares the proxy's memory with what it was before. Blocking sockets: nothing here is timed.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Aim;
use crate::dial::Dialer;
use crate::http::{self, Head};
use crate::record::Record;
use crate::sample::{self, Cpu, Memory};

/// Connections that are being opened at a time. Below stickyd's limit of handshakes under way per instance.
const BATCH: usize = 32;
/// Connections opened and closed beforehand, so that what a proxy sets up once is not counted per connection.
const WARMUP: usize = 64;
/// After the warm-up, and after the opening: lets memory that is freed late be freed.
const SETTLE: Duration = Duration::from_millis(700);

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An upgraded connection; with `touch`, one that has carried a message of that many bytes both ways.
    Tunnel {
        /// Payload of the message.
        touch: Option<usize>,
    },
    /// A connection after one GET.
    KeepAlive,
    /// A request that is not answered.
    LongPoll,
}

/// Options of `idle`, `keepalive` and `longpoll`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    aim: Aim,
    /// How many
    #[arg(long, visible_alias = "tunnels", default_value_t = 8000)]
    conns: usize,
    /// Seconds that they are held before memory is read again
    #[arg(long, default_value_t = 2.0)]
    hold: f64,
    /// Address of an instance: it is asked whether it really holds as many
    #[arg(long)]
    instance_at: Option<SocketAddr>,
}

/// Opens all of it, in batches: all of a batch are asked before the first answer is read.
fn open(dialer: &mut Dialer, kind: Kind, conns: usize) -> Result<Vec<TcpStream>> {
    let request = match kind {
        Kind::Tunnel { .. } => http::upgrade(),
        Kind::KeepAlive => http::get("/asset", Head::Browser, None),
        Kind::LongPoll => {
            http::get("/hang?EIO=4&transport=polling&t=PXvM2a1&sid=2Tt5Yf0cRvGh9mQzAAAB", Head::Browser, None)
        }
    };
    let mut streams = Vec::with_capacity(conns);
    while streams.len() < conns {
        let start = streams.len();
        for _ in start..conns.min(start + BATCH) {
            let stream = dialer.dial()?;
            super::send(&stream, &request)?;
            streams.push(stream);
        }
        for (index, stream) in streams.iter().enumerate().skip(start) {
            match kind {
                Kind::Tunnel { touch } => {
                    super::check_switch(&super::hear(stream)?.0)?;
                    if let Some(size) = touch {
                        super::exchange(stream, index, size)?;
                    }
                }
                Kind::KeepAlive => {
                    let (answer, body) = super::hear(stream)?;
                    super::check_ordinary(&answer, &body)?;
                }
                Kind::LongPoll => {}
            }
        }
    }
    Ok(streams)
}

/// How many of `streams` are open and silent, as they should be.
fn silent(streams: &[TcpStream]) -> Result<usize> {
    let mut count = 0;
    for mut stream in streams {
        stream.set_nonblocking(true)?;
        if matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
            count += 1;
        }
    }
    Ok(count)
}

/// Long-polls and tunnels that the instance holds.
fn held(address: SocketAddr) -> Result<(usize, usize)> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
    let (_, body) = super::ask(&stream, &http::get("/held", Head::Small, None))?;
    let text = String::from_utf8(body)?;
    let Some((polls, tunnels)) = text.split_once(' ') else { bail!("not an answer to /held: {text:?}") };
    Ok((polls.parse()?, tunnels.parse()?))
}

/// Of those, the ones of a kind. Idle keep-alive connections are the proxy's own business.
fn held_of(kind: Kind, at: Option<SocketAddr>) -> Result<usize> {
    let Some(address) = at else { return Ok(0) };
    let (polls, tunnels) = held(address)?;
    Ok(match kind {
        Kind::Tunnel { .. } => tunnels,
        Kind::LongPoll => polls,
        Kind::KeepAlive => 0,
    })
}

/// Waits until the instance holds what it should; an error says how many it does.
fn wait_held(kind: Kind, at: Option<SocketAddr>, expected: usize) -> Result<()> {
    if at.is_none() || kind == Kind::KeepAlive {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        let count = held_of(kind, at)?;
        if count == expected {
            return Ok(());
        }
        ensure!(began.elapsed() < super::PATIENCE, "the instance holds {count} of {expected}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs it and reports bytes per connection.
pub(crate) fn run(options: &Options, kind: Kind) -> Result<Record> {
    let hold = Duration::try_from_secs_f64(options.hold).context("--hold")?;
    let mut dialer = Dialer::new(&options.aim.to)?;
    let memory = || options.aim.proxy.map_or(Ok(Memory::default()), |root| Memory::read(&sample::tree(root)));
    drop(open(&mut dialer, kind, WARMUP)?);
    thread::sleep(SETTLE);
    // HAProxy does not abort a request whose client left: the warm-up's long-polls stay, before and after.
    let left = held_of(kind, options.instance_at)?;
    let before = memory()?;
    let began = Instant::now();
    let streams = open(&mut dialer, kind, options.conns)?;
    wait_held(kind, options.instance_at, left + options.conns)?;
    let opening = began.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let processes = options.aim.proxy.map(sample::tree).unwrap_or_default();
    let (cpu, from) = (Cpu::read(&processes), Instant::now());
    thread::sleep(hold);
    let (spent, _) = Cpu::read(&processes).since(&cpu);
    let idle = spent as f64 / 1e9 / from.elapsed().as_secs_f64();
    let after = memory()?;
    let errors = options.conns - silent(&streams)?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / options.conns as f64;
    let mut record = Record::default();
    record.set("held", options.conns);
    record.set("left", left);
    record.number("anon_bytes", each(after.anon, before.anon), 0);
    record.number("pss_bytes", each(after.pss, before.pss), 0);
    record.set("anon_before_kb", before.anon / 1024);
    record.set("anon_held_kb", after.anon / 1024);
    record.number("idle_cpu_percent", idle * 100.0, 2);
    record.number("opened_per_s", options.conns as f64 / opening, 0);
    record.set("errors", errors);
    Ok(record)
}
