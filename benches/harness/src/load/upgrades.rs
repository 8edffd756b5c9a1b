//! Connect, upgrade, one echo, Close both ways, end; again. Counts whole lives of a tunnel. A client keeps no cookie:
//! each is a new one, so a peer that seals cookies pays for that here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Aim, MASK, Meter, PATIENCE, Timing};
use crate::dial::Dialer;
use crate::http;
use crate::poll::{Interest, Poll};
use crate::record::Record;
use crate::websocket;

/// Payload of the one message, in bytes.
const SIZE: usize = 64;

/// Options of `upgrade`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    aim: Aim,
    #[command(flatten)]
    timing: Timing,
    /// Tunnels at a time
    #[arg(long, default_value_t = 32)]
    inflight: usize,
}

/// What a tunnel waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Switch,
    Echo,
    Close,
    End,
}

/// The bytes that every tunnel sends and expects.
struct Script {
    upgrade: Vec<u8>,
    accept: String,
    message: Vec<u8>,
    echo: Vec<u8>,
    close: Vec<u8>,
    closed: Vec<u8>,
}

impl Script {
    fn new() -> Script {
        let payload = super::payload(0, SIZE);
        let code = 1000_u16.to_be_bytes();
        Script {
            upgrade: http::upgrade(),
            accept: websocket::accept(websocket::KEY.as_bytes()),
            message: websocket::frame(websocket::BINARY, &payload, Some(MASK)),
            echo: websocket::frame(websocket::BINARY, &payload, None),
            close: websocket::frame(websocket::CLOSE, &code, Some(MASK)),
            closed: websocket::frame(websocket::CLOSE, &code, None),
        }
    }
}

struct Tunnel {
    stream: TcpStream,
    stage: Stage,
    pending: Vec<u8>,
    began: Instant,
}

impl Tunnel {
    fn open(dialer: &mut Dialer, script: &Script) -> Result<Tunnel> {
        let began = Instant::now();
        let stream = dialer.dial()?;
        stream.set_nonblocking(true)?;
        let tunnel = Tunnel { stream, stage: Stage::Switch, pending: Vec::new(), began };
        tunnel.send(&script.upgrade)?;
        Ok(tunnel)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let count = (&self.stream).write(bytes).context("sending")?;
        ensure!(count == bytes.len(), "not taken whole");
        Ok(())
    }

    /// Reads once and goes as far as the bytes reach; true when this life is over as it should be.
    fn turn(&mut self, script: &Script, input: &mut [u8]) -> Result<bool> {
        let count = match (&self.stream).read(input) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("waiting for {:?}", self.stage)),
        };
        if count == 0 {
            ensure!(
                self.stage == Stage::End && self.pending.is_empty(),
                "ended waiting for {:?}",
                self.stage
            );
            return Ok(true);
        }
        self.pending.extend_from_slice(&input[..count]);
        while self.step(script)? {}
        Ok(false)
    }

    /// One stage; false when it needs more bytes.
    fn step(&mut self, script: &Script) -> Result<bool> {
        let used = match self.stage {
            Stage::Switch => {
                let Some(answer) = http::answer(&self.pending)? else { return Ok(false) };
                ensure!(answer.status == 101, "status {} to an upgrade", answer.status);
                ensure!(answer.accept.as_ref() == Some(&script.accept), "wrong Sec-WebSocket-Accept");
                self.send(&script.message)?;
                self.stage = Stage::Echo;
                answer.head_len
            }
            Stage::Echo => {
                let Some(echo) = self.pending.get(..script.echo.len()) else { return Ok(false) };
                ensure!(echo == script.echo, "the echo differs from what was sent");
                self.send(&script.close)?;
                self.stage = Stage::Close;
                script.echo.len()
            }
            Stage::Close => {
                let Some(closed) = self.pending.get(..script.closed.len()) else { return Ok(false) };
                ensure!(closed == script.closed, "not the Close that was sent");
                self.stage = Stage::End;
                script.closed.len()
            }
            Stage::End if self.pending.is_empty() => return Ok(false),
            Stage::End => bail!("bytes behind the Close"),
        };
        self.pending.drain(..used);
        Ok(true)
    }
}

/// Runs the loop and reports the window. A tunnel that fails is counted, its first reason told, and replaced.
pub(crate) fn run(options: &Options) -> Result<Record> {
    let script = Script::new();
    let mut dialer = Dialer::new(&options.aim.to)?;
    let mut poll = Poll::new()?;
    let mut tunnels = Vec::new();
    let mut meter = Meter::start(&options.aim, options.timing)?;
    for token in 0..options.inflight {
        let tunnel = Tunnel::open(&mut dialer, &script)?;
        poll.add(&tunnel.stream, token, Interest::Read)?;
        tunnels.push(tunnel);
    }
    let (mut ready, mut input, mut first_failure) = (Vec::new(), vec![0; 16 * 1024], None);
    let mut searched = Instant::now();
    while meter.goes_on() {
        poll.wait(&mut ready, Duration::from_millis(20))?;
        for event in &ready {
            let tunnel = &mut tunnels[event.token];
            match tunnel.turn(&script, &mut input) {
                Ok(false) => continue,
                Ok(true) => meter.done(tunnel.began, Instant::now()),
                Err(error) => {
                    meter.failed();
                    first_failure.get_or_insert(format!("{error:#}"));
                }
            }
            *tunnel = Tunnel::open(&mut dialer, &script)?;
            poll.add(&tunnel.stream, event.token, Interest::Read)?;
        }
        if searched.elapsed() < Duration::from_secs(1) {
            continue;
        }
        searched = Instant::now();
        for (token, tunnel) in tunnels.iter_mut().enumerate() {
            if tunnel.began.elapsed() > PATIENCE {
                meter.failed();
                first_failure.get_or_insert(format!("stuck waiting for {:?}", tunnel.stage));
                *tunnel = Tunnel::open(&mut dialer, &script)?;
                poll.add(&tunnel.stream, token, Interest::Read)?;
            }
        }
    }
    let mut record = meter.finish()?;
    if let Some(reason) = first_failure {
        record.set("first_failure", reason);
    }
    Ok(record)
}
