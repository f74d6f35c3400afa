//! A sequence of chunks under one key: the body of one PUT, or of one segment of a multipart upload.
//!
//! It must not know where the key comes from. It promises that every chunk has its own counter, and that only
//! the last one may be short.

use bytes::BytesMut;

use super::chunk::ChunkKey;
use super::{CHUNK, FormatError, PieceOpener, Result, TAG, chunk_count};

/// Seals the chunks of one sequence in order; the last one consumes it.
pub struct ChunkSealer {
    chunk_key: ChunkKey,
    next: u64,
}

impl ChunkSealer {
    /// A sealer for the only sequence that is sealed under this key.
    pub(super) fn new(chunk_key: ChunkKey) -> Self {
        Self { chunk_key, next: 0 }
    }

    /// Seals a chunk that another one follows: exactly [`CHUNK`] bytes of plaintext, in place (F-22).
    ///
    /// # Panics
    /// When the chunk is not full: the caller frames the plaintext.
    pub fn seal_next(&mut self, chunk: &mut BytesMut) {
        assert_eq!(chunk.len(), CHUNK, "only the last chunk may be short");
        self.chunk_key.seal(self.next, false, chunk);
        self.next += 1;
    }

    /// Seals a chunk that another one follows out of `plaintext`, exactly [`CHUNK`] bytes, into `sealed`,
    /// whose former content is overwritten (F-22).
    ///
    /// # Panics
    /// When the chunk is not full: the caller frames the plaintext.
    pub fn seal_next_into(&mut self, plaintext: &[u8], sealed: &mut BytesMut) {
        assert_eq!(plaintext.len(), CHUNK, "only the last chunk may be short");
        self.chunk_key.seal_into(self.next, false, plaintext, sealed);
        self.next += 1;
    }

    /// Seals the last chunk: at most [`CHUNK`] bytes, empty only when it is the only one (F-22, F-23).
    ///
    /// # Panics
    /// When the chunk breaks that rule: the caller frames the plaintext.
    pub fn seal_last(self, chunk: &mut BytesMut) {
        assert!(chunk.len() <= CHUNK, "a chunk holds at most 64 KiB");
        assert!(self.next == 0 || !chunk.is_empty(), "an empty last chunk belongs to the empty object only");
        self.chunk_key.seal(self.next, true, chunk);
    }
}

/// Opens consecutive chunks of one sequence, beginning at any chunk.
pub struct ChunkOpener {
    chunk_key: ChunkKey,
    next: u64,
    last: u64,
    plaintext_total: u64,
}

impl ChunkOpener {
    /// An opener for a sequence of `plaintext_total` bytes that begins at chunk `first`. The total need not
    /// be trusted: the chunk that it makes the last one opens only if it was sealed as the last one (F-26).
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when there is no chunk `first`.
    pub(super) fn new(chunk_key: ChunkKey, plaintext_total: u64, first: u64) -> Result<Self> {
        let last = chunk_count(plaintext_total) - 1;
        if first > last {
            return Err(FormatError::BodyLength);
        }
        Ok(Self { chunk_key, next: first, last, plaintext_total })
    }
}

impl PieceOpener for ChunkOpener {
    fn next_length(&self) -> Option<usize> {
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

    /// Fails with [`FormatError::ChunkTag`] when the chunk fails authentication, [`FormatError::BodyLength`]
    /// when its length is not the announced one or no chunk is left.
    fn open_next(&mut self, chunk: &mut BytesMut) -> Result<()> {
        if self.next_length() != Some(chunk.len()) {
            chunk.clear();
            return Err(FormatError::BodyLength);
        }
        self.chunk_key.open(self.next, self.next == self.last, chunk)?;
        self.next += 1;
        Ok(())
    }

    fn open_next_into(&mut self, sealed: &[u8], plaintext: &mut BytesMut) -> Result<()> {
        if self.next_length() != Some(sealed.len()) {
            plaintext.clear();
            return Err(FormatError::BodyLength);
        }
        self.chunk_key.open_into(self.next, self.next == self.last, sealed, plaintext)?;
        self.next += 1;
        Ok(())
    }
}
