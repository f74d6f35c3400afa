//! The keyring's settings: the holder of the wrapping keys, the limits of the caches, and the reuse of data
//! keys. They must not know how a configuration file spells them. Their defaults are the documented ones.

use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;

use super::KeyId;

/// The keyring's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The holder of the wrapping keys.
    pub provider: Provider,
    /// Limits of the data keys in memory.
    pub cache: CacheSettings,
    /// Whether objects share data keys.
    pub reuse: Reuse,
}

/// The holder of the wrapping keys, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider {
    /// AWS KMS, or a service with its API.
    AwsKms(AwsKms),
    /// Wrapping keys in a file of this machine.
    Local(Local),
    /// Wrapping keys in a PKCS#11 token.
    #[cfg(feature = "pkcs11")]
    Pkcs11(Pkcs11),
}

/// AWS KMS, or a service with its API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsKms {
    /// The wrapping key for new objects of buckets that name none.
    pub key_id: Option<KeyId>,
    /// Replaces the region's own endpoint: `http://127.0.0.1:4566`, a VPC or FIPS endpoint.
    pub endpoint: Option<String>,
    /// `None`: the region of the AWS default chain, else the region in the ARN of `key_id`.
    pub region: Option<String>,
    /// `None`: the AWS default credential chain.
    pub credentials: Option<Credentials>,
}

/// Wrapping keys in a file of this machine; [`local::generate`](super::local::generate) documents its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The keyring's file.
    pub file: PathBuf,
    /// Whether a file with one new key is created if there is none.
    pub create_if_missing: bool,
}

/// Wrapping keys in a PKCS#11 token: a hardware security module or a smart card.
#[cfg(feature = "pkcs11")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11 {
    /// The vendor's shared library.
    pub library: PathBuf,
    /// The token that has the key.
    pub token: TokenName,
    /// The file with the user's PIN, read at each login.
    pub pin_file: PathBuf,
    /// CKA_LABEL of the wrapping keys: at most 256 bytes.
    pub key_label: String,
    /// CKA_ID of the key for new data keys: at most 64 bytes. `None`: one key has the label.
    pub key_id: Option<Vec<u8>>,
}

/// How a PKCS#11 token is found.
#[cfg(feature = "pkcs11")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    /// By its label, in whichever slot: at most 32 bytes.
    Label(String),
    /// By the number of its slot.
    Slot(u64),
}

#[cfg(feature = "pkcs11")]
impl std::fmt::Display for TokenName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(f, "the PKCS#11 token {label:?}"),
            Self::Slot(slot) => write!(f, "the PKCS#11 token in slot {slot}"),
        }
    }
}

/// Whether objects share data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// One data key serves many objects of one wrapping key and context, within the limits of
    /// [`CacheSettings`], like S3 Bucket Keys.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html>
    #[default]
    Bucket,
    /// One data key and one provider call for each object written.
    Off,
}

/// Limits of the data keys in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Counted from the provider's response and never extended by use: a revoked key works no longer than
    /// this.
    pub max_age: Duration,
    /// Maximum number of objects written under one data key.
    pub max_objects: u64,
    /// Maximum number of plaintext bytes written under one data key.
    pub max_bytes: u64,
    /// Maximum number of data keys cached for reading, and separately for writing.
    pub entries: u64,
    /// How long past `max_age` a key remains usable while the provider is unreachable. A key that the
    /// provider denies, or reports as disabled or deleted, is not used past `max_age`.
    pub stale_if_error: Option<Duration>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5 * 60),
            max_objects: 10_000,
            max_bytes: 1 << 40,
            entries: 10_000,
            stale_if_error: None,
        }
    }
}
