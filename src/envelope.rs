//! The `envelope` room.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 256-bit data key: what the keyring generates and unwraps, and what envelopes are derived from.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// Takes over 32 bytes of key.
    pub fn from_bytes(bytes: [u8; 32]) -> DataKey {
        DataKey(bytes)
    }

    /// `None` unless `bytes` is 32 bytes long.
    pub fn try_from_slice(bytes: &[u8]) -> Option<DataKey> {
        bytes.try_into().ok().map(DataKey)
    }

    /// The key itself, for key derivation.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}
