//! Keep-alive GETs, closed loop: every connection has one request under way. A client keeps its cookie, as a browser
//! does, and has to be answered by the same instance each time: a peer that is not sticky would not be comparable.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Aim, Meter, READ, Timing};
use crate::dial::Dialer;
use crate::http::{self, Head};
use crate::poll::{Interest, Poll};
use crate::record::Record;

/// Options of `http`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    aim: Aim,
    #[command(flatten)]
    timing: Timing,
    /// Keep-alive connections
    #[arg(long, default_value_t = 32)]
    conns: usize,
    /// Header fields of the requests
    #[arg(long, value_enum, default_value_t = Head::Small)]
    head: Head,
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// The start of an answer that came in pieces.
    partial: Vec<u8>,
    instance: u8,
    began: Instant,
    in_window: u64,
}

impl Client {
    fn open(dialer: &mut Dialer, head: Head) -> Result<Client> {
        let stream = dialer.dial()?;
        let (answer, body) = super::ask(&stream, &http::get("/asset", head, None))?;
        let instance = super::check_ordinary(&answer, &body)?;
        stream.set_nonblocking(true)?;
        let request = http::get("/asset", head, answer.cookie.as_deref());
        Ok(Client { stream, request, partial: Vec::new(), instance, began: Instant::now(), in_window: 0 })
    }

    /// A request is far smaller than any socket buffer, and the one before it has been answered.
    fn ask(&mut self, now: Instant) -> Result<()> {
        self.began = now;
        let count = (&self.stream).write(&self.request).context("sending a request")?;
        ensure!(count == self.request.len(), "a request was not taken whole");
        Ok(())
    }

    /// Reads once; true when the answer is complete and right.
    fn read(&mut self, input: &mut [u8], head: Head) -> Result<bool> {
        let count = match (&self.stream).read(input) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading an answer"),
        };
        let bytes: &[u8] = if self.partial.is_empty() {
            &input[..count]
        } else {
            self.partial.extend_from_slice(&input[..count]);
            &self.partial
        };
        let answer = http::answer(bytes)?;
        let Some(answer) = answer.filter(|answer| bytes.len() >= answer.head_len + answer.body_len) else {
            if self.partial.is_empty() {
                self.partial.extend_from_slice(&input[..count]);
            }
            return Ok(false);
        };
        let instance = super::check_ordinary(&answer, &bytes[answer.head_len..])?;
        ensure!(instance == self.instance, "the client was moved to another instance");
        self.partial.clear();
        if answer.cookie.is_some() {
            self.request = http::get("/asset", head, answer.cookie.as_deref());
        }
        Ok(true)
    }
}

/// Runs the loop and reports the window.
pub(crate) fn run(options: &Options) -> Result<Record> {
    let mut dialer = Dialer::new(&options.aim.to)?;
    let mut poll = Poll::new()?;
    let mut clients = Vec::new();
    for token in 0..options.conns {
        let client = Client::open(&mut dialer, options.head)?;
        poll.add(&client.stream, token, Interest::Read)?;
        clients.push(client);
    }
    let first_instance = clients.iter().filter(|client| client.instance == b'1').count();
    let mut meter = Meter::start(&options.aim, options.timing)?;
    for client in &mut clients {
        client.ask(Instant::now())?;
    }
    let (mut ready, mut input) = (Vec::new(), vec![0; READ]);
    while meter.goes_on() {
        poll.wait(&mut ready, Duration::from_millis(20))?;
        for event in &ready {
            let client = &mut clients[event.token];
            if client.read(&mut input, options.head)? {
                let now = Instant::now();
                meter.done(client.began, now);
                client.in_window += u64::from(meter.measures());
                client.ask(now)?;
            }
        }
    }
    for _ in clients.iter().filter(|client| client.in_window == 0) {
        meter.failed();
    }
    let mut record = meter.finish()?;
    record.number("on_first", first_instance as f64 / options.conns as f64, 2);
    Ok(record)
}
