//! Bodies: each rule by a table, every case at every split; then properties.

use proptest::{collection::vec, prelude::*};

use super::*;

const TRAILER_BYTES: usize = 64;

/// What came out of a body: content, trailers, and how many bytes it took.
type Outcome = Result<Option<(Vec<u8>, Vec<u8>, usize)>, BadBody>;

/// Feeds the body in pieces that end at `cuts`. `None`: not ended yet.
fn decode(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut decoder = Decoder::new(framing, TRAILER_BYTES);
    let mut content = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut input = &bytes[start..end];
        start = end;
        while let Some(piece) = decoder.next(&mut input)? {
            match piece {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(data);
                }
                Piece::End(trailers) => {
                    assert!(decoder.is_ended());
                    assert_eq!(decoder.eof(), Ok(()));
                    return Ok(Some((content, trailers, end - input.len())));
                }
            }
        }
        assert_eq!(input, b"", "all is taken when more is needed");
    }
    let eof = if framing == Framing::UntilClose { Ok(()) } else { Err(BadBody::Truncated) };
    assert_eq!(decoder.eof(), eof);
    assert!(!decoder.is_ended());
    Ok(None)
}

/// Decodes whole, byte by byte, and at each single cut: always the same.
#[track_caller]
fn decode_all_ways(framing: Framing, bytes: &[u8]) -> Outcome {
    let whole = decode(framing, bytes, &[]);
    let each: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(decode(framing, bytes, &each), whole, "byte by byte: {}", bytes.escape_ascii());
    for cut in 0..bytes.len() {
        assert_eq!(decode(framing, bytes, &[cut]), whole, "cut at {cut}: {}", bytes.escape_ascii());
    }
    whole
}

#[track_caller]
fn chunked(bytes: impl AsRef<[u8]>, content: &str, trailers: &str, rest: &str) {
    let bytes = bytes.as_ref();
    let expected = (content.as_bytes().to_vec(), trailers.as_bytes().to_vec(), bytes.len() - rest.len());
    assert_eq!(decode_all_ways(Framing::Chunked, bytes), Ok(Some(expected)), "{}", bytes.escape_ascii());
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, expected: BadBody) {
    let bytes = bytes.as_ref();
    assert_eq!(decode_all_ways(Framing::Chunked, bytes), Err(expected), "{}", bytes.escape_ascii());
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 48);
}

#[test]
fn no_body_and_a_length() {
    for framing in [Framing::None, Framing::Length(0)] {
        assert!(Decoder::new(framing, 0).is_ended());
        assert_eq!(Decoder::new(framing, 0).eof(), Ok(()));
        for input in [&b""[..], b"next"] {
            let mut left = input;
            assert_eq!(Decoder::new(framing, 0).next(&mut left), Ok(Some(Piece::End(Vec::new()))));
            assert_eq!(left, input);
        }
    }
    let expected = (b"hello".to_vec(), Vec::new(), 5);
    assert_eq!(decode_all_ways(Framing::Length(5), b"hello"), Ok(Some(expected.clone())));
    assert_eq!(decode_all_ways(Framing::Length(5), b"hellonext"), Ok(Some(expected)));
    assert_eq!(decode_all_ways(Framing::Length(6), b"hello"), Ok(None));
    assert_eq!(decode_all_ways(Framing::Length(u64::MAX), b"hello"), Ok(None));
}

#[test]
fn all_of_the_length_seen_is_the_end() {
    let mut decoder = Decoder::new(Framing::Length(2), 0);
    let mut input = &b"ab"[..];
    assert_eq!(decoder.next(&mut input), Ok(Some(Piece::Data(b"ab"))));
    assert!(decoder.is_ended());
    assert_eq!(decoder.next(&mut input), Ok(Some(Piece::End(Vec::new()))));
}

#[test]
fn until_close() {
    let mut decoder = Decoder::new(Framing::UntilClose, 0);
    for data in [&b"a"[..], b"bc"] {
        let mut input = data;
        assert_eq!(decoder.next(&mut input), Ok(Some(Piece::Data(data))));
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert_eq!((decoder.eof(), decoder.is_ended()), (Ok(()), false));
    }
}

#[test]
fn chunks() {
    chunked("0\r\n\r\n", "", "", "");
    chunked("5\r\nhello\r\n0\r\n\r\nnext", "hello", "", "next");
    chunked("2\r\nhe\r\n0003\r\nllo\r\n00\r\n\r\n", "hello", "", "");
    chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "", "");
    chunked("1\r\n\r\r\n2\r\n\r\n\r\n1\r\n\n\r\n0\r\n\r\n\r\n", "\r\r\n\n", "", "\r\n");
    chunked("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x", "", "");
    for open in [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhell",
        "5\r\nhello",
        "5\r\nhello\r",
        "5\r\nhello\r\n",
        "0",
        "0\r\n",
        "0\r\n\r",
    ] {
        assert_eq!(decode_all_ways(Framing::Chunked, open.as_bytes()), Ok(None), "{open:?}");
    }
    assert_eq!(decode_all_ways(Framing::Chunked, b"ffffffffffffffff\r\nx"), Ok(None));
}

#[test]
fn bad_chunks() {
    use BadBody::{BareCr, BareLf, ChunkEnd, ChunkSize};
    for (bytes, expected) in [
        ("\r\n", ChunkSize),
        ("\n", BareLf),
        (";x\r\n", ChunkSize),
        (" 5\r\nhello\r\n", ChunkSize),
        ("\t5\r\nhello\r\n", ChunkSize),
        ("5 \r\nhello\r\n", ChunkSize),
        ("5\t\r\nhello\r\n", ChunkSize),
        ("5 ;x\r\nhello\r\n", ChunkSize),
        ("+5\r\nhello\r\n", ChunkSize),
        ("-5\r\nhello\r\n", ChunkSize),
        ("0x5\r\nhello\r\n", ChunkSize),
        ("5h\r\nhello\r\n", ChunkSize),
        ("5,\r\nhello\r\n", ChunkSize),
        ("5_0\r\nhello\r\n", ChunkSize),
        ("g\r\n", ChunkSize),
        ("5\0\r\nhello\r\n", ChunkSize),
        ("00000000000000005\r\nhello\r\n", ChunkSize),
        ("10000000000000005\r\nhello\r\n", ChunkSize),
        ("5\nhello\r\n", BareLf),
        ("5\rhello\r\n", BareCr),
        ("5\r\rhello\r\n", BareCr),
        ("5;x\nhello\r\n", BareLf),
        ("5;x\ry\r\nhello\r\n", BareCr),
        ("5\r\nhello\n0\r\n\r\n", BareLf),
        ("5\r\nhello\r0\r\n\r\n", ChunkEnd),
        ("5\r\nhello0\r\n\r\n", ChunkEnd),
        ("5\r\nhello \r\n", ChunkEnd),
        ("5\r\nhello!\r\n0\r\n\r\n", ChunkEnd),
        ("6\r\nhello\r\n0\r\n\r\n", BareLf),
        ("0\n\r\n", BareLf),
    ] {
        bad(bytes, expected);
    }
    bad(b"\xb5\r\n", ChunkSize);
    bad("\u{ff15}\r\nhello\r\n", ChunkSize);
}

#[test]
fn extensions_are_dropped() {
    chunked("5;x\r\nhello\r\n0;y=z\r\n\r\n", "hello", "", "");
    chunked("5; a = \"b;\t~\" ;c\r\nhello\r\n0;\r\n\r\n", "hello", "", "");
    for byte in (0..b' ').chain(0x7f..=0xff) {
        let expected = match byte {
            b'\t' => continue,
            b'\n' => BadBody::BareLf,
            b'\r' => BadBody::BareCr,
            _ => BadBody::ChunkExtension,
        };
        bad([b"5;x", &[byte][..], b"y\r\nhello\r\n"].concat(), expected);
    }
}

#[test]
fn extensions_are_bounded() {
    let line = |len: usize| format!("1;{}\r\nx\r\n", "e".repeat(len - 2));
    let longest = usize::from(CHUNK_LINE_MAX);
    chunked(line(longest) + "0\r\n\r\n", "x", "", "");
    let over = decode(Framing::Chunked, line(longest + 1).as_bytes(), &[]);
    assert_eq!(over, Err(BadBody::ChunkExtensionTooLong));

    let each = longest - 1;
    let lines = usize::from(EXTENSIONS_MAX) / each;
    let fits = line(longest).repeat(lines) + "0\r\n\r\n";
    assert!(decode(Framing::Chunked, fits.as_bytes(), &[]).unwrap().is_some());
    let over = line(longest).repeat(lines + 1) + "0\r\n\r\n";
    assert_eq!(decode(Framing::Chunked, over.as_bytes(), &[]), Err(BadBody::ChunkExtensionTooLong));
}

#[test]
fn trailers_come_out_clean() {
    chunked("0\r\nX-One:1\r\n\r\n", "", "X-One: 1\r\n", "");
    chunked("0\r\nX-One: \t 1\t \r\nEmpty:\r\n\r\nnext", "", "X-One: 1\r\nEmpty: \r\n", "next");
    chunked("1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n", "a", "A: b\r\nC: d\r\n", "");
}

#[test]
fn bad_trailers() {
    use BadField::{BareCr, BareLf, ControlCharacter, EmptyName, Name, NoColon, ObsFold, SpaceBeforeColon};
    for (line, expected) in [
        ("X: a\n", BareLf),
        ("\n", BareLf),
        ("X: a\r\n\n", BareLf),
        ("X: a\rb\r\n", BareCr),
        ("\rX: a\r\n", BareCr),
        (" X: a\r\n", ObsFold),
        ("X: a\r\n b\r\n", ObsFold),
        ("X\r\n", NoColon),
        (": a\r\n", EmptyName),
        ("X : a\r\n", SpaceBeforeColon),
        ("X Y: a\r\n", Name),
        ("X\u{e9}: a\r\n", Name),
        ("X: \0\r\n", ControlCharacter),
        ("X: \u{7f}\r\n", ControlCharacter),
    ] {
        bad(format!("0\r\n{line}\r\n"), BadBody::Trailer(expected));
    }
}

#[test]
fn trailers_that_frame_or_route_are_refused_and_others_dropped() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "HOST",
        "Connection",
        "content_length",
        "TE",
        "Trailer",
        "Upgrade",
    ] {
        bad(format!("0\r\n{name}: 1\r\n\r\n"), BadBody::ForbiddenTrailer);
    }
    for name in [
        "Cookie",
        "authorization",
        "X-Forwarded-For",
        "x_forwarded_proto",
        "X-Real-IP",
        "Forwarded",
        "Set-Cookie",
    ] {
        chunked(format!("0\r\nA: b\r\n{name}: 1\r\nC: d\r\n\r\n"), "", "A: b\r\nC: d\r\n", "");
    }
    for name in
        ["X-Host", "Hostname", "ETag", "Digest", "Server-Timing", "grpc-status", "X-Forwarded", "Cookies"]
    {
        chunked(format!("0\r\n{name}: 1\r\n\r\n"), "", &format!("{name}: 1\r\n"), "");
    }
}

#[test]
fn trailers_are_bounded() {
    let section = |len: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(len - "X: \r\n\r\n".len()));
    assert!(decode_all_ways(Framing::Chunked, section(TRAILER_BYTES).as_bytes()).unwrap().is_some());
    bad(section(TRAILER_BYTES + 1), BadBody::TrailersTooLarge);
    bad("0\r\n".to_owned() + &"x".repeat(TRAILER_BYTES + 1), BadBody::TrailersTooLarge);
    // What is dropped counts all the same: it cost as much to read.
    bad("0\r\n".to_owned() + &"Age: 1\r\n".repeat(TRAILER_BYTES / 8) + "\r\n", BadBody::TrailersTooLarge);
    let mut none = Decoder::new(Framing::Chunked, 0);
    assert_eq!(none.next(&mut &b"0\r\n\r\n"[..]), Err(BadBody::TrailersTooLarge));
}

#[test]
fn encoding() {
    for len in [1, 15, 16, 255, 256, 4095, 65536] {
        let mut out = Vec::new();
        encode_chunk(&vec![b'x'; len], &mut out);
        assert_eq!(out, format!("{len:x}\r\n{}\r\n", "x".repeat(len)).as_bytes());
    }
    let mut out = Vec::new();
    encode_last_chunk(b"", &mut out);
    encode_last_chunk(b"A: b\r\n", &mut out);
    assert_eq!(out, b"0\r\n\r\n0\r\nA: b\r\n\r\n");
}

/// Pieces of chunked bodies, good and bad, so that random rows of them get deep.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "0",
        "1",
        "5",
        "a",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        ";",
        ";x=y",
        "hello",
        "x",
        "0\r\n",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "1\r\nx\r\n",
        "A: b\r\n",
        "Age: 1\r\n",
        "Host: a\r\n",
        ":",
        " ",
    ]);
    prop_oneof![9 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..4)]
}

proptest! {
    #[test]
    fn any_split_of_any_bytes_decodes_the_same(
        fragments in vec(fragment(), 0..16),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = fragments.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = decode(Framing::Chunked, &bytes, &[]);
        prop_assert_eq!(decode(Framing::Chunked, &bytes, &cuts), whole.clone());
        let each: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(decode(Framing::Chunked, &bytes, &each), whole);
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(
        chunks in vec(vec(any::<u8>(), 1..300), 0..8),
        trailers in vec(("[a-z]{1,5}-x", "[!-~]([ -~]{0,8}[!-~])?"), 0..3),
        rest in vec(any::<u8>(), 0..8),
    ) {
        let trailers = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let trailers = trailers.collect::<Vec<_>>().concat();
        let mut encoded = Vec::new();
        for chunk in &chunks {
            encode_chunk(chunk, &mut encoded);
        }
        encode_last_chunk(trailers.as_bytes(), &mut encoded);
        let len = encoded.len();
        encoded.extend_from_slice(&rest);
        let expected = (chunks.concat(), trailers.into_bytes(), len);
        prop_assert_eq!(decode(Framing::Chunked, &encoded, &[]), Ok(Some(expected)));
    }

    #[test]
    fn what_is_decoded_encodes_to_a_body_that_decodes_to_the_same(fragments in vec(fragment(), 0..16)) {
        let bytes = [&fragments.concat()[..], b"0\r\n\r\n"].concat();
        if let Ok(Some((content, trailers, _))) = decode(Framing::Chunked, &bytes, &[]) {
            let mut again = Vec::new();
            if !content.is_empty() {
                encode_chunk(&content, &mut again);
            }
            encode_last_chunk(&trailers, &mut again);
            let len = again.len();
            prop_assert_eq!(decode(Framing::Chunked, &again, &[]), Ok(Some((content, trailers, len))));
        }
    }
}
