//! What one end of a tunnel says: an endless stream of frames that the tunnel's number decides, so that the other end knows every
//! byte before it comes.
//!
//! Pure. Pongs and Close frames are not part of the stream, for they come when they come; everything else is, masks and pings too.

use crate::dice::Dice;

pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const CLOSE: u8 = 0x8;

/// Bytes of the payload of the proxy's own pings. Ours have another length, so that the two can be told apart.
const PROXY_PING: usize = 8;

/// An end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Instance,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Side::Client => Side::Instance,
            Side::Instance => Side::Client,
        }
    }
}

/// The frames that one end sends, one after the other.
#[derive(Debug)]
pub(crate) struct Stream {
    side: Side,
    dice: Dice,
    /// Inside a fragmented message.
    continues: bool,
}

impl Stream {
    pub(crate) fn of(tunnel: u64, side: Side) -> Self {
        let what = if side == Side::Client { "up" } else { "down" };
        Stream { side, dice: Dice::of(tunnel, what, tunnel), continues: false }
    }

    /// Replaces `wire` by the next frame; `Some`: it is a ping with this payload.
    pub(crate) fn next(&mut self, wire: &mut Vec<u8>) -> Option<Vec<u8>> {
        wire.clear();
        let ping = self.dice.percent(15);
        let first = if ping { 0x80 | PING } else { self.data() };
        let size = if ping { self.dice.within(9..=30) } else { self.size() };
        let mut payload = Vec::with_capacity(size as usize);
        self.dice.fill(&mut payload, size as usize);
        let mask = (self.side == Side::Client).then(|| (self.dice.roll() as u32).to_be_bytes());
        frame(wire, first, &payload, mask);
        ping.then_some(payload)
    }

    /// The first byte of a frame with data: alone, or a fragment, at times with a bit that belongs to an extension.
    fn data(&mut self) -> u8 {
        let last = self.dice.percent(if self.continues { 40 } else { 70 });
        let opcode = if self.continues { 0x0 } else { self.dice.one(&[0x1, 0x2]) };
        let reserved = if !self.continues && self.dice.percent(10) { 0x40 } else { 0 };
        self.continues = !last;
        u8::from(last) << 7 | reserved | opcode
    }

    /// Mostly small, of every length that a header can say, 2 kB on the average.
    fn size(&mut self) -> u64 {
        match self.dice.within(0..=999) {
            0..600 => self.dice.within(0..=125),
            600..870 => self.dice.within(126..=2_000),
            870..970 => self.dice.within(2_000..=16_000),
            970..998 => self.dice.within(16_000..=65_535),
            _ => self.dice.within(65_536..=200_000),
        }
    }
}

/// Appends a frame.
pub(crate) fn frame(wire: &mut Vec<u8>, first: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    wire.push(first);
    match payload.len() {
        length @ 0..126 => wire.push(masked | length as u8),
        length @ 126..0x1_0000 => {
            wire.push(masked | 0x7e);
            wire.extend((length as u16).to_be_bytes());
        }
        length => {
            wire.push(masked | 0x7f);
            wire.extend((length as u64).to_be_bytes());
        }
    }
    wire.extend(mask.iter().flatten());
    let begin = wire.len();
    wire.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply(&mut wire[begin..], mask);
    }
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    for piece in payload.chunks_mut(4) {
        piece.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// The header of a frame, by RFC 6455 section 5.2.
struct Head {
    len: usize,
    payload: usize,
    opcode: u8,
    mask: Option<[u8; 4]>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, mut len) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()), 10),
            short => (u64::from(short), 2),
        };
        let mask = if second & 0x80 == 0 {
            None
        } else {
            len += 4;
            Some(bytes.get(len - 4..len)?.try_into().unwrap())
        };
        Some(Head { len, payload: usize::try_from(payload).ok()?, opcode: first & 0x0f, mask })
    }
}

/// What is heard besides data.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The other end's ping, or the proxy's.
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The code, and what follows it.
    Close(Option<u16>, String),
}

/// Knows what has to come, and says what did instead.
#[derive(Debug)]
pub(crate) struct Checker {
    from: Side,
    stream: Stream,
    /// The frame of the stream that comes next.
    expected: Vec<u8>,
    /// What came and is no whole frame yet.
    part: Vec<u8>,
    closed: bool,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) proxy_pings: u64,
}

impl Checker {
    /// Of what comes `from` an end of this tunnel.
    pub(crate) fn of(tunnel: u64, from: Side) -> Self {
        let mut stream = Stream::of(tunnel, from);
        let mut expected = Vec::new();
        stream.next(&mut expected);
        Checker {
            from,
            stream,
            expected,
            part: Vec::new(),
            closed: false,
            frames: 0,
            bytes: 0,
            proxy_pings: 0,
        }
    }

    /// Takes what came.
    ///
    /// # Errors
    /// What should not have come.
    pub(crate) fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(head) = Head::parse(&part[at..]) {
            let end = at + head.len + head.payload;
            if part.len() < end {
                break;
            }
            self.frame(&head, &part[at..end], heard)?;
            at = end;
        }
        part.drain(..at);
        self.part = part;
        if self.closed && !self.part.is_empty() {
            return Err(format!("{} bytes behind a Close: {}", self.part.len(), shown(&self.part)));
        }
        Ok(())
    }

    fn frame(&mut self, head: &Head, frame: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        if self.closed {
            return Err(format!("a frame behind a Close: {}", shown(frame)));
        }
        if head.mask.is_some() != (self.from == Side::Client) {
            return Err(format!("masked from an instance, or not masked from a client: {}", shown(frame)));
        }
        let ping_of_proxy = head.opcode == PING && head.payload == PROXY_PING && self.from == Side::Instance;
        if !ping_of_proxy && !matches!(head.opcode, PONG | CLOSE) {
            return self.data(head, frame, heard);
        }
        let mut payload = frame[head.len..].to_vec();
        apply(&mut payload, head.mask.unwrap_or_default());
        match head.opcode {
            PONG => heard.push(Heard::Pong(payload)),
            CLOSE => {
                self.closed = true;
                let code = payload.get(..2).map(|code| u16::from_be_bytes(code.try_into().unwrap()));
                let rest = payload.get(2..).unwrap_or_default();
                heard.push(Heard::Close(code, String::from_utf8_lossy(rest).into_owned()));
            }
            _ => {
                self.proxy_pings += 1;
                heard.push(Heard::Ping(payload));
            }
        }
        Ok(())
    }

    /// A frame of the stream.
    fn data(&mut self, head: &Head, frame: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        if frame != self.expected {
            let same = frame.iter().zip(&self.expected).take_while(|(came, due)| came == due).count();
            let (came, due) = (shown(&frame[same..]), shown(&self.expected[same..]));
            let number = self.frames;
            return Err(format!(
                "frame {number} is another one from its byte {same} on: {came} instead of {due}"
            ));
        }
        if head.opcode == PING {
            let mut payload = frame[head.len..].to_vec();
            apply(&mut payload, head.mask.unwrap_or_default());
            heard.push(Heard::Ping(payload));
        }
        self.frames += 1;
        self.stream.next(&mut self.expected);
        Ok(())
    }

    /// Nothing more comes; `true`: it ended between two frames.
    ///
    /// # Errors
    /// What came last was not the beginning of what was due.
    pub(crate) fn end(&self) -> Result<bool, String> {
        let control = self.part.first().is_some_and(|first| matches!(first & 0x0f, PONG | CLOSE | PING));
        if control || self.expected.starts_with(&self.part) {
            return Ok(self.part.is_empty());
        }
        Err(format!("it ended in {}, which is not the begin of frame {}", shown(&self.part), self.frames))
    }
}

/// Bytes for a person.
fn shown(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().take(24).map(|byte| format!("{byte:02x}")).collect();
    format!("[{}{}]", hex.join(" "), if bytes.len() > 24 { " ..." } else { "" })
}
