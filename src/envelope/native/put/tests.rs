use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::envelope::native::{
    CHUNK, PieceOpener, SEALED_CHUNK, chunk_count, ciphertext_length, plaintext_length,
};

fn content_key(byte: u8) -> ContentKey {
    ContentKey::from_zeroizing(zeroize::Zeroizing::new([byte; 32]))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

fn seal(content: &[u8]) -> Vec<u8> {
    let mut sealer = ChunkSealer::for_put(&content_key(5));
    let mut sealed = Vec::new();
    let mut chunks = content.chunks(CHUNK).peekable();
    loop {
        let mut chunk = BytesMut::from(chunks.next().unwrap_or_default());
        if chunks.peek().is_none() {
            sealer.seal_last(&mut chunk);
            sealed.extend_from_slice(&chunk);
            return sealed;
        }
        sealer.seal_next(&mut chunk);
        sealed.extend_from_slice(&chunk);
    }
}

/// Opens stored bytes from chunk `first` on, as a reader to whom `plaintext_total` was claimed.
fn open_from(stored: &[u8], plaintext_total: u64, first: u64) -> Result<Vec<u8>, FormatError> {
    let mut opener = ChunkOpener::for_put(&content_key(5), plaintext_total, first)?;
    let mut rest = &stored[(first as usize * SEALED_CHUNK).min(stored.len())..];
    let mut opened = Vec::new();
    while let Some(length) = opener.next_length() {
        let (chunk, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut chunk = BytesMut::from(chunk);
        let outcome = opener.open_next(&mut chunk);
        assert!(outcome.is_ok() || chunk.is_empty(), "F-25: a refused chunk releases nothing");
        outcome?;
        opened.extend_from_slice(&chunk);
        rest = after;
    }
    if rest.is_empty() { Ok(opened) } else { Err(FormatError::BodyLength) }
}

fn open(stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    open_from(stored, plaintext_length(stored.len() as u64)?, 0)
}

#[test]
fn open_of_seal_is_the_identity_around_every_chunk_edge() {
    for edge in [0, CHUNK, 2 * CHUNK, 3 * CHUNK] {
        for length in edge.saturating_sub(2)..=edge + 2 {
            let content = pattern(length);
            let stored = seal(&content);
            assert_eq!(stored.len() as u64, ciphertext_length(length as u64).unwrap());
            assert_eq!(open(&stored).unwrap(), content, "{length} bytes");
        }
    }
}

#[test]
fn f_26_dropping_the_last_chunk_is_noticed() {
    let stored = seal(&pattern(3 * CHUNK));
    let cut = &stored[..2 * SEALED_CHUNK];
    assert_eq!(open(cut), Err(FormatError::ChunkTag), "This is a security issue: truncation goes unseen.");
}

#[test]
fn f_21_swapped_repeated_and_dropped_chunks_are_noticed() {
    let stored = seal(&pattern(4 * CHUNK));
    let chunk = |index: usize| &stored[index * SEALED_CHUNK..(index + 1) * SEALED_CHUNK];
    for (what, order) in [
        ("swapped", vec![1, 0, 2, 3]),
        ("swapped in the middle", vec![0, 2, 1, 3]),
        ("first repeated", vec![0, 0, 1, 2, 3]),
        ("middle dropped", vec![0, 2, 3]),
        ("first dropped", vec![1, 2, 3]),
        ("last repeated", vec![0, 1, 2, 3, 3]),
        ("last first", vec![3, 0, 1, 2]),
        ("only the last", vec![3]),
    ] {
        let altered: Vec<u8> = order.into_iter().flat_map(chunk).copied().collect();
        assert!(open(&altered).is_err(), "This is a security issue: {what}.");
    }
}

#[test]
fn appended_bytes_are_noticed() {
    let stored = seal(&pattern(CHUNK + 5));
    let mut longer = stored.clone();
    longer.extend_from_slice(&[0; 16]);
    assert!(open(&longer).is_err());
    longer.extend_from_slice(&stored[..SEALED_CHUNK]);
    assert!(open(&longer).is_err());
}

#[test]
fn a_body_under_another_content_key_does_not_open() {
    let stored = seal(&pattern(100));
    let mut opener = ChunkOpener::for_put(&content_key(6), 100, 0).unwrap();
    assert_eq!(opener.open_next(&mut BytesMut::from(&stored[..])), Err(FormatError::ChunkTag));
}

#[test]
fn a_chunk_that_is_not_there_cannot_be_opened() {
    assert!(ChunkOpener::for_put(&content_key(5), 0, 1).is_err());
    let mut opener = ChunkOpener::for_put(&content_key(5), 3, 0).unwrap();
    let mut chunk = BytesMut::from(&seal(b"abc")[..]);
    opener.open_next(&mut chunk).unwrap();
    assert_eq!(opener.next_length(), None);
    assert_eq!(opener.open_next(&mut BytesMut::from(&seal(b"abc")[..])), Err(FormatError::BodyLength));
}

#[test]
#[should_panic(expected = "belongs to the empty object")]
fn f_22_an_empty_last_chunk_is_never_written_after_others() {
    let mut sealer = ChunkSealer::for_put(&content_key(5));
    sealer.seal_next(&mut BytesMut::zeroed(CHUNK));
    sealer.seal_last(&mut BytesMut::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_flipped_bit_is_an_error(length in 0..2 * CHUNK + 100, bit in any::<prop::sample::Index>()) {
        let mut stored = seal(&pattern(length));
        let bit = bit.index(stored.len() * 8);
        stored[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(open(&stored), Err(FormatError::ChunkTag));
    }

    #[test]
    fn any_cut_is_an_error(length in 0..3 * CHUNK, cut in any::<prop::sample::Index>()) {
        let stored = seal(&pattern(length));
        prop_assert!(open(&stored[..cut.index(stored.len())]).is_err());
    }

    #[test]
    fn a_tail_opens_from_any_chunk(length in 1..4 * CHUNK, first in 0_u64..4) {
        let content = pattern(length);
        let stored = seal(&content);
        let opened = open_from(&stored, length as u64, first);
        if first < chunk_count(length as u64) {
            prop_assert_eq!(opened.unwrap(), &content[first as usize * CHUNK..]);
        } else {
            prop_assert_eq!(opened, Err(FormatError::BodyLength));
        }
    }
}
