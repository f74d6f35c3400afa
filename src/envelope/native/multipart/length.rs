//! Length arithmetic of a multipart body (F-38).
//!
//! It must not know the content. It promises exact lengths for regular layouts, and a length that can't be
//! inverted for all others.

use super::{MAX_PARTS, SEGMENT_HEADER};
use crate::envelope::native::{CHUNK, FormatError, Result, SEALED_CHUNK, TAG};

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
pub const fn segment_plaintext_length(stored: u64) -> Result<u64> {
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
pub const fn multipart_plaintext_length(ciphertext: u64, parts: u16) -> Result<MultipartLength> {
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
mod tests;
