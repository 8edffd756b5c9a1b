//! Hostile bytes as text that cannot leave its field. Pure.

/// Longest mark of a cut.
const JSON_CUT: &[u8] = b"\\u2026";
const COMBINED_CUT: &[u8] = b"...";

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// The inside of a JSON string (RFC 8259 section 7). UTF-8 stays; each sequence that is not UTF-8 becomes U+FFFD, so
    /// that the line is always JSON. Controls, also those of C1 and the line separators, are escaped: a log is read
    /// in terminals too.
    Json,
    /// As nginx and Apache do: `"`, `\`, controls and everything above 0x7E become `\xHH`.
    Combined,
}

impl Escape {
    /// Appends `bytes`.
    pub(super) fn push(self, out: &mut Vec<u8>, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let plain = plain_prefix(rest);
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            let Some(byte) = rest.first() else { return };
            let taken = match self {
                Self::Combined => {
                    push_hex(out, *byte);
                    1
                }
                Self::Json if byte.is_ascii() => {
                    push_ascii(out, *byte);
                    1
                }
                Self::Json => {
                    // Sequences of UTF-8 hold no ASCII, so none is cut here.
                    let run = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
                    push_unicode(out, &rest[..run]);
                    run
                }
            };
            rest = &rest[taken..];
        }
    }

    /// Appends at most `most` of `bytes`, and a mark when there were more.
    pub(super) fn push_cut(self, out: &mut Vec<u8>, bytes: &[u8], most: usize) {
        self.push(out, &bytes[..bytes.len().min(most)]);
        if bytes.len() > most {
            self.push_mark(out);
        }
    }

    /// The mark that something was cut off: an ellipsis.
    pub(super) fn push_mark(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Json => JSON_CUT,
            Self::Combined => COMBINED_CUT,
        });
    }
}

/// Bytes that stand for themselves in both formats.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without branches a block of these is a few vector instructions"
)]
const fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte < 0x7F) & (byte != b'"') & (byte != b'\\')
}

/// How many bytes at the front are plain. Nearly all are, so that blocks are looked at whole.
fn plain_prefix(bytes: &[u8]) -> usize {
    const BLOCK: usize = 8;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_whole = |block: &&[u8; BLOCK]| block.iter().fold(true, |all, byte| all & is_plain(*byte));
    let done = BLOCK * blocks.iter().take_while(is_whole).count();
    done + bytes[done..].iter().take_while(|byte| is_plain(**byte)).count()
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\x");
    out.extend_from_slice(&hex(byte));
}

fn hex(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]]
}

/// An ASCII character that needs an escape in JSON.
fn push_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&hex(byte));
        }
    }
}

/// A run of bytes above 0x7F.
fn push_unicode(out: &mut Vec<u8>, run: &[u8]) {
    for chunk in run.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '\u{80}'..='\u{9F}' | '\u{2028}' | '\u{2029}') {
                let [high, low] = (c as u16).to_be_bytes();
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(&hex(high));
                out.extend_from_slice(&hex(low));
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\uFFFD");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: Escape, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape.push(&mut out, bytes);
        out
    }

    #[test]
    fn json() {
        fn check(bytes: &[u8], expected: &str) {
            assert_eq!(String::from_utf8_lossy(&escaped(Escape::Json, bytes)), expected, "{bytes:?}");
        }
        check(b"", "");
        check(b"/a?b=c", "/a?b=c");
        check(b"a\"b\\c", r#"a\"b\\c"#);
        check(b"\r\n\t\0\x1b\x7f", r"\r\n\t\u0000\u001B\u007F");
        check("für".as_bytes(), "für");
        check("\u{1F600}".as_bytes(), "\u{1F600}");
        check(b"\xff", r"\uFFFD");
        check(b"a\xc3", r"a\uFFFD");
        check(b"\xc3\xbc\xc3x", r"ü\uFFFDx");
        // A surrogate and an overlong form are not UTF-8.
        check(b"\xed\xa0\x80", r"\uFFFD\uFFFD\uFFFD");
        check(b"\xc0\xaf", r"\uFFFD\uFFFD");
        check("\u{85}\u{9b}\u{2028}\u{2029}".as_bytes(), r"\u0085\u009B\u2028\u2029");
    }

    #[test]
    fn combined() {
        fn check(bytes: &[u8], expected: &str) {
            assert_eq!(String::from_utf8_lossy(&escaped(Escape::Combined, bytes)), expected, "{bytes:?}");
        }
        check(b"/a b", "/a b");
        check(b"\"\\\n\x7f\xff", r"\x22\x5C\x0A\x7F\xFF");
    }

    #[test]
    fn cuts_are_marked() {
        fn check(escape: Escape, most: usize, expected: &[u8]) {
            let mut out = Vec::new();
            escape.push_cut(&mut out, b"abc", most);
            assert_eq!(out, expected);
        }
        check(Escape::Json, 3, b"abc");
        check(Escape::Json, 2, b"ab\\u2026");
        check(Escape::Combined, 2, b"ab...");
        check(Escape::Combined, 0, b"...");
    }

    proptest! {
        /// No field can be left: all is printable, and quotes are escaped.
        #[test]
        fn nothing_gets_out_of_its_field(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let json = escaped(Escape::Json, &bytes);
            let text = std::str::from_utf8(&json).expect("JSON is UTF-8");
            prop_assert!(!text.contains(char::is_control));
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                if c == '\\' {
                    prop_assert!(chars.next().is_some_and(|c| "\"\\nrtu".contains(c)));
                }
            }
            let combined = escaped(Escape::Combined, &bytes);
            prop_assert!(combined.iter().all(|byte| (0x20..0x7f).contains(byte) && *byte != b'"'));
        }
    }
}
