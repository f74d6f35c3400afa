//! Length arithmetic of the body of one PUT (F-24).
//!
//! It must not know the content. It promises exact lengths in both directions, and refuses lengths that no
//! plaintext has. A length that was computed from the stored length is the storage's claim; the authentic
//! length is the envelope's ([`super::BodyKind`]).

use super::{CHUNK, FormatError, Result, SEALED_CHUNK, TAG};

const CHUNK_U64: u64 = CHUNK as u64;
const SEALED_U64: u64 = SEALED_CHUNK as u64;
const TAG_U64: u64 = TAG as u64;

/// The largest plaintext length that an envelope or a segment may name (F-17, F-31). S3 takes less: 5 GiB.
pub(super) const MAX_PLAINTEXT: u64 = (1 << 40) - 1;

/// Number of chunks of a plaintext of `plaintext` bytes: at least one (F-23).
pub const fn chunk_count(plaintext: u64) -> u64 {
    let count = plaintext.div_ceil(CHUNK_U64);
    if count == 0 { 1 } else { count }
}

/// Stored bytes of a plaintext of `plaintext` bytes; `None` when that exceeds 64 bits.
pub const fn ciphertext_length(plaintext: u64) -> Option<u64> {
    match chunk_count(plaintext).checked_mul(TAG_U64) {
        Some(tags) => plaintext.checked_add(tags),
        None => None,
    }
}

/// Plaintext bytes of a stored body of `ciphertext` bytes, for listings, which see no envelope.
///
/// # Errors
/// [`FormatError::Length`] for a length that no plaintext has (F-24).
pub const fn plaintext_length(ciphertext: u64) -> Result<u64> {
    let full = ciphertext / SEALED_U64;
    let rest = ciphertext % SEALED_U64;
    match rest {
        0 if full > 0 => Ok(full * CHUNK_U64),
        // An empty last chunk is legal only for the empty object (F-22).
        TAG_U64 if full == 0 => Ok(0),
        rest if rest > TAG_U64 => Ok(full * CHUNK_U64 + rest - TAG_U64),
        _ => Err(FormatError::Length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f_24_known_lengths() {
        for (plaintext, ciphertext) in
            [(0, 16), (1, 17), (65_535, 65_551), (65_536, 65_552), (65_537, 65_569), (131_072, 131_104)]
        {
            assert_eq!(ciphertext_length(plaintext), Some(ciphertext));
            assert_eq!(plaintext_length(ciphertext), Ok(plaintext));
        }
        assert_eq!(ciphertext_length(u64::MAX), None);
    }

    #[test]
    fn f_24_exactly_the_impossible_lengths_are_refused() {
        for ciphertext in 0..3 * SEALED_U64 {
            let rest = ciphertext % SEALED_U64;
            let impossible = match ciphertext / SEALED_U64 {
                0 => rest < TAG_U64,
                _ => (1..=TAG_U64).contains(&rest),
            };
            assert_eq!(plaintext_length(ciphertext).is_err(), impossible, "{ciphertext}");
        }
    }

    proptest! {
        #[test]
        fn lengths_invert_or_are_refused(length in 0..=u64::MAX / 2) {
            prop_assert_eq!(plaintext_length(ciphertext_length(length).unwrap()), Ok(length));
            if let Ok(plaintext) = plaintext_length(length) {
                prop_assert_eq!(ciphertext_length(plaintext), Some(length));
            }
        }
    }
}
