//! The proxy's own pings in one tunnel: when the client is asked for a sign of life, which pong answers that, and which
//! pings of the instance the client still owes an answer.
//!
//! Times and bytes in, decisions out. Must not: read a clock, touch a socket, change a frame that is not its own.

use std::time::Duration;

use super::frame::{FrameHeader, HEADER_MAX, Watch};
use crate::local::clock::Moment;

/// An answer is awaited for as long as the silence before it, but not for longer than this.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What our pings carry: as much as fits with a client's header of 6 bytes into what a direction can hold back anyway.
const PAYLOAD: usize = 8;

/// Bytes of a client's pong to a ping of ours: first byte, length, masking key, payload.
pub(super) const PONG_LEN: usize = 6 + PAYLOAD;
const _: () = assert!(PONG_LEN <= HEADER_MAX, "a part of it is held back like a part of a header");

/// Opcodes of RFC 6455 section 11.8.
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_MAX: u64 = 125;

/// A tunnel's pings.
#[derive(Debug)]
pub(super) struct Pings {
    /// When the client was last heard, or when it was put off to ask.
    quiet_since: Moment,
    /// When we asked; nothing was heard since.
    asked: Option<Moment>,
    /// It is time to ask; at the next frame boundary.
    pub(super) wanted: bool,
    /// The instance's latest ping has not been answered.
    owes_instance: bool,
    /// Of all our pings here, so that a late pong is known too. Not secret: the client sees it, and the instance never does.
    payload: [u8; PAYLOAD],
    /// The instance's latest ping.
    ping: Digest,
    /// A pong that passes to the instance.
    pong: Digest,
}

/// What is due when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The client was silent for long enough: ask.
    Ask,
    /// It did not answer.
    Lost,
}

/// Whether a frame is a pong to a ping of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    No,
    /// So far; it is not all there.
    Perhaps,
    Yes,
}

impl Pings {
    /// Of a tunnel that begins. `payload`: a number that the instance does not come upon by itself.
    pub(super) fn new(now: Moment, payload: u64) -> Self {
        Pings {
            quiet_since: now,
            asked: None,
            wanted: false,
            owes_instance: false,
            payload: payload.to_be_bytes(),
            ping: Digest::default(),
            pong: Digest::default(),
        }
    }

    /// What will be due, and when, with a ping after `every` of silence.
    pub(super) fn due(&self, every: Duration) -> (Moment, Due) {
        let wait = every.min(WAIT_MAX);
        match self.asked {
            Some(asked) => (asked.after(wait), Due::Lost),
            // Our ping may go at any moment; so nobody need look at the time again when it does.
            None if self.wanted => (self.quiet_since.after(wait), Due::Ask),
            None => (self.quiet_since.after(every), Due::Ask),
        }
    }

    /// The client was heard: any byte is a sign of life, an answer or not.
    pub(super) fn heard(&mut self, now: Moment) {
        self.quiet_since = now;
        self.asked = None;
        self.wanted = false;
    }

    /// The silence begins again: the client is not to be asked.
    pub(super) fn put_off(&mut self, now: Moment) {
        self.quiet_since = now;
        self.wanted = false;
    }

    /// If we have asked, our ping has not left yet: the wait for the answer begins again.
    pub(super) fn still_queued(&mut self, now: Moment) {
        self.asked = self.asked.map(|_| now);
    }

    /// It is time to ask. Not while the client owes the instance an answer: it may answer only the latest ping.
    pub(super) fn want(&mut self, now: Moment) {
        self.quiet_since = now;
        self.wanted = !self.owes_instance;
    }

    /// Our ping, which goes to the client now: not masked.
    pub(super) fn ask(&mut self, now: Moment) -> [u8; 2 + PAYLOAD] {
        self.wanted = false;
        self.asked = Some(now);
        let mut frame = [0; 2 + PAYLOAD];
        frame[0] = 0x80 | PING;
        frame[1] = 8;
        frame[2..].copy_from_slice(&self.payload);
        frame
    }

    /// Whether the frame at the start of `bytes` answers a ping of ours.
    pub(super) fn own_pong(&self, bytes: &[u8]) -> Own {
        let head = [0x80 | PONG, 0x80 | 8];
        let len = bytes.len().min(head.len());
        if bytes[..len] != head[..len] {
            return Own::No;
        }
        let Some((mask, masked)) = bytes[len..].split_first_chunk::<4>() else { return Own::Perhaps };
        let mut payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        if !self.payload.iter().zip(&mut payload).all(|(ours, theirs)| *ours == theirs) {
            Own::No
        } else if masked.len() < PAYLOAD {
            Own::Perhaps
        } else {
            Own::Yes
        }
    }

    /// For the frames from the client: stops before a pong to us, and looks for the answer to the instance's latest ping.
    pub(super) fn watch_up(&mut self) -> impl Watch {
        FromClient(self)
    }

    /// For the frames from the instance: looks for pings.
    pub(super) fn watch_down(&mut self) -> impl Watch {
        FromInstance(self)
    }
}

struct FromClient<'a>(&'a mut Pings);

impl Watch for FromClient<'_> {
    fn begins(&mut self, header: FrameHeader, frame: &[u8]) -> bool {
        if header.opcode != PONG {
            return false;
        }
        if self.0.own_pong(frame) != Own::No {
            return true;
        }
        self.0.pong.begin(header);
        self.passes(&[]);
        false
    }

    fn passes(&mut self, payload: &[u8]) {
        let Pings { ping, pong, owes_instance, .. } = &mut *self.0;
        if pong.follow(payload) && ping.left == 0 && pong.sum == ping.sum {
            *owes_instance = false;
        }
    }
}

struct FromInstance<'a>(&'a mut Pings);

impl Watch for FromInstance<'_> {
    fn begins(&mut self, header: FrameHeader, _frame: &[u8]) -> bool {
        if header.opcode == PING {
            self.0.ping.begin(header);
            self.0.owes_instance = header.payload <= CONTROL_MAX;
            self.passes(&[]);
        }
        false
    }

    fn passes(&mut self, payload: &[u8]) {
        self.0.ping.follow(payload);
    }
}

/// A sum of a control frame's payload, made while it passes in whatever pieces (FNV-1a). Who makes two payloads meet harms
/// only itself.
#[derive(Debug, Default)]
struct Digest {
    sum: u32,
    mask: [u8; 4],
    /// Bytes that are still to come.
    left: u8,
    /// A frame has begun and its end was not told.
    open: bool,
}

impl Digest {
    fn begin(&mut self, header: FrameHeader) {
        // A longer control frame cannot be; it never ends here, so it answers nothing.
        self.open = header.payload <= CONTROL_MAX;
        self.left = if self.open { u8::try_from(header.payload).expect("at most 125") } else { 0 };
        self.mask = header.mask;
        self.sum = 0x811c_9dc5 ^ u32::from(self.left);
    }

    /// `true`: the frame is whole with this, which is told once.
    fn follow(&mut self, payload: &[u8]) -> bool {
        if !self.open {
            return false;
        }
        for byte in payload.iter().take(usize::from(self.left)) {
            self.sum = (self.sum ^ u32::from(byte ^ self.mask[0])).wrapping_mul(0x0100_0193);
            self.mask.rotate_left(1);
            self.left -= 1;
        }
        self.open = self.left > 0;
        !self.open
    }
}

#[cfg(test)]
mod tests;
