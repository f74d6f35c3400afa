//! Checks of the key service and the storages, for `check`, for `serve`'s log and for `/readyz`.
//! They must not know how often a check runs, nor what follows from it.
//! They promise that every failure names the dependency, its response, and the setting to change.

mod storage;

use std::time::{Duration, Instant};

pub use self::storage::{Storage, StorageName, StorageStatus};
use crate::config::Config;
use crate::keyring::{
    self, CheckError, EncryptionContext, KeyId, Keyring, KeyringError, Provider, Reuse, RoundTrip,
    RoundTripError,
};
use crate::object::rule::BucketRule;
use crate::operation::Resources;
use crate::s3::BucketName;
use crate::upstream::Upstreams;

/// The realm of checks. A policy that allows a key for certain realms only has to include it.
const REALM: &str = "s3veil-check";

/// The key service and the storages in words, known before they are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyNames {
    /// The storages, the default one first.
    pub storages: Vec<StorageName>,
    /// The key service: `AWS KMS in us-east-1`.
    pub keys: String,
    /// Every key that a rule writes with; `None` is the keyring's default key.
    pub key_ids: Vec<Option<KeyId>>,
}

/// The key service and the storages, ready for checks.
pub struct Dependencies {
    keyring: Keyring,
    storages: Vec<Storage>,
    upstreams: Upstreams,
    keys: String,
    key_ids: Vec<Option<KeyId>>,
}

/// The failure of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyError {
    /// A message for operators, without secrets.
    pub message: String,
}

impl DependencyNames {
    /// Describes the key service and the storages of `config`.
    pub fn new(config: &Config) -> Self {
        let mut key_ids = Vec::new();
        for rule in &config.buckets {
            if !key_ids.contains(&rule.key_id) {
                key_ids.push(rule.key_id.clone());
            }
        }
        let storages = config.upstreams.iter().map(StorageName::new).collect();
        Self { storages, keys: key_place(&config.keyring), key_ids }
    }
}

fn key_place(keyring: &keyring::Settings) -> String {
    match &keyring.provider {
        Provider::Local(local) => format!("local keyring {}", local.file.display()),
        Provider::AwsKms(kms) => {
            let region = kms.region.as_deref().unwrap_or("the default region");
            let place = kms.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
            format!("AWS KMS in {region}{}", place.trim_end_matches('/'))
        }
    }
}

impl Dependencies {
    /// The dependencies of `resources`, with the names that belong to them.
    pub fn new(resources: &Resources, names: DependencyNames) -> Self {
        let DependencyNames { storages, keys, key_ids } = names;
        let upstreams = resources.upstreams.clone();
        let storages = storages.into_iter().zip(upstreams.all());
        let storages = storages
            .map(|(name, (_, upstream))| Storage::new(name, upstream.clone(), upstreams.clone()))
            .collect();
        Self { keyring: resources.keyring.clone(), storages, upstreams, keys, key_ids }
    }

    /// The storages, the default one first.
    pub fn storages(&self) -> &[Storage] {
        &self.storages
    }

    /// The storage that has a bucket.
    pub fn storage_for(&self, bucket: &BucketName) -> &Storage {
        let name = self.upstreams.for_bucket(bucket).name();
        let found = self.storages.iter().find(|storage| storage.name().name == name);
        found.expect("every storage of the configuration is listed")
    }

    /// Every key that a rule writes with; `None` is the keyring's default key.
    pub fn key_ids(&self) -> &[Option<KeyId>] {
        &self.key_ids
    }

    /// The key service in words.
    pub fn key_service(&self) -> &str {
        &self.keys
    }

    /// Generates and unwraps one data key, bypassing the cache.
    pub async fn key(&self, key_id: Option<&KeyId>) -> Result<RoundTrip, DependencyError> {
        let context = EncryptionContext::native(REALM);
        let checked = self.keyring.check(key_id, &context).await;
        checked.map_err(|failed| key_error(&self.keys, &failed))
    }

    /// The time since which ordinary requests have generated and unwrapped a data key under this key.
    pub fn last_key_success(&self, key_id: Option<&KeyId>) -> Option<Instant> {
        self.keyring.last_success(key_id)
    }
}

/// The failure of a round trip through the key service at `place`: the call, the key, the cause, and what to
/// change.
fn key_error(place: &str, failed: &RoundTripError) -> DependencyError {
    let RoundTripError { call, key_id, failure } = failed;
    let key = key_id.as_ref().map_or_else(String::new, |key_id| format!(" for key {key_id}"));
    let verb = if is_refusal(&failure.error) { "refused" } else { "failed at" };
    let advice = advice(failure);
    DependencyError { message: format!("{place} {verb} {}{key}: {failure}{advice}", call.action()) }
}

/// Whether the key service responded, and the response says no.
fn is_refusal(error: &KeyringError) -> bool {
    match error {
        KeyringError::Denied
        | KeyringError::KeyNotFound
        | KeyringError::KeyDisabled
        | KeyringError::InvalidKeyState
        | KeyringError::InvalidKeyUsage
        | KeyringError::IncorrectKey
        | KeyringError::KeyMissing { .. }
        | KeyringError::NotAllowed
        | KeyringError::InvalidCiphertext
        | KeyringError::Throttled
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported
        | KeyringError::Unexpected(_) => true,
        KeyringError::Unavailable
        | KeyringError::Credentials
        | KeyringError::Malformed(_)
        | KeyringError::NoKeyNamed
        | KeyringError::Interrupted => false,
    }
}

fn advice(failure: &CheckError) -> &'static str {
    match &failure.error {
        KeyringError::Credentials => {
            "; set keyring.access_key_id and keyring.secret_access_key, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or attach a role to this machine or pod"
        }
        KeyringError::Denied => "; the role requires kms:GenerateDataKey and kms:Decrypt of this key",
        KeyringError::KeyNotFound => "; correct key_id, or keyring.region or keyring.file",
        KeyringError::Malformed(_) | KeyringError::Unexpected(_) => "; correct keyring.endpoint",
        KeyringError::KeyDisabled => "; enable it in AWS KMS, or correct key_id",
        KeyringError::InvalidKeyState => "; cancel its deletion in AWS KMS, or correct key_id",
        KeyringError::InvalidKeyUsage => "; name a symmetric key for encryption in key_id",
        KeyringError::IncorrectKey
        | KeyringError::KeyMissing { .. }
        | KeyringError::NotAllowed
        | KeyringError::InvalidCiphertext
        | KeyringError::Throttled
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported
        | KeyringError::Unavailable
        | KeyringError::NoKeyNamed
        | KeyringError::Interrupted => "",
    }
}

/// The line of the storages on the status page.
pub fn storage_line(config: &Config) -> String {
    match config.upstreams.as_slice() {
        [only] => storage::line(only),
        several => {
            let lines = several.iter().map(|it| format!("{}: {}", it.name, storage::line(it)));
            lines.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The key service's line on the status page.
pub fn keyring_line(config: &Config) -> String {
    let is_shared = config.keyring.reuse == Reuse::Bucket;
    key_place(&config.keyring) + if is_shared { "" } else { ", a data key per object" }
}

/// The bucket's name of a rule without wildcards.
pub fn exact_bucket(rule: &BucketRule) -> Option<BucketName> {
    BucketName::parse(rule.name.as_str()).ok().filter(|_| rule.name.is_name())
}

/// Timeout of one check for readiness.
pub const PROBE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::KeyCall;

    #[test]
    fn a_failure_names_endpoint_call_key_cause_and_remedy() {
        let failed = RoundTripError {
            call: KeyCall::Generate,
            key_id: Some(KeyId::parse("alias/logs").expect("a key id")),
            failure: CheckError {
                error: KeyringError::Denied,
                cause: Some("AccessDeniedException: no policy allows it".to_owned()),
            },
        };
        let expected = "AWS KMS in eu-west-1 at https://kms.example refused kms:GenerateDataKey for key alias/logs: access \
                        to the wrapping key was denied: AccessDeniedException: no policy allows it; the role requires \
                        kms:GenerateDataKey and kms:Decrypt of this key";
        let message = key_error("AWS KMS in eu-west-1 at https://kms.example", &failed).message;
        assert_eq!(message, expected);
        let away = RoundTripError {
            call: KeyCall::Unwrap,
            failure: CheckError { error: KeyringError::Unavailable, cause: None },
            ..failed
        };
        let message = key_error("AWS KMS in eu-west-1", &away).message;
        assert!(
            message.starts_with("AWS KMS in eu-west-1 failed at kms:Decrypt for key alias/logs"),
            "{message}"
        );
    }
}
