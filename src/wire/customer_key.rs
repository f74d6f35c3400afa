//! A key that a client sends with its requests for one object (SSE-C).
//!
//! It must not know headers, formats or storages. It promises that the key is zeroed when dropped, is never
//! printed, and that its MD5 is no more public than the client makes it.

use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The length of a customer key in bytes (AES-256).
pub const CUSTOMER_KEY: usize = 32;
/// The length of its MD5 in bytes.
const MD5: usize = 16;

/// A customer key. Clones share its memory, which is zeroed with the last one.
#[derive(Clone)]
pub struct CustomerKey(Arc<Content>);

struct Content {
    key: Zeroizing<[u8; CUSTOMER_KEY]>,
    md5: [u8; MD5],
}

impl CustomerKey {
    /// Takes a key of 32 bytes; `None` for another length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; CUSTOMER_KEY]);
        if bytes.len() != CUSTOMER_KEY {
            return None;
        }
        key.copy_from_slice(bytes);
        let md5 = Md5::digest(key.as_slice()).into();
        Some(Self(Arc::new(Content { key, md5 })))
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; CUSTOMER_KEY] {
        &self.0.key
    }

    /// The MD5 of the key, which responses to its client repeat.
    #[must_use]
    pub fn md5(&self) -> &[u8; MD5] {
        &self.0.md5
    }

    /// Whether `digest` is the MD5 of the key, compared in constant time. The comparison finds a damaged key,
    /// and protects nothing.
    #[must_use]
    pub fn has_md5(&self, digest: &[u8]) -> bool {
        self.0.md5[..].ct_eq(digest).into()
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CustomerKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_32_bytes_and_is_not_printed() {
        assert!(CustomerKey::from_slice(&[7; 31]).is_none() && CustomerKey::from_slice(&[7; 33]).is_none());
        let key = CustomerKey::from_slice(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "CustomerKey(redacted)");
        assert_eq!(key.expose(), &[7; 32]);
        assert!(key.has_md5(key.md5()) && !key.has_md5(&[]));
        assert!(!CustomerKey::from_slice(&[8; 32]).unwrap().has_md5(key.md5()));
    }
}
