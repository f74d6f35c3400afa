//! The body of an object written by one PUT: chunks only, sealed and opened one at a time.

use bytes::BytesMut;

use super::chunk::ChunkKey;
use super::{CHUNK, FormatError, TAG, chunk_count, kdf};
use crate::envelope::ContentKey;

/// body key = HKDF-SHA256(content key, "", "s3veil/v1/put\0", 32) (F-20).
fn body_key(content_key: &ContentKey) -> ChunkKey {
    ChunkKey::new(&kdf::hkdf(content_key.expose(), &[], &[kdf::PUT]))
}

/// Seals the chunks of one body in order; the last one consumes it.
pub struct PutSealer {
    body_key: ChunkKey,
    next: u64,
}

impl PutSealer {
    /// A sealer for one body. A content key seals one body, once (F-13).
    pub fn new(content_key: &ContentKey) -> Self {
        Self { body_key: body_key(content_key), next: 0 }
    }

    /// Seals a chunk that another one follows: exactly [`CHUNK`] bytes of plaintext, in place (F-22).
    ///
    /// # Panics
    /// When the chunk is not full: the caller frames the plaintext.
    pub fn seal_next(&mut self, chunk: &mut BytesMut) {
        assert_eq!(chunk.len(), CHUNK, "only the last chunk may be short");
        self.body_key.seal(self.next, false, chunk);
        self.next += 1;
    }

    /// Seals the last chunk: at most [`CHUNK`] bytes, empty only when it is the only one (F-22, F-23).
    ///
    /// # Panics
    /// When the chunk breaks that rule: the caller frames the plaintext.
    pub fn seal_last(self, chunk: &mut BytesMut) {
        assert!(chunk.len() <= CHUNK, "a chunk holds at most 64 KiB");
        assert!(self.next == 0 || !chunk.is_empty(), "an empty last chunk belongs to the empty object only");
        self.body_key.seal(self.next, true, chunk);
    }
}

/// Opens consecutive chunks of one body, beginning at any chunk.
pub struct PutOpener {
    body_key: ChunkKey,
    next: u64,
    last: u64,
    plaintext_total: u64,
}

impl PutOpener {
    /// An opener for a body of `plaintext_total` bytes that begins at chunk `first`.
    ///
    /// The total comes from the storage and is not trusted: the chunk it makes the last one opens only if it was
    /// sealed as the last one (F-26).
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when there is no chunk `first`.
    pub fn new(content_key: &ContentKey, plaintext_total: u64, first: u64) -> Result<Self, FormatError> {
        let last = chunk_count(plaintext_total) - 1;
        if first > last {
            return Err(FormatError::BodyLength);
        }
        Ok(Self { body_key: body_key(content_key), next: first, last, plaintext_total })
    }

    /// Stored bytes of the next chunk, tag included; `None` after the last one.
    pub fn next_length(&self) -> Option<usize> {
        match self.next {
            next if next < self.last => Some(CHUNK + TAG),
            next if next == self.last => {
                let before = self.last * CHUNK as u64;
                let rest = usize::try_from(self.plaintext_total - before).expect("at most one chunk is left");
                Some(rest + TAG)
            }
            _ => None,
        }
    }

    /// Opens the next chunk in place; its length must be [`Self::next_length`].
    ///
    /// # Errors
    /// [`FormatError::ChunkTag`] when it fails authentication, [`FormatError::BodyLength`] when its length is not
    /// the announced one or no chunk is left. `chunk` is empty then: nothing is released (F-25).
    pub fn open_next(&mut self, chunk: &mut BytesMut) -> Result<(), FormatError> {
        if self.next_length() != Some(chunk.len()) {
            chunk.clear();
            return Err(FormatError::BodyLength);
        }
        self.body_key.open(self.next, self.next == self.last, chunk)?;
        self.next += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
