//! The clients: each in a task of its own, all on one thread. They come back as Socket.IO's do.

pub(crate) mod asking;
pub(crate) mod polling;
pub(crate) mod streaming;
pub(crate) mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::conversation::left;
use crate::dice::Dice;
use crate::http::{Head, Wire};
use crate::tally::Tally;

/// An answer comes within this, even from an instance that hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// A client: who it is, what it remembers.
pub(crate) struct Client {
    pub(crate) tally: Rc<Tally>,
    pub(crate) proxy: SocketAddr,
    pub(crate) number: u64,
    pub(crate) dice: Dice,
    /// It keeps cookies.
    keeps: bool,
    cookie: Option<String>,
    failures: u32,
}

impl Client {
    /// `what`: its kind; clients of each kind are counted from 0.
    pub(crate) fn new(tally: &Rc<Tally>, proxy: SocketAddr, what: &str, number: u64) -> Self {
        let mut dice = Dice::of(tally.seed, what, number);
        let number = dice.within(0..=0xff_ffff);
        Client {
            tally: tally.clone(),
            proxy,
            number,
            keeps: dice.percent(50),
            dice,
            cookie: None,
            failures: 0,
        }
    }

    /// A request's head but for its last line.
    fn head(&self, line: &str) -> String {
        let [.., a, b, c] = self.number.to_be_bytes();
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        format!("{line} HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n{cookie}")
    }

    /// Sends a request, and waits for the head of its answer.
    async fn ask(&mut self, wire: &mut Wire, request: impl AsRef<[u8]>) -> io::Result<Head> {
        let head = timeout(PATIENCE, async {
            wire.send(request).await?;
            wire.answer().await
        });
        let head = head.await.unwrap_or_else(|late| Err(late.into()))?;
        if let (true, Some(cookie)) = (self.keeps, head.field("set-cookie")) {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        Ok(head)
    }

    async fn connect(&self) -> Option<Wire> {
        match timeout(PATIENCE, Wire::connect(self.proxy)).await {
            Ok(Ok(wire)) => Some(wire),
            failed => {
                self.tally.violated(format!("the proxy does not let a client in: {failed:?}"));
                None
            }
        }
    }

    /// Waits before it tries again, as Socket.IO does: 1 s, 2 s, 4 s, 5 s, each with a jitter of a half. `false`: it is time to go.
    async fn rests(&mut self) -> bool {
        let longest = 1_000_u64 << self.failures.min(3);
        let delay = longest.min(5_000) * self.dice.within(50..=150) / 100;
        self.failures += 1;
        self.pause(Duration::from_millis(delay)).await
    }

    /// `false`: it is time to go.
    async fn pause(&self, time: Duration) -> bool {
        // An error: the time is over.
        timeout(time, left(&mut self.tally.leaving())).await.is_err()
    }

    fn succeeds(&mut self) {
        self.failures = 0;
    }

    /// An answer that says that it cannot be done now. What else it may be is none.
    fn is_refused(&self, what: &str, head: &Head, since: Instant) {
        let status = head.status();
        let by = head.field("x-instance").map_or("the proxy", |_| "an instance");
        self.tally.count(format!("{what}: {status} of {by}"));
        let excused = matches!(status, 502..=504) && self.tally.was_any_disturbed(since);
        if !excused {
            self.tally.violated(format!("{what}: {status} of {by}"));
        }
    }

    /// No answer came to what was asked of the proxy.
    fn is_unheard(&self, what: &str, error: &io::Error) {
        self.tally.violated(format!("{what}: no answer: {error}"));
    }
}

/// The instance that answered, and which of its lives it was.
fn instance_of(head: &Head) -> Option<(usize, &str)> {
    let (slot, life) = head.field("x-instance")?.split_once('.')?;
    Some((slot.parse().ok()?, life))
}
