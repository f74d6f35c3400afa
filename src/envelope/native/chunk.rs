//! One chunk under AES-256-GCM, in place or into another buffer.
//!
//! It must not know which chunks exist or where they are stored. It promises that the nonce is the chunk's
//! counter and that a refused chunk leaves no plaintext.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;

use super::{FormatError, Result};
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

    /// Seals `plaintext` into `sealed`, whose former content is overwritten: ciphertext, then tag (F-21).
    pub(super) fn seal_into(&self, index: u64, is_final: bool, plaintext: &[u8], sealed: &mut BytesMut) {
        sealed.resize(plaintext.len() + TAG, 0);
        let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
        self.0
            .seal_out_of_place_scatter(nonce(index, is_final), Aad::empty(), plaintext, ciphertext, &[], tag)
            .expect("a chunk is far below AES-GCM's 64 GiB limit");
    }

    /// Opens `sealed` into `plaintext`, whose former content is overwritten; on failure it is emptied (F-25).
    pub(super) fn open_into(
        &self,
        index: u64,
        is_final: bool,
        sealed: &[u8],
        plaintext: &mut BytesMut,
    ) -> Result<()> {
        let opened = sealed.split_last_chunk::<TAG>().is_some_and(|(ciphertext, tag)| {
            plaintext.resize(ciphertext.len(), 0);
            let nonce = nonce(index, is_final);
            self.0.open_separate_gather(nonce, Aad::empty(), ciphertext, tag, plaintext).is_ok()
        });
        if opened {
            return Ok(());
        }
        plaintext.clear();
        Err(FormatError::ChunkTag)
    }

    /// Opens `chunk` in place: on success it holds the plaintext, on failure it is emptied (F-25).
    pub(super) fn open(&self, index: u64, is_final: bool, chunk: &mut BytesMut) -> Result<()> {
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
mod tests;
