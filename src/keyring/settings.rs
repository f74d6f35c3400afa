//! What configuration decides about the keyring.

use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;

use super::KeyId;

/// The keyring's part of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who holds the wrapping keys.
    pub provider: Provider,
    /// How long and how far data keys are kept in memory.
    pub cache: CacheSettings,
    /// Whether objects share data keys.
    pub reuse: Reuse,
}

/// Who holds the wrapping keys.
#[derive(Debug, Clone)]
pub enum Provider {
    /// AWS KMS, or something that speaks its API.
    AwsKms(AwsKms),
    /// Wrapping keys in a file of this machine.
    Local(Local),
}

/// AWS KMS, or something that speaks its API.
#[derive(Debug, Clone, Default)]
pub struct AwsKms {
    /// The key that writes where a bucket names none.
    pub key_id: Option<KeyId>,
    /// Instead of the region's own endpoint: `http://127.0.0.1:4566`, a VPC or FIPS endpoint.
    pub endpoint: Option<String>,
    /// Left out: what the AWS default chain says, else the region in the ARN of `key_id`.
    pub region: Option<String>,
    /// Left out: the AWS default credential chain.
    pub credentials: Option<Credentials>,
}

/// Wrapping keys in a file of this machine ([`local::generate`](super::local::generate) has its format).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The keyring's file.
    pub file: PathBuf,
    /// Write a file with one fresh key if there is none.
    pub create_if_missing: bool,
}

/// Whether objects share data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// One data key serves many objects of one wrapping key and context, within [`CacheSettings`], as S3 Bucket
    /// Keys do it. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html>
    #[default]
    Bucket,
    /// One data key, and one call of the provider, for each object written.
    Off,
}

/// How long and how far data keys are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// From the provider's answer, never extended by use: a revoked key works no longer than this.
    pub max_age: Duration,
    /// Objects written under one data key.
    pub max_objects: u64,
    /// Plaintext bytes written under one data key.
    pub max_bytes: u64,
    /// Data keys kept for reading, and, apart from those, for writing.
    pub entries: u64,
    /// How long past `max_age` a key goes on working while the provider can't be reached. A key that the provider
    /// refuses, disabled or denies stops all the same.
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
