//! The keyring's settings: the holders of wrapping keys, the limits of the caches, and the reuse of data
//! keys. They must not know how a configuration file spells them. Their defaults are the documented ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_credential_types::Credentials;

use super::KeyId;

/// The keyring's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The holders of wrapping keys, which rules name by their places here. Never empty.
    pub holders: Vec<HolderSettings>,
    /// Limits of the data keys in memory.
    pub cache: CacheSettings,
    /// Whether objects share data keys.
    pub reuse: Reuse,
}

/// One holder of wrapping keys.
#[derive(Debug, Clone, PartialEq)]
pub struct HolderSettings {
    /// Unique name, for messages and metrics.
    pub name: String,
    /// The service or file that has the keys.
    pub provider: Provider,
    /// The place of the holder whose blobs this one opens, too: its key is a replica of that one's key, such
    /// as a multi-Region key of AWS KMS. A replica wraps nothing.
    /// <https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html>
    pub replica_of: Option<usize>,
}

/// A service or file that has wrapping keys, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider {
    /// AWS KMS, or a service with its API.
    AwsKms(AwsKms),
    /// Wrapping keys in a file of this machine.
    Local(Local),
}

impl Provider {
    /// The files whose content the provider reads when it is built.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::AwsKms(_) => Vec::new(),
            Self::Local(local) => vec![&local.file],
        }
    }
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
