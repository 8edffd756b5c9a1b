//! WebSocket frame boundaries (RFC 6455 section 5.2), followed in place.
//!
//! Pure. The scanner never copies, unmasks or judges a payload: it knows where frames begin and end, how many there
//! were, and what code a Close frame carried. Reserved bits and opcodes belong to extensions and pass.

/// Longest frame header: 2 bytes, 8 of extended length, 4 of masking key.
pub const HEADER_MAX: usize = 14;

/// Opcode of a Close frame.
const CLOSE: u8 = 0x8;

/// A frame's header, as far as boundaries need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the header itself, 2 to [`HEADER_MAX`].
    pub len: usize,
    /// Bytes of payload behind it.
    pub payload: u64,
    /// 0 to 15
    pub opcode: u8,
    /// The masking key; zero for an unmasked frame, which changes no byte.
    pub mask: [u8; 4],
}

/// The length of a frame has its highest bit set, which section 5.2 forbids: its end cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

impl FrameHeader {
    /// Parses the header at the start of `bytes`; `None`: it is not complete.
    ///
    /// # Errors
    /// [`BadLength`]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, BadLength> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (payload, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        if payload >> 63 != 0 {
            return Err(BadLength);
        }
        let (mask, rest) = match (second & 0x80 != 0, rest.split_first_chunk::<4>()) {
            (false, _) => ([0; 4], rest),
            (true, Some((mask, rest))) => (*mask, rest),
            (true, None) => return Ok(None),
        };
        Ok(Some(FrameHeader { len: bytes.len() - rest.len(), payload, opcode: first & 0x0f, mask }))
    }
}

/// Follows the frames of one direction of a tunnel.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Bytes of the current frame's payload that have not passed yet.
    left: u64,
    close: Close,
}

#[derive(Clone, Copy, Debug, Default)]
enum Close {
    #[default]
    NotSeen,
    /// Inside the first two bytes of a Close frame's payload: the code (section 5.5.1), still masked.
    Reading { mask: [u8; 4], first: Option<u8> },
    /// Seen; the code, if there was one.
    Seen(Option<u16>),
}

/// Looks at the frames that pass.
pub trait Watch {
    /// `frame` begins with a frame's header, and goes on with what has come behind it. `true`: this frame is not to pass; the
    /// scan ends before it, and what becomes of it is not the scanner's business.
    fn begins(&mut self, header: FrameHeader, frame: &[u8]) -> bool;

    /// A piece of the payload of the frame that began last.
    fn passes(&mut self, payload: &[u8]);
}

/// Nobody looks.
impl Watch for () {
    fn begins(&mut self, _header: FrameHeader, _frame: &[u8]) -> bool {
        false
    }

    fn passes(&mut self, _payload: &[u8]) {}
}

/// Two look; the first that stops a frame does so before the second sees it.
impl<A: Watch, B: Watch> Watch for (A, B) {
    fn begins(&mut self, header: FrameHeader, frame: &[u8]) -> bool {
        self.0.begins(header, frame) || self.1.begins(header, frame)
    }

    fn passes(&mut self, payload: &[u8]) {
        self.0.passes(payload);
        self.1.passes(payload);
    }
}

/// Nobody looks, or somebody does.
impl<W: Watch> Watch for Option<W> {
    fn begins(&mut self, header: FrameHeader, frame: &[u8]) -> bool {
        self.as_mut().is_some_and(|watch| watch.begins(header, frame))
    }

    fn passes(&mut self, payload: &[u8]) {
        if let Some(watch) = self {
            watch.passes(payload);
        }
    }
}

/// What [`Scanner::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes that may be passed on. Behind them is an incomplete header (or one with a [`BadLength`]), which is to be shown again
    /// in front of what comes next; or a frame that a [`Watch`] stopped.
    pub whole: usize,
    /// Frames that began in them.
    pub frames: u64,
    /// The stream cannot be followed any further.
    pub bad: bool,
}

impl Scanner {
    /// Follows `bytes`, which begin where the last scan's `whole` ended.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        self.scan_with(bytes, &mut ())
    }

    /// The same, with somebody who looks on.
    pub fn scan_with(&mut self, bytes: &[u8], watch: &mut impl Watch) -> Scanned {
        let mut at = 0;
        let mut frames = 0;
        loop {
            let begin = at;
            at += self.pass(&bytes[at..]);
            watch.passes(&bytes[begin..at]);
            if at == bytes.len() {
                return Scanned { whole: at, frames, bad: false };
            }
            match FrameHeader::parse(&bytes[at..]) {
                Ok(Some(header)) => {
                    if watch.begins(header, &bytes[at..]) {
                        return Scanned { whole: at, frames, bad: false };
                    }
                    at += header.len;
                    frames += 1;
                    self.begin(header);
                }
                Ok(None) => return Scanned { whole: at, frames, bad: false },
                Err(BadLength) => return Scanned { whole: at, frames, bad: true },
            }
        }
    }

    /// How many of the next bytes still belong to the frame that has begun; 0 = at a boundary.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// A whole Close frame has passed.
    pub fn close_seen(&self) -> bool {
        self.left == 0 && matches!(self.close, Close::Seen(_))
    }

    /// The code of the Close frame that has passed; `None`: none has passed, or it carried no code.
    pub fn close_code(&self) -> Option<u16> {
        match self.close {
            Close::Seen(code) => code,
            Close::NotSeen | Close::Reading { .. } => None,
        }
    }

    fn begin(&mut self, header: FrameHeader) {
        self.left = header.payload;
        if header.opcode == CLOSE && matches!(self.close, Close::NotSeen) {
            self.close = match header.payload {
                0 | 1 => Close::Seen(None),
                _ => Close::Reading { mask: header.mask, first: None },
            };
        }
    }

    /// Lets payload pass; how much of `bytes` it is.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let payload = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        for &byte in &bytes[..payload] {
            match self.close {
                Close::Reading { mask, first: None } => {
                    self.close = Close::Reading { mask, first: Some(byte ^ mask[0]) };
                }
                Close::Reading { mask, first: Some(first) } => {
                    self.close = Close::Seen(Some(u16::from_be_bytes([first, byte ^ mask[1]])));
                }
                Close::NotSeen | Close::Seen(_) => break,
            }
        }
        self.left -= payload as u64;
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One frame as an endpoint sends it.
    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = vec![first];
        let flag = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..126 => out.push(flag | u8::try_from(length).unwrap()),
            length @ 126..0x1_0000 => {
                out.push(flag | 0x7e);
                out.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                out.push(flag | 0x7f);
                out.extend((length as u64).to_be_bytes());
            }
        }
        let mask = mask.inspect(|mask| out.extend(mask)).unwrap_or_default();
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        out
    }

    #[test]
    fn headers_of_every_length() {
        let check = |bytes: &[u8], expected| assert_eq!(FrameHeader::parse(bytes), expected, "{bytes:x?}");
        let header = |len, payload, opcode, mask| Ok(Some(FrameHeader { len, payload, opcode, mask }));
        check(&[], Ok(None));
        check(&[0x81], Ok(None));
        check(&[0x81, 0], header(2, 0, 1, [0; 4]));
        check(&[0x82, 125], header(2, 125, 2, [0; 4]));
        check(&[0x82, 126, 0], Ok(None));
        check(&[0x82, 126, 0, 126], header(4, 126, 2, [0; 4]));
        check(&[0x82, 126, 0xff, 0xff], header(4, 65_535, 2, [0; 4]));
        check(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0], Ok(None));
        check(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], header(10, 65_536, 2, [0; 4]));
        check(&[0x8a, 0x80, 1, 2, 3], Ok(None));
        check(&[0x8a, 0x80, 1, 2, 3, 4], header(6, 0, 10, [1, 2, 3, 4]));
        check(&[0xf3, 0xfe, 1, 0, 9, 8, 7, 6], header(8, 256, 3, [9, 8, 7, 6]));
        check(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255], header(10, u64::MAX >> 1, 2, [0; 4]));
        check(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(BadLength));
    }

    #[test]
    fn close_codes() {
        let check = |payload: &[u8], mask, expected| {
            let bytes = frame(0x88, payload, mask);
            let mut scanner = Scanner::default();
            assert!(!scanner.close_seen());
            assert_eq!(scanner.scan(&bytes), Scanned { whole: bytes.len(), frames: 1, bad: false });
            assert!(scanner.close_seen());
            assert_eq!(scanner.close_code(), expected);
        };
        check(b"", None, None);
        check(b"\x03", None, None);
        check(&1000_u16.to_be_bytes(), None, Some(1000));
        check(&1012_u16.to_be_bytes(), Some([0xaa, 0x55, 1, 2]), Some(1012));
        check(b"\x0f\xa1going away", Some([1, 2, 3, 4]), Some(4001));
    }

    #[test]
    fn a_bad_length_ends_the_stream_behind_what_was_whole() {
        let mut bytes = frame(0x81, b"hello", None);
        let whole = bytes.len();
        bytes.extend([0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Scanner::default().scan(&bytes), Scanned { whole, frames: 1, bad: true });
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>, Option<[u8; 4]>)>> {
        let sizes =
            prop_oneof![Just(0), Just(1), Just(125), Just(126), Just(65_535), Just(65_536), 0..400_usize];
        let one = (any::<u8>(), sizes, any::<u8>(), any::<Option<[u8; 4]>>());
        proptest::collection::vec(
            one.prop_map(|(first, size, fill, mask)| (first, vec![fill; size], mask)),
            0..6,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the reads bring, the scanner sees the same frames and lets the same bytes pass.
        #[test]
        fn every_split_gives_the_same(frames in frames(), cuts in proptest::collection::vec(1..90_usize, 1..40)) {
            let stream: Vec<u8> = frames.iter().flat_map(|(first, payload, mask)| frame(*first, payload, *mask)).collect();
            let mut scanner = Scanner::default();
            let (mut seen, mut passed, mut shown) = (0, 0, 0);
            let mut cuts = cuts.iter().cycle();
            while shown < stream.len() {
                // Long payloads are cut in the same proportion, or the test would take minutes.
                let step = if scanner.left() > 1_000 { 997 } else { *cuts.next().unwrap() };
                shown = (shown + step).min(stream.len());
                let scanned = scanner.scan(&stream[passed..shown]);
                prop_assert!(!scanned.bad);
                prop_assert!(shown - passed - scanned.whole < HEADER_MAX);
                passed += scanned.whole;
                seen += scanned.frames;
            }
            prop_assert_eq!(passed, stream.len());
            prop_assert_eq!(seen, frames.len() as u64);
            prop_assert_eq!(scanner.left(), 0);
            prop_assert_eq!(scanner.close_seen(), frames.iter().any(|(first, ..)| first & 0x0f == CLOSE));
        }

        #[test]
        fn no_bytes_make_it_panic_or_lose_count(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let scanned = Scanner::default().scan(&bytes);
            prop_assert!(scanned.whole <= bytes.len());
            prop_assert!(scanned.bad || bytes.len() - scanned.whole < HEADER_MAX);
        }
    }
}
