//! One chunk under AES-256-GCM, in place or into another buffer.
//!
//! It must not know which chunks exist or where they are stored. It promises that the nonce is the chunk's
//! counter and that a refused chunk leaves no plaintext.

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
    ) -> Result<(), FormatError> {
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
    fn f_21_on_the_way_to_another_buffer_it_is_the_same() {
        for length in [0, 1, 100, CHUNK] {
            let plaintext = vec![5; length];
            let mut in_place = BytesMut::from(&plaintext[..]);
            chunk_key().seal(3, true, &mut in_place);
            for former in [0, 7, 2 * CHUNK] {
                let mut sealed = BytesMut::from(&vec![6; former][..]);
                chunk_key().seal_into(3, true, &plaintext, &mut sealed);
                assert_eq!(sealed, in_place);
                let mut opened = BytesMut::from(&vec![6; former][..]);
                chunk_key().open_into(3, true, &sealed, &mut opened).unwrap();
                assert_eq!(opened, plaintext);
                for (index, is_final) in [(2, true), (3, false)] {
                    let refused = chunk_key().open_into(index, is_final, &sealed, &mut opened);
                    assert_eq!(refused, Err(FormatError::ChunkTag));
                    assert!(opened.is_empty(), "F-25: nothing unauthenticated may be left to release");
                }
            }
        }
    }

    #[test]
    fn a_body_shorter_than_a_tag_is_refused() {
        let mut short = BytesMut::from(&[0; TAG - 1][..]);
        assert_eq!(chunk_key().open(0, true, &mut short), Err(FormatError::ChunkTag));
        let mut other = BytesMut::from(&[1; 9][..]);
        assert_eq!(chunk_key().open_into(0, true, &[0; TAG - 1], &mut other), Err(FormatError::ChunkTag));
        assert!(other.is_empty());
    }
}
