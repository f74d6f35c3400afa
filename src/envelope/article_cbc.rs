//! The article's format (docs/FOREIGN.md): one KMS data key per object, and the object under AES-256-CBC.
//!
//! ```text
//! body       IV(16) random | AES-256-CBC(data key, IV, padded plaintext)
//! metadata   encryption-key: base64 of the wrapped data key (empty encryption context)
//!            encryption-length: the plaintext's length, decimal; written by s3veil, absent from the
//!            article's objects
//! ```
//! It must not know where body and metadata are stored. Nothing authenticates such an object, so that any
//! writer to the storage can change it; it promises one error, [`Unreadable`], for everything that is wrong.

use super::DataKey;
use super::aes_cbc::{self, AcceptedPadding};
use super::stream::{self, StreamSealer};

pub use super::aes_cbc::{CbcBody, Padding, Unreadable};

/// Bytes of the IV.
pub const IV: usize = aes_cbc::BLOCK;

/// Stored bytes of a plaintext of `plaintext` bytes; `None` over 64 bits.
pub const fn ciphertext_length(plaintext: u64) -> Option<u64> {
    match aes_cbc::padded(plaintext) {
        Some(padded) => padded.checked_add(IV as u64),
        None => None,
    }
}

/// A sealer for one body. The IV must be random, and the data key unique for each object.
pub fn sealer(data_key: &DataKey, iv: &[u8; IV], padding: Padding) -> StreamSealer {
    stream::cbc_sealer(data_key.expose(), iv, padding, true)
}

/// The stored body of an object under this data key.
pub fn body(data_key: &DataKey) -> CbcBody {
    CbcBody::new(data_key.expose(), None, AcceptedPadding::ZeroOrLiteral)
}

/// Parses `encryption-length`: decimal digits without a leading zero.
///
/// # Errors
/// [`Unreadable`] when it is something else, or no body of `stored` bytes holds that many.
pub fn recorded_length(text: &str, stored: u64) -> Result<u64, Unreadable> {
    let length: u64 = text.parse().map_err(|_| Unreadable)?;
    if length.to_string() != text || !fits(stored, length) {
        return Err(Unreadable);
    }
    Ok(length)
}

/// Whether a plaintext of `length` bytes may have a body of `stored` bytes, under any accepted padding.
fn fits(stored: u64, length: u64) -> bool {
    let padding = stored.checked_sub(IV as u64).and_then(|padded| padded.checked_sub(length));
    stored.is_multiple_of(IV as u64) && padding.is_some_and(|padding| (1..=2 * IV as u64).contains(&padding))
}

#[cfg(test)]
mod tests;
