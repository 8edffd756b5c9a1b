//! The open packet: the first packet of the answer that starts an Engine.IO session by polling. It names the session.
//!
//! | form | written as |
//! | --- | --- |
//! | Engine.IO 4 | `0{"sid":...}`, then perhaps 0x1e and more packets |
//! | Engine.IO 3 | `97:0{"sid":...}`, then perhaps `2:40` |
//! | Engine.IO 3, binary (XHR2) | byte 0 or 1, the length's digits as bytes 0 to 9, byte 0xff, `0{"sid":...}` |
//! | JSONP | any of these as a string of a script: `___eio[0]("0{\"sid\":...}");` |
//!
//! So there are three readers, each fed by the one before, byte by byte, because the body may be cut anywhere:
//! [`Script`] takes JSONP off, [`Framing`] finds the packet, [`Braces`] its end. Only then the object is parsed, once.
//!
//! Lengths are skipped, not believed: nothing is to be found by them that the object's end does not tell better.
//!
//! Must not: change or keep back what it looks at, care about packets behind the first.

mod script;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use script::{Character, Script};
use serde::Deserialize;

/// So many bytes of a body are looked at, before decoding. Open packets have about 100, those with a long sid and an
/// application's own fields some hundred; a body without one should not be kept for longer than its first read.
pub const BYTES_MAX: usize = 4096;

/// A longer sid is not learned, in bytes. Node's have 20 characters, engineioxide's 16; those of an application's own
/// `generateId` perhaps carry an address and a MAC. They are part of every request line of the client.
pub const SID_MAX: usize = 256;

/// A longer time counts as this one: what an instance says must not keep entries for ever.
pub const TIME_MAX: Duration = Duration::from_hours(24);

/// Engine.IO's own defaults, for a packet that does not say.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What an open packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session's id: 1 to [`SID_MAX`] bytes, any characters.
    pub sid: Box<str>,
    /// At most [`TIME_MAX`].
    pub ping_interval: Duration,
    /// At most [`TIME_MAX`].
    pub ping_timeout: Duration,
}

/// What is known so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// More bytes are needed.
    NotYet,
    /// The open packet.
    Opened(Opened),
    /// There is no open packet, or none that can be read. Nothing more is looked at.
    Unreadable,
}

/// Looks for the open packet in a body that is passed on meanwhile.
#[derive(Debug)]
pub struct Learner {
    /// Bytes looked at.
    seen: usize,
    wrapping: Wrapping,
    framing: Framing,
    braces: Braces,
    /// The packet's object so far.
    object: Vec<u8>,
    done: bool,
}

/// What is around the payload.
#[derive(Debug)]
enum Wrapping {
    /// Nothing came yet.
    Unknown,
    None,
    Script(Script),
}

/// Where in the payload.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Start,
    /// In the digits of a length; or behind the type of an Engine.IO 4 packet, when they are just a zero.
    Length {
        just_zero: bool,
    },
    BinaryLength,
    /// Before the packet's type.
    Type,
    /// Between the type and the object.
    Before,
    Object,
}

/// Follows an object to its end without understanding it.
#[derive(Debug, Default)]
struct Braces {
    depth: u16,
    in_string: bool,
    escaped: bool,
}

/// What a byte of the payload led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    /// The object is whole.
    Whole,
    Wrong,
}

/// The packet's object, as far as it matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow)]
    sid: Cow<'a, str>,
    /// Milliseconds; whoever computes them in floating point may write them so. Node's `Infinity` becomes null.
    ping_interval: Option<f64>,
    ping_timeout: Option<f64>,
}

impl Learner {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self {
            seen: 0,
            wrapping: Wrapping::Unknown,
            framing: Framing::Start,
            braces: Braces::default(),
            object: Vec::new(),
            done: false,
        }
    }

    /// Looks at the next bytes of the body, without what transfer and content codings add. Whatever is cut where, the
    /// answer is the same. It is given once: afterwards nothing is looked at, and it is [`Found::NotYet`] for ever.
    pub fn feed(&mut self, bytes: &[u8]) -> Found {
        for byte in bytes {
            if self.done {
                break;
            }
            self.seen += 1;
            let found = match self.next(*byte) {
                Step::Whole => read(&self.object),
                Step::Wrong => Found::Unreadable,
                Step::More if self.seen == BYTES_MAX => Found::Unreadable,
                Step::More => continue,
            };
            return self.finish(found);
        }
        Found::NotYet
    }

    /// The body has ended.
    pub fn end(&mut self) -> Found {
        if self.done { Found::NotYet } else { self.finish(Found::Unreadable) }
    }

    fn finish(&mut self, found: Found) -> Found {
        self.done = true;
        self.object = Vec::new();
        found
    }

    /// Takes the script off, if there is one.
    fn next(&mut self, byte: u8) -> Step {
        if let Wrapping::Unknown = self.wrapping {
            self.wrapping =
                if byte == script::FIRST { Wrapping::Script(Script::default()) } else { Wrapping::None };
        }
        let Wrapping::Script(script) = &mut self.wrapping else { return self.payload(byte) };
        match script.next(byte) {
            Character::None => Step::More,
            Character::Byte(byte) => self.payload(byte),
            Character::Escaped(character) => {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    match self.payload(byte) {
                        Step::More => {}
                        step => return step,
                    }
                }
                Step::More
            }
            Character::Wrong => Step::Wrong,
        }
    }

    /// Finds the packet's object.
    fn payload(&mut self, byte: u8) -> Step {
        self.framing = match (self.framing, byte) {
            (Framing::Start, b'0'..=b'9') => Framing::Length { just_zero: byte == b'0' },
            (Framing::Start, 0 | 1) | (Framing::BinaryLength, 0..=9) => Framing::BinaryLength,
            (Framing::Length { .. }, b'0'..=b'9') => Framing::Length { just_zero: false },
            (Framing::Length { .. }, b':') | (Framing::BinaryLength, 0xff) => Framing::Type,
            (Framing::Type, b'0') => Framing::Before,
            (Framing::Length { just_zero: true } | Framing::Before, b'{') | (Framing::Object, _) => {
                self.object.push(byte);
                if self.braces.close(byte) {
                    return Step::Whole;
                }
                Framing::Object
            }
            // Nobody writes it, every client reads it.
            (Framing::Length { just_zero: true } | Framing::Before, b' ' | b'\t' | b'\n' | b'\r') => {
                Framing::Before
            }
            _ => return Step::Wrong,
        };
        Step::More
    }
}

impl Default for Learner {
    fn default() -> Self {
        Self::new()
    }
}

impl Braces {
    /// Whether `byte` closes the object. The depth cannot overflow: [`BYTES_MAX`] bytes open no more braces.
    fn close(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'}' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

fn read(object: &[u8]) -> Found {
    let Ok(object) = serde_json::from_slice::<Object<'_>>(object) else { return Found::Unreadable };
    if object.sid.is_empty() || object.sid.len() > SID_MAX {
        return Found::Unreadable;
    }
    Found::Opened(Opened {
        sid: object.sid.into(),
        ping_interval: object.ping_interval.map_or(PING_INTERVAL, time),
        ping_timeout: object.ping_timeout.map_or(PING_TIMEOUT, time),
    })
}

fn time(milliseconds: f64) -> Duration {
    Duration::from_secs_f64((milliseconds / 1000.0).clamp(0.0, TIME_MAX.as_secs_f64()))
}
