use proptest::prelude::*;

use super::*;

#[test]
fn f_38_known_lengths() {
    use MultipartLength::{Exact, NeedsLayout};
    for (ciphertext, parts, expected) in [
        (80, 1, Ok(Exact(0))),
        (160, 2, Ok(Exact(0))),
        (79, 1, Err(FormatError::Length)),
        (159, 2, Err(FormatError::Length)),
        (81, 1, Ok(NeedsLayout)),
        (96, 1, Ok(NeedsLayout)),
        (97, 1, Ok(Exact(1))),
        (80 + 65_552, 1, Ok(Exact(65_536))),
        (81 + 65_552, 1, Ok(NeedsLayout)),
        (97 + 65_552, 1, Ok(Exact(65_537))),
        (5 * 1_048_576 + 80 * 16 + 160, 2, Ok(Exact(5 * 1_048_576))),
        (1_000_000, 0, Err(FormatError::Length)),
        (10_000_000, 10_000, Ok(Exact(10_000_000 - 800_000 - 16 * 141))),
        (10_000_000, 10_001, Err(FormatError::Length)),
    ] {
        assert_eq!(multipart_plaintext_length(ciphertext, parts), expected, "{ciphertext} in {parts}");
    }
}

#[test]
fn f_38_segments_around_five_mebibytes() {
    const FIVE: u64 = 5 << 20;
    for (plaintext, stored) in
        [(0, 80), (1, 97), (FIVE - 1, FIVE + 1359), (FIVE, FIVE + 1360), (FIVE + 1, FIVE + 1377)]
    {
        assert_eq!(segment_length(plaintext), Some(stored));
        assert_eq!(segment_plaintext_length(stored), Ok(plaintext));
    }
    assert_eq!(segment_length(MAX_PART_LENGTH + 1), None);
    assert_eq!(segment_plaintext_length(u64::MAX), Err(FormatError::Length));
}

#[test]
fn f_40_padding_brings_every_length_to_one_that_does_not_invert() {
    for chunks in 0..3 * SEALED_U64 {
        let padded = chunks + padding_length(chunks);
        assert_eq!(multipart_plaintext_length(padded + 80, 1), Ok(MultipartLength::NeedsLayout));
        // 16 impossible lengths follow each other: the shortest padding reaches the first of them, or is
        // empty.
        assert!(padded == chunks || padded % SEALED_U64 == 1 && padded - chunks < SEALED_U64 - 15);
    }
}

proptest! {
    #[test]
    fn f_38_segments_invert(plaintext in 0..=MAX_PART_LENGTH) {
        prop_assert_eq!(segment_plaintext_length(segment_length(plaintext).unwrap()), Ok(plaintext));
    }

    #[test]
    fn f_38_what_inverts_has_that_length(ciphertext in any::<u64>(), parts in any::<u16>()) {
        if let Ok(MultipartLength::Exact(plaintext)) = multipart_plaintext_length(ciphertext, parts) {
            prop_assert_eq!(chunks_length(plaintext) + 80 * u64::from(parts), ciphertext);
        }
    }
}
