//! Ranges equal slices, and a layout that was guessed is used only once it was proven.

use super::*;
use crate::envelope::native::{ChunkOpener, PieceOpener, SEALED_CHUNK};

const CHUNK_U64: u64 = CHUNK as u64;

/// Reads a range as an operation does: the header separately if needed, then the stored bytes of the window.
fn read(
    content_key: &Arc<ContentKey>,
    body: &[u8],
    layout: &Layout,
    range: Range<u64>,
) -> Result<Vec<u8>, FormatError> {
    let window = layout.window(range.start, range.end - 1)?;
    let header = window.header_apart.map(|at| &body[at as usize..at as usize + SEGMENT_HEADER]);
    let layout = Arc::new(layout.clone());
    let mut opener = RangeOpener::new(content_key.clone(), layout, &window, header)?;
    let mut rest = &body[window.ciphertext_first as usize..=window.ciphertext_last as usize];
    let mut plaintext = Vec::new();
    while let Some(length) = opener.next_length() {
        let (piece, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut piece = BytesMut::from(piece);
        opener.open_next(&mut piece)?;
        plaintext.extend_from_slice(&piece);
        rest = after;
    }
    assert!(rest.is_empty(), "the window asks for no byte it does not use");
    Ok(plaintext[window.skip as usize..][..window.length as usize].to_vec())
}

/// The layout as a reader finds it that knows only the storage's claims.
fn discover(content_key: &ContentKey, object: &Object, body: &[u8]) -> Result<Layout, FormatError> {
    let (total, parts) = (body.len() as u64, object.segments.len() as u16);
    match multipart_plaintext_length(total, parts)? {
        MultipartLength::NeedsLayout => {
            let tail = &body[body.len() - layout_tail_length(parts) as usize..];
            open_layout_tail(content_key, tail, total, parts)
        }
        MultipartLength::Exact(plaintext_total) => {
            let first = &body[..SEGMENT_HEADER];
            let mut outcome = Err(FormatError::BodyLength);
            for guess in LayoutGuess::from_first_header(content_key, first, plaintext_total, parts)? {
                let at = guess.last_header_offset() as usize;
                outcome = guess.prove(content_key, &body[at..at + SEGMENT_HEADER]);
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        }
    }
}

#[test]
fn f_44_windows_ask_for_whole_chunks_and_no_more() {
    let layout = Layout::ended_by_last(numbered(&[2 * CHUNK_U64, 2 * CHUNK_U64, 10])).unwrap();
    let segment = 80 + 2 * SEALED_CHUNK as u64;
    for (first, last, expected) in [
        (0, 0, (None, 0, 80 + 65_551)),
        (CHUNK_U64, CHUNK_U64, (Some(0), 80 + 65_552, segment - 1)),
        (CHUNK_U64 + 1, 2 * CHUNK_U64, (Some(0), 80 + 65_552, segment + 80 + 65_551)),
        (2 * CHUNK_U64, 2 * CHUNK_U64, (None, segment, segment + 80 + 65_551)),
        (0, 4 * CHUNK_U64 + 9, (None, 0, 2 * segment + 80 + 25)),
        (4 * CHUNK_U64 + 9, 4 * CHUNK_U64 + 9, (None, 2 * segment, 2 * segment + 80 + 25)),
    ] {
        let window = layout.window(first, last).unwrap();
        assert_eq!((window.header_apart, window.ciphertext_first, window.ciphertext_last), expected);
    }
    assert_eq!(layout.window(0, 4 * CHUNK_U64 + 10), Err(FormatError::BodyLength));
    assert_eq!(layout.window(1, 0), Err(FormatError::BodyLength));
    assert_eq!(Layout::ended_by_last(numbered(&[0])).unwrap().window(0, 0), Err(FormatError::BodyLength));
}

#[test]
fn f_44_a_header_of_another_segment_opens_nothing() {
    let layout = Layout::ended_by_last(numbered(&[2 * CHUNK_U64, 2 * CHUNK_U64, 10])).unwrap();
    let object = Object::seal(&content_key(1), layout.clone());
    let header = |index: usize| &object.segments[index][..SEGMENT_HEADER];
    let open =
        |index, header: &[u8]| ChunkOpener::for_segment(&content_key(1), &layout, index, header, 0).err();
    assert_eq!(open(0, header(0)), None);
    assert_eq!(open(0, header(1)), Some(FormatError::SegmentOrder));
    assert_eq!(open(2, header(1)), Some(FormatError::SegmentOrder));
    assert_eq!(open(3, header(2)), Some(FormatError::BodyLength));
    assert_eq!(open(0, &header(0)[1..]), Some(FormatError::SegmentHeader));
    let other = Object::seal(&content_key(2), layout.clone());
    assert_eq!(open(0, &other.segments[0][..80]), Some(FormatError::SegmentCommitment));
    let last =
        seal_segment(&content_key(1), part(2, 2 * CHUNK_U64), SegmentEnd::Last, &pattern(2 * CHUNK_U64));
    assert_eq!(open(1, &last[..80]), Some(FormatError::SegmentOrder), "it ends an object, but not here");
    let window = layout.window(CHUNK_U64, CHUNK_U64).unwrap();
    let missing = RangeOpener::new(content_key(1), Arc::new(layout), &window, None).err();
    assert_eq!(missing, Some(FormatError::SegmentHeader));
}

/// Lengths and numbers of an irregular object may fit a regular one. The headers between would be authentic,
/// so only the last one can tell.
#[test]
fn f_44_an_irregular_object_passed_off_as_regular_is_not_proven() {
    let irregular = [CHUNK_U64, 3 * CHUNK_U64, CHUNK_U64, 10];
    for layout in [Layout::ended_by_last(numbered(&irregular)), Layout::terminated(numbered(&irregular))] {
        let object = Object::seal(&content_key(1), layout.unwrap());
        let total = 3 * CHUNK_U64 + 10;
        let guesses =
            LayoutGuess::from_first_header(&content_key(1), &object.segments[0][..80], total, 4).unwrap();
        for guess in guesses {
            for segment in &object.segments {
                let proof = guess.clone().prove(&content_key(1), &segment[..80]);
                assert!(proof.is_err(), "This is a security issue: a range would come from the wrong place.");
            }
        }
    }
}

#[test]
fn f_44_guesses_fit_what_is_known() {
    let header = |part, end| seal_segment(&content_key(1), part, end, &pattern(part.length))[..80].to_vec();
    let middle = header(part(1, CHUNK_U64), SegmentEnd::Middle);
    let guess = |header: &[u8], total, parts| {
        let guesses = LayoutGuess::from_first_header(&content_key(1), header, total, parts)?;
        Ok::<_, FormatError>(guesses.iter().map(LayoutGuess::last_header_offset).collect::<Vec<_>>())
    };
    let segment = 80 + 65_552;
    assert_eq!(
        guess(&middle, 2 * CHUNK_U64 + 5, 3),
        Ok(vec![2 * segment, segment + 80 + CHUNK_U64 + 5 + 32])
    );
    assert_eq!(guess(&middle, 2 * CHUNK_U64, 3), Ok(vec![2 * segment, 2 * segment]));
    assert_eq!(guess(&middle, CHUNK_U64 + 5, 3), Ok(vec![segment + 80 + 5 + 16]));
    assert_eq!(guess(&middle, CHUNK_U64, 2), Ok(vec![segment, segment]));
    assert_eq!(guess(&middle, CHUNK_U64 - 1, 2), Err(FormatError::BodyLength));
    assert_eq!(guess(&middle, CHUNK_U64, 1), Err(FormatError::BodyLength));
    assert_eq!(guess(&middle, u64::MAX, 3), Err(FormatError::BodyLength));
    let alone = header(part(1, 7), SegmentEnd::Last);
    assert_eq!(guess(&alone, 7, 1), Ok(vec![0]));
    assert_eq!(guess(&alone, 8, 1), Err(FormatError::BodyLength));
    assert_eq!(guess(&alone, 7, 2), Err(FormatError::BodyLength));
    let second = header(part(2, CHUNK_U64), SegmentEnd::Middle);
    assert_eq!(guess(&second, CHUNK_U64 + 5, 2), Err(FormatError::SegmentOrder));
    let uneven = header(part(1, 7), SegmentEnd::Middle);
    assert_eq!(guess(&uneven, 9, 2), Err(FormatError::BodyLength));
    assert_eq!(guess(&uneven, 7, 2), Ok(vec![80 + 7 + 16]), "one part and a terminator");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_range_equals_the_slice(layout in layouts(), a in any::<u64>(), b in any::<u64>()) {
        let object = Object::seal(&content_key(1), layout);
        let body = object.body();
        let found = discover(&content_key(1), &object, &body).unwrap();
        prop_assert_eq!(found.plaintext_total(), object.layout.plaintext_total());
        let total = found.plaintext_total();
        prop_assume!(total > 0);
        let (first, last) = ((a % total).min(b % total), (a % total).max(b % total));
        let plaintext = read(&content_key(1), &body, &found, first..last + 1).unwrap();
        prop_assert_eq!(plaintext, &object.content[first as usize..=last as usize]);
        let window = found.window(first, last).unwrap();
        let headers = SEGMENT_HEADER as u64 * u64::from(found.segments());
        let excess = window.ciphertext_last - window.ciphertext_first + 1 - (last - first + 1);
        let chunks = (last - first) / CHUNK_U64 + 2 * u64::from(found.segments());
        prop_assert!(excess <= 2 * CHUNK_U64 + headers + 16 * chunks, "at most two chunks more than asked");
    }

    #[test]
    fn a_flipped_bit_in_a_window_is_an_error(
        layout in layouts(), a in any::<u64>(), bit in any::<prop::sample::Index>(),
    ) {
        let object = Object::seal(&content_key(1), layout);
        let mut body = object.body();
        let total = object.content.len() as u64;
        prop_assume!(total > 0);
        let window = object.layout.window(a % total, total - 1).unwrap();
        let bits = (window.ciphertext_last - window.ciphertext_first + 1) as usize * 8;
        let bit = window.ciphertext_first as usize * 8 + bit.index(bits);
        body[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&content_key(1), &body, &object.layout, a % total..total).is_err());
    }
}
