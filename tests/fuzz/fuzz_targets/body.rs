//! A chunked body: nothing panics, every split of the bytes gives the same, and what was decoded survives being encoded again.
//! The first byte says how many cuts there are, the next ones where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::codec::body::{BadBody, Decoder, Framing, Piece, encode_chunk, encode_last_chunk};

const TRAILER_BYTES: usize = 256;

/// Content, trailers, bytes taken; `None`: not ended.
type Outcome = Result<Option<(Vec<u8>, Vec<u8>, usize)>, BadBody>;

fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else { return };
    let (cuts, bytes) = data.split_at(usize::from(count % 8).min(data.len()));
    let mut cuts: Vec<_> = cuts.iter().map(|cut| usize::from(*cut).min(bytes.len())).collect();
    cuts.sort_unstable();

    let whole = decode(bytes, &cuts[..0]);
    assert_eq!(decode(bytes, &cuts), whole);
    let each: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(decode(bytes, &each), whole);

    if let Ok(Some((content, trailers, _))) = whole {
        let mut again = Vec::new();
        for data in content.chunks(7) {
            encode_chunk(data, &mut again);
        }
        encode_last_chunk(&trailers, &mut again);
        // A value without its padding may be one byte longer than it came (`X:y`), so there must be room.
        let len = again.len();
        assert_eq!(decode_with(&again, &[], 2 * TRAILER_BYTES), Ok(Some((content, trailers, len))));
    }
});

fn decode(bytes: &[u8], cuts: &[usize]) -> Outcome {
    decode_with(bytes, cuts, TRAILER_BYTES)
}

fn decode_with(bytes: &[u8], cuts: &[usize], trailer_bytes: usize) -> Outcome {
    let mut decoder = Decoder::new(Framing::Chunked, trailer_bytes);
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
                    return Ok(Some((content, trailers, end - input.len())));
                }
            }
        }
        assert!(input.is_empty() && !decoder.is_ended());
    }
    assert_eq!(decoder.eof(), Err(BadBody::Truncated));
    Ok(None)
}
