//! Range arithmetic of the body of one PUT: which stored bytes a plaintext range needs, and which plaintext
//! to keep.
//!
//! It must not know how bytes are requested. It promises that the stored bytes of a range are whole chunks
//! that hold all of it.

use super::{CHUNK, FormatError, Result, SEALED_CHUNK, chunk_count, ciphertext_length};
use crate::wire::range::RangeSpec;

const CHUNK_U64: u64 = CHUNK as u64;
const SEALED_U64: u64 = SEALED_CHUNK as u64;

/// A requested range of plaintext bytes, before the object's length is known (RFC 9110, 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaintextRange(pub RangeSpec);

/// The range of stored bytes to request from the storage: whole chunks (F-27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CiphertextRange(pub RangeSpec);

impl PlaintextRange {
    /// The stored bytes that hold this range whatever the object's length: the chunks that it touches. A
    /// suffix requests one chunk more than it is long, since the last chunk's length is not known yet.
    ///
    /// Offsets beyond what 64 bits of ciphertext can address saturate: no such object exists, so the storage
    /// responds that the range can't be satisfied.
    pub fn ciphertext(self) -> CiphertextRange {
        let chunk_start = |offset: u64| (offset / CHUNK_U64).saturating_mul(SEALED_U64);
        CiphertextRange(match self.0 {
            RangeSpec::Bounded { first, last } => RangeSpec::Bounded {
                first: chunk_start(first),
                last: chunk_start(last).saturating_add(SEALED_U64 - 1),
            },
            RangeSpec::From { first } => RangeSpec::From { first: chunk_start(first) },
            RangeSpec::Suffix { length } => RangeSpec::Suffix {
                length: length.div_ceil(CHUNK_U64).saturating_add(1).saturating_mul(SEALED_U64),
            },
        })
    }
}

/// How to turn a run of stored bytes into exactly the requested plaintext bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadWindow {
    /// Plaintext bytes of the whole object.
    pub plaintext_total: u64,
    /// Stored bytes to drop before the first chunk to open.
    pub discard: u64,
    /// Index of the first chunk to open.
    pub first_chunk: u64,
    /// Plaintext bytes of that chunk to drop.
    pub skip: u64,
    /// Plaintext bytes to release.
    pub length: u64,
}

impl ReadWindow {
    /// The whole body of `plaintext_total` bytes.
    pub fn whole(plaintext_total: u64) -> Self {
        Self { plaintext_total, discard: 0, first_chunk: 0, skip: 0, length: plaintext_total }
    }

    /// The plaintext bytes `first..=last` of `plaintext_total`, out of stored bytes that begin at
    /// `stored_first` and reach at least the end of the chunk that holds `last`.
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when the range is not inside the object or the stored bytes begin after
    /// its first chunk.
    pub fn slice(plaintext_total: u64, stored_first: u64, first: u64, last: u64) -> Result<Self> {
        if first > last || last >= plaintext_total {
            return Err(FormatError::BodyLength);
        }
        let first_chunk = first / CHUNK_U64;
        let discard = (first_chunk * SEALED_U64).checked_sub(stored_first).ok_or(FormatError::BodyLength)?;
        Ok(Self { plaintext_total, discard, first_chunk, skip: first % CHUNK_U64, length: last - first + 1 })
    }

    /// Stored bytes this window reads after `discard`: from its first chunk to the end of its last.
    pub fn ciphertext_needed(&self) -> u64 {
        let first = self.first_chunk * CHUNK_U64;
        let end =
            (first + self.skip + self.length).div_ceil(CHUNK_U64).min(chunk_count(self.plaintext_total));
        let plaintext = (end * CHUNK_U64).min(self.plaintext_total) - first;
        ciphertext_length(plaintext).expect("it is part of an object whose stored length fits 64 bits")
    }
}

#[cfg(test)]
mod tests;
