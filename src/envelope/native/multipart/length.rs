//! Length arithmetic of a multipart body (F-38).
//!
//! It must not know the content. It promises exact lengths for regular layouts, and a length that can't be
//! inverted for all others.

use crate::envelope::native::{CHUNK, FormatError, SEALED_CHUNK, TAG};

use super::{MAX_PARTS, SEGMENT_HEADER};

const CHUNK_U64: u64 = CHUNK as u64;
const SEALED_U64: u64 = SEALED_CHUNK as u64;
const TAG_U64: u64 = TAG as u64;
const HEADER_U64: u64 = SEGMENT_HEADER as u64;

/// Longest part, a bound that keeps all sums within 64 bits and a layout entry within seven bytes. The limit
/// of S3 itself is 5 GiB. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PART_LENGTH: u64 = (1 << 40) - 1;

/// What follows from the stored length of a multipart body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultipartLength {
    /// The plaintext has this many bytes.
    Exact(u64),
    /// The layout is carried in the body's tail and has to be read from there (F-42).
    NeedsLayout,
}

/// Stored bytes of the chunks of `plaintext` bytes; an empty plaintext has none (F-34).
pub(super) const fn chunks_length(plaintext: u64) -> u64 {
    plaintext + TAG_U64 * plaintext.div_ceil(CHUNK_U64)
}

/// Stored bytes of a segment that carries no layout; `None` for a part longer than [`MAX_PART_LENGTH`].
pub const fn segment_length(plaintext: u64) -> Option<u64> {
    if plaintext > MAX_PART_LENGTH { None } else { Some(HEADER_U64 + chunks_length(plaintext)) }
}

/// Plaintext bytes of a segment of `stored` bytes that carries no layout.
///
/// # Errors
/// [`FormatError::Length`] for a length that no such segment has.
pub const fn segment_plaintext_length(stored: u64) -> Result<u64, FormatError> {
    match multipart_plaintext_length(stored, 1) {
        Ok(MultipartLength::Exact(length)) if length <= MAX_PART_LENGTH => Ok(length),
        Ok(MultipartLength::Exact(_) | MultipartLength::NeedsLayout) | Err(_) => Err(FormatError::Length),
    }
}

/// Plaintext bytes of a multipart body of `ciphertext` bytes in `parts` segments, terminator included, which
/// LIST and HEAD report without reading the object. Both numbers are claims of the storage, and so is the
/// result.
///
/// # Errors
/// [`FormatError::Length`] when a body of that many segments is longer, or `parts` is out of range.
pub const fn multipart_plaintext_length(ciphertext: u64, parts: u16) -> Result<MultipartLength, FormatError> {
    if parts == 0 || parts > MAX_PARTS {
        return Err(FormatError::Length);
    }
    let Some(chunks) = ciphertext.checked_sub(HEADER_U64 * parts as u64) else {
        return Err(FormatError::Length);
    };
    let full = chunks / SEALED_U64 * CHUNK_U64;
    match chunks % SEALED_U64 {
        0 => Ok(MultipartLength::Exact(full)),
        1..=TAG_U64 => Ok(MultipartLength::NeedsLayout),
        rest => Ok(MultipartLength::Exact(full + rest - TAG_U64)),
    }
}

/// Bytes of padding that bring `chunks`, the stored bytes of a body without its headers and its padding, to
/// the next length that [`multipart_plaintext_length`] can't invert (F-40).
pub(super) const fn padding_length(chunks: u64) -> u64 {
    match chunks % SEALED_U64 {
        0 => 1,
        1..=TAG_U64 => 0,
        rest => SEALED_U64 + 1 - rest,
    }
}

#[cfg(test)]
mod tests {
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
}
