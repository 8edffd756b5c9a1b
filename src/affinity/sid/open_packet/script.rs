//! A JSONP answer, `___eio[0]("...");`, and the payload in its string.
//!
//! Node writes the string as JSON does. python-engineio puts a backslash before each quote and leaves the rest as it is, so
//! control characters may stand in the string, which JSON forbids and scripts mostly do not. Hence no JSON parser here.
//!
//! Must not: know what is in the string.

/// A script starts with this byte, and no payload does.
pub(super) const FIRST: u8 = HEAD[0];

const HEAD: &[u8] = b"___eio[";
const TAIL: &[u8] = b"](\"";

/// Reads a script byte by byte.
#[derive(Debug, Default)]
pub(super) struct Script {
    at: At,
    /// The first half of a character that is escaped as two UTF-16 units.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// So many bytes of [`HEAD`] came.
    Head(usize),
    /// The number of the call.
    Index,
    /// So many bytes of [`TAIL`] came.
    Tail(usize),
    String,
    Escape,
    /// In the digits of a `\u` or `\x`: how many are missing, and their value so far.
    Digits(u8, u16),
}

/// What a byte of the script stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    /// Nothing yet.
    None,
    /// Itself: a byte of the string.
    Byte(u8),
    /// A character of the string that was escaped.
    Escaped(char),
    /// This is no such script, or the string ends here, too early for whoever still reads.
    Wrong,
}

impl Default for At {
    fn default() -> Self {
        Self::Head(0)
    }
}

impl Script {
    /// Reads the next byte. After [`Character::Wrong`] it must not be fed again.
    pub(super) fn next(&mut self, byte: u8) -> Character {
        if self.high.is_some() && matches!(self.at, At::String) && byte != b'\\' {
            return Character::Wrong;
        }
        let (at, character) = match (self.at, byte) {
            (At::Head(came), _) if byte == HEAD[came] => {
                let at = if came + 1 == HEAD.len() { At::Index } else { At::Head(came + 1) };
                (at, Character::None)
            }
            (At::Index, b'0'..=b'9') => (At::Index, Character::None),
            (At::Index, _) if byte == TAIL[0] => (At::Tail(1), Character::None),
            (At::Tail(came), _) if byte == TAIL[came] => {
                let at = if came + 1 == TAIL.len() { At::String } else { At::Tail(came + 1) };
                (at, Character::None)
            }
            (At::String, b'\\') => (At::Escape, Character::None),
            (At::String, b'"') | (At::Head(_) | At::Index | At::Tail(_), _) => (self.at, Character::Wrong),
            (At::String, _) => (At::String, Character::Byte(byte)),
            (At::Escape, b'u') => (At::Digits(4, 0), Character::None),
            (At::Escape, b'x') => (At::Digits(2, 0), Character::None),
            (At::Escape, _) => (At::String, self.short(byte)),
            (At::Digits(missing, value), _) => match char::from(byte).to_digit(16) {
                Some(digit) => self.digit(missing, value * 16 + low_bits(digit)),
                None => (self.at, Character::Wrong),
            },
        };
        self.at = at;
        character
    }

    /// The character that a backslash before one byte means. Before any other it means nothing.
    fn short(&mut self, byte: u8) -> Character {
        if self.high.is_some() {
            return Character::Wrong;
        }
        match byte {
            b'b' => Character::Byte(0x08),
            b'f' => Character::Byte(0x0c),
            b'n' => Character::Byte(b'\n'),
            b'r' => Character::Byte(b'\r'),
            b't' => Character::Byte(b'\t'),
            b'v' => Character::Byte(0x0b),
            b'0' => Character::Byte(0),
            _ => Character::Byte(byte),
        }
    }

    /// One digit less is missing of a character's number.
    fn digit(&mut self, missing: u8, value: u16) -> (At, Character) {
        if missing > 1 {
            return (At::Digits(missing - 1, value), Character::None);
        }
        let character = match (self.high.take(), value) {
            (None, 0xd800..=0xdbff) => {
                self.high = Some(value);
                Character::None
            }
            (high, low) => match char::decode_utf16(high.into_iter().chain([low])).next() {
                Some(Ok(character)) => Character::Escaped(character),
                _ => Character::Wrong,
            },
        };
        (At::String, character)
    }
}

/// A hexadecimal digit has no more than these.
fn low_bits(digit: u32) -> u16 {
    (digit & 0xf) as u16
}
