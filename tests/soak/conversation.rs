//! One end of a tunnel: says its stream in pieces, checks the other end's, answers pings, ends as the tunnel's plan says.
//!
//! A Close of an end says how many frames it sent, so that the other end can tell whether all of them came. A Close without that is
//! the proxy's. Must not judge how a tunnel ended: who runs it knows what was done to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;
use crate::stream::{CLOSE, Checker, Heard, PONG, Side, Stream, frame};

/// An end that has said its last word hears of the end within this; generous, for an instance may be stopped meanwhile.
const PATIENCE: Duration = Duration::from_secs(40);

/// A client hears something of its instance within this, or of its end.
const SILENCE: Duration = Duration::from_mins(1);

/// How an end ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// With a Close frame.
    Close,
    /// Without one, in order.
    Fin,
    /// By tearing the connection down.
    Reset,
}

/// What both ends of a tunnel know of it by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Milliseconds between two frames.
    gap: (u64, u64),
    /// Frames are sent in pieces.
    pieces: bool,
    /// Who ends it, how, after how long; otherwise nobody does.
    pub(crate) end: Option<(Side, How, Duration)>,
}

impl Plan {
    /// `steady`: nobody ends it, and answers to pings wait for nothing, so that they can be timed; it speaks so many times less often.
    /// 0: it is not steady.
    pub(crate) fn of(tunnel: u64, steady: u64) -> Self {
        let (slower, steady) = (steady.max(1), steady > 0);
        let mut dice = Dice::of(tunnel, "plan", tunnel);
        // Some are silent for so long that the proxy pings their clients.
        let gap = if dice.percent(20) && !steady { (12_000, 20_000) } else { (100 * slower, 1_500 * slower) };
        let after = Duration::from_millis(dice.within(2_000..=90_000));
        let side = if dice.percent(60) { Side::Client } else { Side::Instance };
        let how = match dice.within(0..=99) {
            0..70 => How::Close,
            70..85 => How::Fin,
            _ => How::Reset,
        };
        Plan { gap, pieces: !steady, end: (!steady && dice.percent(60)).then_some((side, how, after)) }
    }
}

/// One end of one tunnel.
pub(crate) struct Talk<'a> {
    pub(crate) tunnel: u64,
    pub(crate) side: Side,
    pub(crate) plan: Plan,
    /// True: it is time to go.
    pub(crate) leave: watch::Receiver<bool>,
    /// Told how long an answer to a ping took.
    pub(crate) on_pong: &'a dyn Fn(Duration),
}

/// How it ended, as this end saw it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How this end ended it, if it did so before it heard of an end.
    pub(crate) said: Option<How>,
    /// The code of the Close that came; with `true` it was the other end's, else the proxy's.
    pub(crate) heard: Option<(Option<u16>, bool)>,
    /// It ended inside a frame.
    pub(crate) inside: bool,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) proxy_pings: u64,
}

/// What the reader asks of the writer.
enum Word {
    Pong(Vec<u8>),
    /// An answer to a Close with this code.
    Close(u16),
}

/// What reader and writer both know.
#[derive(Default)]
struct Known {
    said: Cell<Option<How>>,
    said_at: Cell<Option<Instant>>,
    /// The writer is done.
    said_all: Cell<bool>,
    close_heard: Cell<bool>,
    /// Pings of ours that are not answered.
    asked: RefCell<VecDeque<(Vec<u8>, Instant)>>,
}

impl Talk<'_> {
    /// Talks until the end. `early`: what was read of the other end before.
    ///
    /// # Errors
    /// What came and should not have, or did not come and should have.
    pub(crate) async fn talk(&self, mut stream: TcpStream, early: Vec<u8>) -> Result<Outcome, String> {
        let known = Known::default();
        let (words, hear_words) = mpsc::channel(256);
        let (reader, writer) = stream.split();
        let outcome = {
            let mut hearing = std::pin::pin!(self.hear(reader, early, &words, &known));
            let mut saying = std::pin::pin!(self.say(writer, hear_words, &known));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut hearing => break outcome?,
                    // An error: the reader hears of that end too, and of what came before it.
                    _ = &mut saying, if !known.said_all.get() => {
                        known.said_all.set(true);
                        let over = self.side == Side::Instance && known.close_heard.get();
                        if over || known.said.get() == Some(How::Reset) {
                            break Outcome { said: known.said.get(), ..Outcome::default() };
                        }
                    }
                }
            }
        };
        if known.said.get() == Some(How::Reset) {
            // What is dropped now is torn down.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        Ok(outcome)
    }

    async fn hear(
        &self,
        mut reader: ReadHalf<'_>,
        early: Vec<u8>,
        words: &mpsc::Sender<Word>,
        known: &Known,
    ) -> Result<Outcome, String> {
        let mut checker = Checker::of(self.tunnel, self.side.other());
        let mut outcome = Outcome::default();
        let mut last = Instant::now();
        let mut buffer = early;
        let mut ended = false;
        loop {
            let mut heard = Vec::new();
            checker.take(&buffer, &mut heard)?;
            for heard in heard {
                self.answer(heard, &checker, &mut outcome, words, known).await?;
            }
            if ended || self.side == Side::Instance && known.close_heard.get() && known.said_all.get() {
                break;
            }
            buffer.clear();
            let patience = known.said_at.get().map_or(last + SILENCE, |said| said + PATIENCE);
            tokio::select! {
                biased;
                read = reader.read_buf(&mut buffer) => {
                    last = Instant::now();
                    // However it ended: an error after all that came before it.
                    ended = !matches!(read, Ok(1..));
                }
                () = sleep_until(patience), if self.side == Side::Client || known.said.get().is_some() => {
                    if known.said_at.get().is_none_or(|said| said + PATIENCE <= Instant::now()) {
                        return Err(format!("nothing is heard any more, not even of its end; said {:?}, heard {:?}", known.said.get(), outcome.heard));
                    }
                }
            }
        }
        let whole = checker.end()?;
        outcome.inside = !whole;
        outcome.said = known.said.get().filter(|_| outcome.said.is_some() || !known.close_heard.get());
        (outcome.frames, outcome.bytes, outcome.proxy_pings) =
            (checker.frames, checker.bytes, checker.proxy_pings);
        Ok(outcome)
    }

    async fn answer(
        &self,
        heard: Heard,
        checker: &Checker,
        outcome: &mut Outcome,
        words: &mpsc::Sender<Word>,
        known: &Known,
    ) -> Result<(), String> {
        match heard {
            // An error: we have said our last word.
            Heard::Ping(payload) => drop(words.send(Word::Pong(payload)).await),
            Heard::Pong(payload) => match known.asked.borrow_mut().pop_front() {
                Some((asked, at)) if asked == payload => (self.on_pong)(at.elapsed()),
                asked => return Err(format!("a pong with {payload:?}, asked was {asked:?}")),
            },
            Heard::Close(code, counted) => {
                if !counted.is_empty() && counted != checker.frames.to_string() {
                    return Err(format!(
                        "a Close ({code:?}) behind {counted} frames, of which {} came",
                        checker.frames
                    ));
                }
                outcome.heard = Some((code, !counted.is_empty()));
                outcome.said = known.said.get();
                known.close_heard.set(true);
                known.said_at.set(Some(Instant::now()));
                drop(words.try_send(Word::Close(code.unwrap_or(1000))));
            }
        }
        Ok(())
    }

    /// Says the stream, and what the reader asks for, until somebody ends it.
    async fn say(
        &self,
        mut writer: WriteHalf<'_>,
        mut words: mpsc::Receiver<Word>,
        known: &Known,
    ) -> io::Result<()> {
        let mut stream = Stream::of(self.tunnel, self.side);
        // Pieces and pauses need not be known to the other end, masks of pongs neither.
        let mut dice = Dice::of(self.tunnel, "pieces", self.side as u64);
        let mut frames = 0_u64;
        let mut wire = Vec::new();
        let mut leave = self.leave.clone();
        let mut next = Instant::now() + Duration::from_millis(dice.within(0..=self.plan.gap.1));
        let end = self.plan.end.filter(|(side, ..)| *side == self.side);
        let mut last = std::pin::pin!(async move {
            let planned = async {
                match end {
                    Some((_, how, after)) => {
                        sleep(after).await;
                        how
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                how = planned => how,
                () = left(&mut leave) => How::Close,
            }
        });
        loop {
            tokio::select! {
                biased;
                Some(word) = words.recv() => {
                    wire.clear();
                    let mask = (self.side == Side::Client).then(|| (dice.roll() as u32).to_be_bytes());
                    match word {
                        Word::Pong(payload) => frame(&mut wire, 0x80 | PONG, &payload, mask),
                        Word::Close(code) => {
                            frame(&mut wire, 0x80 | CLOSE, &last_word(code, frames), mask);
                            return writer.write_all(&wire).await;
                        }
                    }
                    writer.write_all(&wire).await?;
                }
                how = &mut last => {
                    known.said.set(Some(how));
                    known.said_at.set(Some(Instant::now()));
                    match how {
                        How::Close => {
                            wire.clear();
                            let mask = (self.side == Side::Client).then(|| (dice.roll() as u32).to_be_bytes());
                            let code = if self.side == Side::Client { 1000 } else { dice.one(&[1000, 1001, 4001]) };
                            frame(&mut wire, 0x80 | CLOSE, &last_word(code, frames), mask);
                            writer.write_all(&wire).await?;
                        }
                        How::Fin => writer.shutdown().await?,
                        How::Reset => {}
                    }
                    return Ok(());
                }
                () = sleep_until(next) => {
                    if let Some(ping) = stream.next(&mut wire) {
                        known.asked.borrow_mut().push_back((ping, Instant::now()));
                    }
                    if self.plan.pieces {
                        in_pieces(&mut writer, &wire, &mut dice).await?;
                    } else {
                        writer.write_all(&wire).await?;
                    }
                    frames += 1;
                    next = Instant::now() + Duration::from_millis(dice.within(self.plan.gap.0..=self.plan.gap.1));
                }
            }
        }
    }
}

/// The payload of a Close of an end: its code, and how many frames came before it.
fn last_word(code: u16, frames: u64) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(frames.to_string().bytes());
    payload
}

/// Most frames whole; the others in two or three pieces with a pause between them, which may lie in a header.
async fn in_pieces(writer: &mut WriteHalf<'_>, wire: &[u8], dice: &mut Dice) -> io::Result<()> {
    let mut rest = wire;
    while rest.len() > 1 && dice.percent(25) {
        let most = if dice.percent(50) { 14.min(rest.len() - 1) } else { rest.len() - 1 };
        let (piece, behind) = rest.split_at(dice.within(1..=most as u64) as usize);
        writer.write_all(piece).await?;
        sleep(Duration::from_millis(dice.within(1..=40))).await;
        rest = behind;
    }
    writer.write_all(rest).await
}

/// Waits until it is time to go.
pub(crate) async fn left(leave: &mut watch::Receiver<bool>) {
    // An error: whoever would say so is gone, and so is the time to stay.
    let _ = leave.wait_for(|leave| *leave).await;
}
