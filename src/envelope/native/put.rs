//! The key of an object that one PUT wrote, whose body is one sequence of chunks.
//!
//! It must not know how chunks are sealed or where they are stored. It promises that the key is derived for
//! this purpose only.

use super::chunk::ChunkKey;
use super::{ChunkOpener, ChunkSealer, FormatError, kdf};
use crate::envelope::ContentKey;

/// body key = HKDF-SHA256(content key, "", "s3veil/v1/put\0", 32) (F-20).
fn body_key(content_key: &ContentKey) -> ChunkKey {
    ChunkKey::new(&kdf::hkdf(content_key.expose(), &[], &[kdf::PUT]))
}

impl ChunkSealer {
    /// A sealer for the body of one PUT. A content key seals one body, once (F-13).
    pub fn for_put(content_key: &ContentKey) -> Self {
        Self::new(body_key(content_key))
    }
}

impl ChunkOpener {
    /// An opener for the body of one PUT of `plaintext_total` bytes that begins at chunk `first`.
    ///
    /// The total is the envelope's (F-17), and opens nothing by itself: the chunk that it makes the last one
    /// opens only if it was sealed as the last one (F-26).
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when there is no chunk `first`.
    pub fn for_put(content_key: &ContentKey, plaintext_total: u64, first: u64) -> Result<Self, FormatError> {
        Self::new(body_key(content_key), plaintext_total, first)
    }
}

#[cfg(test)]
mod tests;
