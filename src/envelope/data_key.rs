//! The secret keys of envelope encryption.
//!
//! This file must not know how keys are wrapped or what is encrypted with them. It promises types that redact
//! themselves in logs, are zeroed when dropped and cannot be copied.

use std::fmt;

use aws_lc_rs::hkdf::KeyType;
use zeroize::Zeroizing;

/// Length in bytes of every key of the format (256 bit).
pub const KEY_LENGTH: usize = 32;
/// Length in bytes of the short keys that a foreign format may have (128 bit).
const SHORT_KEY_LENGTH: usize = 16;

/// Fills the bytes from the system's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system's random generator works or the process must end");
}

/// The number of bytes that HKDF is to derive.
pub(super) struct OutputLength(pub(super) usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// A data key as the key service generates and unwraps it: 256 bits, or 128 bits in objects of one foreign
/// format.
///
/// In the native format it is input to HKDF and nothing else (F-01).
pub struct DataKey(Bytes);

enum Bytes {
    Aes256(Zeroizing<[u8; KEY_LENGTH]>),
    Aes128(Zeroizing<[u8; SHORT_KEY_LENGTH]>),
}

impl DataKey {
    /// Takes 32 bytes of key material.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Bytes::Aes256(Zeroizing::new(bytes)))
    }

    /// Takes a slice; `None` unless it is exactly 32 bytes long.
    pub fn try_from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Bytes::Aes256(Zeroizing::new(key))))
    }

    /// Takes a slice of 16 bytes: a 128-bit key, as one client of a foreign format writes. No other format
    /// accepts a key for which [`Self::is_short`] is true.
    pub fn short_from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Bytes::Aes128(Zeroizing::new(key))))
    }

    /// Whether the key has 128 bits instead of 256.
    pub fn is_short(&self) -> bool {
        matches!(self.0, Bytes::Aes128(_))
    }

    /// The 32 key bytes.
    ///
    /// # Panics
    /// For a short key, which the keyring returns only to callers that request one.
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        match &self.0 {
            Bytes::Aes256(bytes) => bytes,
            Bytes::Aes128(_) => panic!("a caller that requests a short key checks for one"),
        }
    }

    /// The 16 or 32 key bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Bytes::Aes256(bytes) => bytes.as_slice(),
            Bytes::Aes128(bytes) => bytes.as_slice(),
        }
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

/// The 256-bit key that seals and opens what ends an object with a customer key, so that this takes no
/// customer key: it is derived from the content key, and opens no content (F-73).
pub struct EndKey(Zeroizing<[u8; KEY_LENGTH]>);

impl EndKey {
    pub(super) fn from_zeroizing(bytes: Zeroizing<[u8; KEY_LENGTH]>) -> Self {
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for EndKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EndKey(redacted)")
    }
}

/// A key of one object: the content key, or the end key, which seals and opens less.
#[derive(Debug, Clone, Copy)]
pub enum ObjectSecret<'a> {
    /// The content key, from which the end key can be derived.
    Content(&'a ContentKey),
    /// The end key.
    End(&'a EndKey),
}

impl<'a> From<&'a ContentKey> for ObjectSecret<'a> {
    fn from(key: &'a ContentKey) -> Self {
        Self::Content(key)
    }
}

impl<'a> From<&'a std::sync::Arc<ContentKey>> for ObjectSecret<'a> {
    fn from(key: &'a std::sync::Arc<ContentKey>) -> Self {
        Self::Content(key)
    }
}

impl<'a> From<&'a EndKey> for ObjectSecret<'a> {
    fn from(key: &'a EndKey) -> Self {
        Self::End(key)
    }
}

#[cfg(test)]
mod tests;
