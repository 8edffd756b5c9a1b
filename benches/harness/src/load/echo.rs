//! WebSocket echo, closed loop: every tunnel has one message under way. Every echo's header, tunnel number and
//! sequence are compared, whole payloads now and then (small ones always).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Aim, MASK, Meter, READ, Timing};
use crate::dial::Dialer;
use crate::http;
use crate::poll::{Interest, Poll};
use crate::record::Record;
use crate::websocket;

/// Payloads up to this are compared whole each time, longer ones once in `EVERY` messages.
const SMALL: usize = 1024;
const EVERY: u32 = 16;

/// Options of `echo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    aim: Aim,
    #[command(flatten)]
    timing: Timing,
    /// Tunnels
    #[arg(long, default_value_t = 100)]
    conns: usize,
    /// Bytes of a message's payload
    #[arg(long, default_value_t = 64)]
    size: usize,
}

struct Tunnel {
    stream: TcpStream,
    /// The masked frame that is sent, and the frame that has to come back.
    frame: Vec<u8>,
    expected: Vec<u8>,
    sent: usize,
    received: usize,
    sequence: u32,
    began: Instant,
    waits_to_write: bool,
    /// Completed in the measured window: zero is a tunnel that starved.
    in_window: u64,
}

impl Tunnel {
    fn open(dialer: &mut Dialer, connection: usize, size: usize) -> Result<Tunnel> {
        let stream = dialer.dial()?;
        let (answer, _) = super::ask(&stream, &http::upgrade())?;
        super::check_switch(&answer)?;
        stream.set_nonblocking(true)?;
        let payload = super::payload(connection, size);
        Ok(Tunnel {
            stream,
            frame: websocket::frame(websocket::BINARY, &payload, Some(MASK)),
            expected: websocket::frame(websocket::BINARY, &payload, None),
            sent: 0,
            received: 0,
            sequence: 0,
            began: Instant::now(),
            waits_to_write: false,
            in_window: 0,
        })
    }

    /// Numbers the next message. The four bytes lie behind the tunnel's number at the start of the payload; the
    /// payload starts at a multiple of the mask in neither frame's terms, so the mask begins anew there.
    fn begin(&mut self, size: usize, now: Instant) {
        self.sent = 0;
        self.received = 0;
        self.began = now;
        if size < 8 {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let plain = self.sequence.to_be_bytes();
        let at = self.expected.len() - size + 4;
        self.expected[at..at + 4].copy_from_slice(&plain);
        let at = self.frame.len() - size + 4;
        for (index, byte) in plain.iter().enumerate() {
            self.frame[at + index] = byte ^ MASK[index];
        }
    }

    /// Writes what the socket takes, and asks to be told when there is room for the rest.
    fn write(&mut self, poll: &Poll, token: usize) -> Result<()> {
        match (&self.stream).write(&self.frame[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("sending a message"),
        }
        let waits = self.sent < self.frame.len();
        if waits != self.waits_to_write {
            self.waits_to_write = waits;
            poll.change(&self.stream, token, if waits { Interest::Both } else { Interest::Read })?;
        }
        Ok(())
    }

    /// Reads once; true when the echo is complete.
    fn read(&mut self, input: &mut [u8]) -> Result<bool> {
        let count = match (&self.stream).read(input) {
            Ok(0) => bail!("the tunnel was closed"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading an echo"),
        };
        let end = self.received + count;
        ensure!(end <= self.expected.len(), "more bytes came back than were sent");
        let whole = self.expected.len() <= SMALL || self.sequence.is_multiple_of(EVERY);
        // The first bytes, header, number and sequence, are compared each time.
        let compared = if whole { count } else { count.min(24_usize.saturating_sub(self.received)) };
        let expected = &self.expected[self.received..self.received + compared];
        ensure!(input[..compared] == *expected, "the echo differs from what was sent");
        self.received = end;
        Ok(end == self.expected.len())
    }
}

/// Runs the loop and reports the window.
pub(crate) fn run(options: &Options) -> Result<Record> {
    let size = options.size;
    let mut dialer = Dialer::new(&options.aim.to)?;
    let mut poll = Poll::new()?;
    let mut tunnels = Vec::new();
    for connection in 0..options.conns {
        let tunnel = Tunnel::open(&mut dialer, connection, size)?;
        poll.add(&tunnel.stream, connection, Interest::Read)?;
        tunnels.push(tunnel);
    }
    let mut meter = Meter::start(&options.aim, options.timing)?;
    for (token, tunnel) in tunnels.iter_mut().enumerate() {
        tunnel.begin(size, Instant::now());
        tunnel.write(&poll, token)?;
    }
    let (mut ready, mut input) = (Vec::new(), vec![0; READ]);
    while meter.goes_on() {
        poll.wait(&mut ready, Duration::from_millis(20))?;
        for event in &ready {
            let tunnel = &mut tunnels[event.token];
            if event.write && tunnel.waits_to_write {
                tunnel.write(&poll, event.token)?;
            }
            if event.read && tunnel.read(&mut input)? {
                let now = Instant::now();
                meter.done(tunnel.began, now);
                tunnel.in_window += u64::from(meter.measures());
                tunnel.begin(size, now);
                tunnel.write(&poll, event.token)?;
            }
        }
    }
    for _ in tunnels.iter().filter(|tunnel| tunnel.in_window == 0) {
        meter.failed();
    }
    meter.finish()
}
