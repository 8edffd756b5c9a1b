//! What all loads share: whom to load, for how long, and the meter that counts within the measured window and takes
//! the CPU of the proxy over exactly that window.

pub(crate) mod echo;
pub(crate) mod hold;
pub(crate) mod requests;
pub(crate) mod upgrades;

#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::http;
use crate::record::Record;
use crate::sample::{self, Cpu};
use crate::websocket;

/// Bytes of one read.
const READ: usize = 256 * 1024;
/// The clients' masking key. Not zero, so that masking costs the instance what it costs in life.
const MASK: [u8; 4] = [0x5A, 0x13, 0xC7, 0x2E];
/// A reply that is not here by then is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to load, and whose CPU and memory to take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Aim {
    /// Where to connect; several addresses are used in turn
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) to: Vec<SocketAddr>,
    /// Process id of the proxy; its descendants count too
    #[arg(long)]
    pub(crate) proxy: Option<u32>,
    /// Process id of the instance, to tell its share of the load's CPU
    #[arg(long)]
    pub(crate) instance: Option<u32>,
}

/// How long a closed loop runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Timing {
    /// Seconds before the measured window
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Seconds of the measured window
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
}

/// CPU of everybody at one moment.
struct Sample {
    at: Instant,
    proxy: Cpu,
    client: Cpu,
    instance: Cpu,
    busy_ns: u64,
}

impl Sample {
    fn take(aim: &Aim) -> Sample {
        // Processes that a proxy forks in the window are found by the second sample.
        let proxy = aim.proxy.map(sample::tree).unwrap_or_default();
        let instance: Vec<u32> = aim.instance.into_iter().collect();
        Sample {
            client: Cpu::read(&[std::process::id()]),
            instance: Cpu::read(&instance),
            busy_ns: sample::machine_busy_ns(),
            proxy: Cpu::read(&proxy),
            at: Instant::now(),
        }
    }
}

/// Counts operations in the measured window of a closed loop.
pub(crate) struct Meter<'a> {
    aim: &'a Aim,
    opens: Instant,
    length: Duration,
    first: Option<Sample>,
    ops: u64,
    errors: u64,
    latency: Histogram<u64>,
}

impl<'a> Meter<'a> {
    /// The warm-up starts now.
    pub(crate) fn start(aim: &'a Aim, timing: Timing) -> Result<Meter<'a>> {
        let warmup = Duration::try_from_secs_f64(timing.warmup).context("--warmup")?;
        let length = Duration::try_from_secs_f64(timing.seconds).context("--seconds")?;
        // Nanoseconds, up to a minute, three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Meter { aim, opens: Instant::now() + warmup, length, first: None, ops: 0, errors: 0, latency })
    }

    /// To be asked after each wait; false once the window is over.
    pub(crate) fn goes_on(&mut self) -> bool {
        if let Some(first) = &self.first {
            return first.at.elapsed() < self.length;
        }
        if Instant::now() >= self.opens {
            self.ops = 0;
            self.latency.reset();
            self.first = Some(Sample::take(self.aim));
        }
        true
    }

    /// The window is open: what is done from now on counts.
    pub(crate) fn measures(&self) -> bool {
        self.first.is_some()
    }

    /// An operation that began at `began` is complete. Those that began before the window count too: as many as
    /// there are, as many are left incomplete at its end.
    pub(crate) fn done(&mut self, began: Instant, now: Instant) {
        self.ops += 1;
        let nanoseconds = u64::try_from(now.duration_since(began).as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds);
    }

    /// An operation failed; in the warm-up too, since a failure is never noise.
    pub(crate) fn failed(&mut self) {
        self.errors += 1;
    }

    /// The figures. `proxy_busy` is the share of one CPU: well below 1, the proxy waited for the load, and its
    /// cost per operation holds more wake-ups than at full load.
    pub(crate) fn finish(self) -> Result<Record> {
        let first = self.first.context("the measured window never opened")?;
        let last = Sample::take(self.aim);
        ensure!(self.ops > 0, "no operation was completed ({} errors)", self.errors);
        let window_ns = last.at.duration_since(first.at).as_secs_f64() * 1e9;
        let (proxy, ended) = last.proxy.since(&first.proxy);
        let (client, _) = last.client.since(&first.client);
        let (instance, _) = last.instance.since(&first.instance);
        let ours = proxy + client + instance;
        let others = last.busy_ns.saturating_sub(first.busy_ns).saturating_sub(ours);
        let per_op = |ns: u64| ns as f64 / 1000.0 / self.ops as f64;
        let mut record = Record::default();
        record.set("ops", self.ops);
        record.number("per_s", self.ops as f64 / window_ns * 1e9, 0);
        record.number("cpu_us", per_op(proxy), 3);
        record.number("proxy_busy", proxy as f64 / window_ns, 2);
        record.number("client_us", per_op(client), 3);
        record.number("instance_us", per_op(instance), 3);
        record.number("others_busy", others as f64 / window_ns, 2);
        for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("max_us", 1.0)] {
            record.number(name, self.latency.value_at_quantile(quantile) as f64 / 1000.0, 0);
        }
        record.set("errors", self.errors);
        if ended > 0 {
            // Their last share of CPU is missing from cpu_us.
            record.set("threads_ended", ended);
        }
        Ok(record)
    }
}

/// Sends a request on a blocking socket and reads the answer: its head, and the body if there is one.
pub(crate) fn ask(stream: &TcpStream, request: &[u8]) -> Result<(http::Answer, Vec<u8>)> {
    send(stream, request)?;
    hear(stream)
}

/// The sending half of `ask`.
pub(crate) fn send(mut stream: &TcpStream, request: &[u8]) -> Result<()> {
    stream.write_all(request).context("sending a request")
}

/// The reading half of `ask`.
pub(crate) fn hear(mut stream: &TcpStream) -> Result<(http::Answer, Vec<u8>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).context("waiting for an answer")?;
        ensure!(count > 0, "closed before the answer was complete");
        bytes.extend_from_slice(&piece[..count]);
        let Some(answer) = http::answer(&bytes)? else { continue };
        if bytes.len() < answer.head_len + answer.body_len {
            continue;
        }
        let body = bytes.split_off(answer.head_len);
        ensure!(body.len() == answer.body_len, "{} bytes behind the answer", body.len() - answer.body_len);
        return Ok((answer, body));
    }
}

/// Checks that an answer is the instance's 101.
pub(crate) fn check_switch(answer: &http::Answer) -> Result<()> {
    ensure!(answer.status == 101, "status {} to an upgrade", answer.status);
    match answer.accept.as_deref() {
        Some(accept) if accept == websocket::accept(websocket::KEY.as_bytes()) => Ok(()),
        other => bail!("wrong Sec-WebSocket-Accept: {other:?}"),
    }
}

/// Checks that an answer is the ordinary one; says which instance gave it.
pub(crate) fn check_ordinary(answer: &http::Answer, body: &[u8]) -> Result<u8> {
    ensure!(answer.status == 200, "status {} to a GET", answer.status);
    ensure!(
        body.len() == http::BODY && body[1..].starts_with(b" is the instance"),
        "not the instance's body"
    );
    Ok(body[0])
}

/// A payload that no other connection has: its number, a sequence, then bytes that repeat at no power of two.
pub(crate) fn payload(connection: usize, size: usize) -> Vec<u8> {
    let mut payload = vec![0; size];
    let mut next = u8::try_from(connection % 251).unwrap_or(0);
    for byte in &mut payload {
        // 7 and 251 have no common divisor: every byte below 251, then the same again.
        *byte = next;
        next = u8::try_from((u16::from(next) + 7) % 251).unwrap_or(0);
    }
    if let Some(start) = payload.first_chunk_mut::<8>() {
        start[..4].copy_from_slice(&u32::try_from(connection).unwrap_or(u32::MAX).to_be_bytes());
        start[4..].fill(0);
    }
    payload
}

/// Sends one message of `size` bytes through a blocking tunnel and takes its echo.
pub(crate) fn exchange(mut stream: &TcpStream, connection: usize, size: usize) -> Result<()> {
    let payload = payload(connection, size);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&websocket::frame(websocket::BINARY, &payload, Some(MASK)))?;
    let expected = websocket::frame(websocket::BINARY, &payload, None);
    let mut echoed = vec![0; expected.len()];
    stream.read_exact(&mut echoed).context("waiting for an echo")?;
    ensure!(echoed == expected, "the echo differs from what was sent");
    Ok(())
}
