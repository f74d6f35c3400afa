//! One chunk: AES-256-GCM in place, under a nonce that can only count.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;

use super::FormatError;
use crate::envelope::data_key::KEY_LENGTH;

/// Plaintext bytes of a full chunk.
pub const CHUNK: usize = 65_536;
/// Bytes of an AES-256-GCM tag.
pub const TAG: usize = 16;
/// Bytes of a full chunk as stored.
pub const SEALED_CHUNK: usize = CHUNK + TAG;

/// The key of one sequence of chunks.
pub(super) struct ChunkKey(LessSafeKey);

impl ChunkKey {
    pub(super) fn new(bytes: &[u8; KEY_LENGTH]) -> Self {
        Self(aead_key(bytes))
    }

    /// Seals `chunk` in place and appends its tag (F-21).
    pub(super) fn seal(&self, index: u64, is_final: bool, chunk: &mut BytesMut) {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(index, is_final), Aad::empty(), chunk)
            .expect("a chunk is far below AES-GCM's 64 GiB limit");
        chunk.extend_from_slice(tag.as_ref());
    }

    /// Opens `chunk` in place: on success it holds the plaintext, on failure it is emptied (F-25).
    pub(super) fn open(&self, index: u64, is_final: bool, chunk: &mut BytesMut) -> Result<(), FormatError> {
        match self.0.open_in_place(nonce(index, is_final), Aad::empty(), chunk) {
            Ok(plaintext) => {
                let length = plaintext.len();
                chunk.truncate(length);
                Ok(())
            }
            Err(_) => {
                chunk.clear();
                Err(FormatError::ChunkTag)
            }
        }
    }
}

/// An AES-256-GCM key from 32 bytes.
pub(super) fn aead_key(bytes: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("the key is 32 bytes long"))
}

/// be88(index) | final(1): the counter of the chunk and whether it is the last (F-21).
fn nonce(index: u64, is_final: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(is_final);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk_key() -> ChunkKey {
        ChunkKey::new(&[9; 32])
    }

    #[test]
    fn f_21_a_chunk_opens_only_at_its_place() {
        let mut sealed = BytesMut::from(&b"plaintext"[..]);
        chunk_key().seal(3, false, &mut sealed);
        assert_eq!(sealed.len(), 9 + TAG);
        for (index, is_final) in [(2, false), (4, false), (3, true), (3 + (1 << 40), false)] {
            let mut moved = sealed.clone();
            assert_eq!(chunk_key().open(index, is_final, &mut moved), Err(FormatError::ChunkTag));
            assert!(moved.is_empty(), "F-25: nothing unauthenticated may be left to release");
        }
        chunk_key().open(3, false, &mut sealed).unwrap();
        assert_eq!(&sealed[..], b"plaintext");
    }

    #[test]
    fn a_body_shorter_than_a_tag_is_refused() {
        let mut short = BytesMut::from(&[0; TAG - 1][..]);
        assert_eq!(chunk_key().open(0, true, &mut short), Err(FormatError::ChunkTag));
    }
}
