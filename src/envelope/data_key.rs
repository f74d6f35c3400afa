//! The secret keys of envelope encryption as types that redact, zero themselves and cannot be copied.

use std::fmt;

use zeroize::Zeroizing;

/// Length in bytes of every key of the format (256 bit).
pub const KEY_LENGTH: usize = 32;

/// A 256-bit data key as the key service generates and unwraps it.
///
/// In the native format it is input to HKDF and nothing else (F-01).
pub struct DataKey(Zeroizing<[u8; KEY_LENGTH]>);

impl DataKey {
    /// Takes 32 bytes of key material.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes a slice; `None` unless it is exactly 32 bytes long.
    pub fn try_from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Zeroizing::new(key)))
    }

    /// The 32 key bytes, for key derivation and wrapping only.
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(redacted)")
    }
}

/// The 256-bit random key of one object (one PUT, or one multipart upload), stored only wrapped (F-13).
pub struct ContentKey(Zeroizing<[u8; KEY_LENGTH]>);

impl ContentKey {
    pub(super) fn from_zeroizing(bytes: Zeroizing<[u8; KEY_LENGTH]>) -> Self {
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContentKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_is_exactly_32_bytes_and_never_printed() {
        assert!(DataKey::try_from_slice(&[7; 31]).is_none());
        assert!(DataKey::try_from_slice(&[7; 33]).is_none());
        let data_key = DataKey::try_from_slice(&[7; 32]).unwrap();
        assert_eq!(data_key.expose(), &[7; 32]);
        assert_eq!(format!("{data_key:?}"), "DataKey(redacted)");
    }
}
