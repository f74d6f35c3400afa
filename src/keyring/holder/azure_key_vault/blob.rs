//! The layout of a data key that Azure Key Vault wrapped. It must not know the service. It promises that the
//! encryption context, which the service does not know, is authenticated together with all that the blob
//! says.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};

use crate::envelope::DataKey;
use crate::keyring::EncryptionContext;
use crate::keyring::settings::AzureAlgorithm;

/// ```text
/// prefix   version(1)=1 | algorithm(1) | len8 | key version (1 to 64 letters and digits)
/// blob     prefix | MAC(32) | wrapped data key
/// MAC      HMAC-SHA256(MAC key, prefix | canonical context)
/// MAC key  HKDF-SHA256(ikm = data key, salt = "", info = "s3veil/keyring/azure-key-vault/v1\0", 32)
/// ```
const VERSION: u8 = 1;
const INFO: &[u8] = b"s3veil/keyring/azure-key-vault/v1\0";
const MAC_LEN: usize = 32;
const MAX_KEY_VERSION_LEN: usize = 64;
/// What RSA with 4,096 bits gives, in bytes.
const MAX_WRAPPED_LEN: usize = 512;

/// The fields of a blob, not yet authenticated, without the MAC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob<'a> {
    pub(super) algorithm: AzureAlgorithm,
    key_version: &'a [u8],
    pub(super) wrapped: &'a [u8],
}

impl<'a> Blob<'a> {
    /// `None` if the key version or the length of the wrapped data key is invalid.
    pub(super) fn new(algorithm: AzureAlgorithm, key_version: &'a [u8], wrapped: &'a [u8]) -> Option<Self> {
        let is_valid = is_key_version(key_version) && (1..=MAX_WRAPPED_LEN).contains(&wrapped.len());
        is_valid.then_some(Self { algorithm, key_version, wrapped })
    }

    /// A blob and its MAC; `None` for another version, or for what can't be a blob.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8; MAC_LEN])> {
        let (&[version, algorithm, len], rest) = bytes.split_first_chunk()?;
        let (key_version, rest) = rest.split_at_checked(usize::from(len))?;
        let (mac, wrapped) = rest.split_first_chunk()?;
        let algorithm = AzureAlgorithm::from_tag(algorithm).filter(|_| version == VERSION)?;
        Some((Self::new(algorithm, key_version, wrapped)?, mac))
    }

    /// The version of the wrapping key, which is visible ASCII.
    pub(super) fn version_text(&self) -> &'a str {
        std::str::from_utf8(self.key_version).expect("the version was found to be letters and digits")
    }

    /// The blob of `data_key` in this context.
    pub(super) fn encode(&self, data_key: &DataKey, context: &EncryptionContext) -> Vec<u8> {
        let mac = sign(&mac_key(data_key), &self.authenticated(context));
        [&self.prefix()[..], mac.as_ref(), self.wrapped].concat()
    }

    /// Whether the blob was made of `data_key` in this context.
    pub(super) fn is_bound(
        &self,
        data_key: &DataKey,
        context: &EncryptionContext,
        mac: &[u8; MAC_LEN],
    ) -> bool {
        verify(&mac_key(data_key), &self.authenticated(context), mac).is_ok()
    }

    fn prefix(&self) -> Vec<u8> {
        let len = u8::try_from(self.key_version.len()).expect("at most 64 bytes");
        [&[VERSION, self.algorithm.tag(), len], self.key_version].concat()
    }

    fn authenticated(&self, context: &EncryptionContext) -> Vec<u8> {
        [&self.prefix(), context.canonical()].concat()
    }
}

/// Whether the bytes can be a version of a key: they become part of a URL.
pub(super) fn is_key_version(bytes: &[u8]) -> bool {
    (1..=MAX_KEY_VERSION_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_alphanumeric)
}

fn mac_key(data_key: &DataKey) -> Key {
    let extracted = Salt::new(HKDF_SHA256, &[]).extract(data_key.as_slice());
    extracted.expand(&[INFO], HMAC_SHA256).map(Key::from).expect("HKDF-SHA256 gives 32 bytes")
}
