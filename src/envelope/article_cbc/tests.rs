use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::envelope::StreamError;

const KEY: [u8; 32] = [0x42; 32];
const BLOCK: usize = IV;

fn data_key() -> DataKey {
    DataKey::from_bytes(KEY)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| 1 + (at % 200) as u8).collect()
}

fn seal(plaintext: &[u8], padding: Padding) -> Vec<u8> {
    let mut sealer = sealer(&data_key(), &[9; IV], padding);
    let mut stored = BytesMut::new();
    for piece in plaintext.chunks(7) {
        sealer.update(piece, &mut stored);
    }
    sealer.finish(&mut stored);
    stored.to_vec()
}

/// A body of plaintext that is padded already: `padded` must be whole blocks.
fn seal_padded(padded: &[u8]) -> Vec<u8> {
    assert_eq!(padded.len() % BLOCK, 0);
    let mut stored = seal(padded, Padding::Zero);
    stored.truncate(IV + padded.len());
    stored
}

fn open(stored: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let whole = body(&data_key()).open_whole(stored, None).map(|plaintext| plaintext.to_vec());
    let total = stored.len() as u64;
    let by_tail = body(&data_key()).tail(total).and_then(|range| {
        let tail = &stored[range.first() as usize..=range.last() as usize];
        body(&data_key()).length_by_tail(total, tail)
    });
    assert_eq!(by_tail, whole.as_ref().map(|plaintext| plaintext.len() as u64).map_err(|error| *error));
    whole
}

fn pour(stored: &[u8], first: u64, length: u64) -> Result<Vec<u8>, StreamError> {
    let chain = body(&data_key());
    let range = chain.slice(first, first + length - 1);
    let mut opener = chain.opener(first, length);
    let mut released = BytesMut::new();
    for piece in stored[range.first() as usize..=range.last() as usize].chunks(13) {
        opener.push(piece, &mut released)?;
    }
    opener.finish(&mut released)?;
    Ok(released.to_vec())
}

/// `openssl enc -aes-256-cbc` of this text, key and IV.
#[test]
fn agrees_with_openssl() {
    let expected =
        "0909090909090909090909090909090925709c41044beb71084024bd30fb35dbfea3de9c27dec9cf3084ef50704ccd29";
    let hex: String =
        seal(b"sixteen bytes!!!x", Padding::Pkcs7).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

#[test]
fn both_paddings_of_writing_read_back() {
    for length in [0, 1, 15, 16, 17, 31, 32, 33, 1000] {
        for padding in [Padding::Pkcs7, Padding::Zero] {
            let stored = seal(&text(length), padding);
            assert_eq!(ciphertext_length(length as u64), Some(stored.len() as u64));
            assert_eq!(open(&stored), Ok(text(length)), "{length} {padding:?}");
            assert_eq!(recorded_length(&length.to_string(), stored.len() as u64), Ok(length as u64));
        }
    }
}

/// The padding of the published code. Where a text is not a whole number of blocks, that code adds no
/// padding and its library refuses; else it appends `"/0"` 16 times.
#[test]
fn what_the_articles_code_appends_is_stripped() {
    for length in [0, 16, 32, 160] {
        let padded = [text(length), b"/0".repeat(16)].concat();
        assert_eq!(open(&seal_padded(&padded)), Ok(text(length)), "{length}");
    }
    let once = [text(16), b"/0".repeat(8)].concat();
    assert_eq!(open(&seal_padded(&once)), Err(Unreadable), "half of it is not what it appends");
}

#[test]
fn zeros_of_the_last_block_and_no_others_are_stripped() {
    let padded = [vec![7; 16], vec![0; 16], vec![0; 16]].concat();
    assert_eq!(open(&seal_padded(&padded)), Ok([vec![7; 16], vec![0; 16]].concat()));
    let padded = [vec![7; 20], vec![0; 12]].concat();
    assert_eq!(open(&seal_padded(&padded)), Ok(vec![7; 20]));
}

/// Zeros at the end of a text can't be distinguished from padding; the recorded length decides.
#[test]
fn a_recorded_length_decides() {
    let plaintext = [vec![7; 10], vec![0; 5]].concat();
    let stored = seal(&plaintext, Padding::Zero);
    assert_eq!(open(&stored), Ok(vec![7; 10]));
    let recorded = body(&data_key()).open_whole(&stored, Some(15));
    assert_eq!(recorded.unwrap(), plaintext);
    for wrong in [16, 17, u64::MAX] {
        assert_eq!(body(&data_key()).open_whole(&stored, Some(wrong)), Err(Unreadable), "{wrong}");
        assert_eq!(recorded_length(&wrong.to_string(), stored.len() as u64), Err(Unreadable));
    }
    for spelled in ["", "015", "+15", "15 ", "-1", "0x0f", "99999999999999999999999"] {
        assert_eq!(recorded_length(spelled, stored.len() as u64), Err(Unreadable), "{spelled}");
    }
}

#[test]
fn every_other_end_is_refused() {
    for end in
        [&[0x11; 16][..], &[0xff; 16], b"no padding at al", &[3, 3], &[1, 2], &[16; 15], b"0/0/0/0/0/0/0/0/"]
    {
        let mut padded = vec![0x55; 32];
        padded[32 - end.len()..].copy_from_slice(end);
        assert_eq!(open(&seal_padded(&padded)), Err(Unreadable), "{end:?}");
    }
}

#[test]
fn impossible_lengths_are_refused_alike() {
    for length in [0, 1, 15, 16, 17, 31, 33] {
        assert_eq!(body(&data_key()).open_whole(&vec![0; length], None), Err(Unreadable), "{length}");
        assert_eq!(body(&data_key()).tail(length as u64), Err(Unreadable), "{length}");
    }
    assert_eq!(ciphertext_length(u64::MAX), None);
}

#[test]
fn a_stream_that_ends_early_is_an_error() {
    let stored = seal(&text(100), Padding::Pkcs7);
    let mut opener = body(&data_key()).opener(0, 100);
    let mut released = BytesMut::new();
    opener.push(&stored[..64], &mut released).unwrap();
    assert_eq!(opener.finish(&mut released), Err(StreamError::Length));
}

proptest! {
    #[test]
    fn a_range_is_the_slice(length in 1..1000_u64, a in any::<u64>(), b in any::<u64>()) {
        let (first, last) = ((a % length).min(b % length), (a % length).max(b % length));
        let plaintext = text(length as usize);
        let stored = seal(&plaintext, Padding::Pkcs7);
        let got = pour(&stored, first, last - first + 1).unwrap();
        prop_assert_eq!(&got[..], &plaintext[first as usize..=last as usize]);
    }

    #[test]
    fn any_bytes_open_or_are_unreadable(stored in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = open(&stored);
    }
}
