//! The interface of all openers, so that one reader can drive the body of a PUT, a multipart body or a range
//! of either.
//!
//! It must not know where stored bytes come from or who reads the plaintext. It promises that nothing of a
//! refused piece is released.

use bytes::BytesMut;

use super::Result;

/// Opens a run of stored bytes, one piece at a time.
pub trait PieceOpener {
    /// Stored bytes of the next piece; `None` after the last one.
    fn next_length(&self) -> Option<usize>;

    /// Opens the next piece in place, whose length must be [`Self::next_length`]. Afterwards `piece` holds
    /// the plaintext that may be released now, which may be none.
    ///
    /// # Errors
    /// The rule that the piece breaks; `piece` is empty then: nothing is released (F-25).
    fn open_next(&mut self, piece: &mut BytesMut) -> Result<()>;

    /// Opens the next piece out of `sealed` into `plaintext`, whose former content is overwritten.
    ///
    /// # Errors
    /// The rule that the piece breaks; `plaintext` is empty then: nothing is released (F-25).
    fn open_next_into(&mut self, sealed: &[u8], plaintext: &mut BytesMut) -> Result<()>;

    /// Whether all pieces have to be opened before the last plaintext may be released, because the end of the
    /// body is authenticated too (F-43).
    fn authenticates_end(&self) -> bool {
        false
    }
}
