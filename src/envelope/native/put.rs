//! The body of an object written by one PUT: chunks only, sealed and opened one at a time.

use bytes::BytesMut;

use super::chunk::ChunkKey;
use super::{ChunkOpener, ChunkSealer, FormatError, kdf};
use crate::envelope::ContentKey;

/// body key = HKDF-SHA256(content key, "", "s3veil/v1/put\0", 32) (F-20).
fn body_key(content_key: &ContentKey) -> ChunkKey {
    ChunkKey::new(&kdf::hkdf(content_key.expose(), &[], &[kdf::PUT]))
}

/// Seals the chunks of one body in order; the last one consumes it.
pub struct PutSealer(ChunkSealer);

impl PutSealer {
    /// A sealer for one body. A content key seals one body, once (F-13).
    pub fn new(content_key: &ContentKey) -> Self {
        Self(ChunkSealer::new(body_key(content_key)))
    }

    /// [`ChunkSealer::seal_next`].
    pub fn seal_next(&mut self, chunk: &mut BytesMut) {
        self.0.seal_next(chunk);
    }

    /// [`ChunkSealer::seal_last`].
    pub fn seal_last(self, chunk: &mut BytesMut) {
        self.0.seal_last(chunk);
    }

    /// The chunks alone, for a caller that seals bodies of either kind.
    pub fn into_chunks(self) -> ChunkSealer {
        self.0
    }
}

/// Opens consecutive chunks of one body, beginning at any chunk.
pub struct PutOpener(ChunkOpener);

impl PutOpener {
    /// An opener for a body of `plaintext_total` bytes that begins at chunk `first`.
    ///
    /// The total comes from the storage and is not trusted: the chunk it makes the last one opens only if it was
    /// sealed as the last one (F-26).
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when there is no chunk `first`.
    pub fn new(content_key: &ContentKey, plaintext_total: u64, first: u64) -> Result<Self, FormatError> {
        ChunkOpener::new(body_key(content_key), plaintext_total, first).map(Self)
    }

    /// [`ChunkOpener::next_length`].
    pub fn next_length(&self) -> Option<usize> {
        self.0.next_length()
    }

    /// Opens the next chunk in place; its length must be [`Self::next_length`].
    ///
    /// # Errors
    /// As [`ChunkOpener::open_next`]; `chunk` is empty then: nothing is released (F-25).
    pub fn open_next(&mut self, chunk: &mut BytesMut) -> Result<(), FormatError> {
        self.0.open_next(chunk)
    }

    /// [`ChunkOpener::open_next_into`].
    ///
    /// # Errors
    /// As there.
    pub fn open_next_into(&mut self, sealed: &[u8], plaintext: &mut BytesMut) -> Result<(), FormatError> {
        self.0.open_next_into(sealed, plaintext)
    }
}

#[cfg(test)]
mod tests;
