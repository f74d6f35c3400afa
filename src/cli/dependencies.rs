//! Checks of the key service and the storages, for `check`, for `serve`'s log and for `/readyz`.
//! They must not know how often a check runs, nor what follows from it.
//! They promise that every failure names the dependency, its response, and the setting to change.

mod keys;
mod storage;

use std::time::{Duration, Instant};

pub use self::keys::{HolderKey, holder_place, keyring_line};
pub use self::storage::{Storage, StorageName, StorageStatus};
use crate::config::Config;
use crate::keyring::{EncryptionContext, Keyring, RoundTrip};
use crate::object::rule::BucketRule;
use crate::operation::Resources;
use crate::s3::BucketName;
use crate::upstream::{Settings, Upstreams};

/// The realm of checks. A policy that allows a key for certain realms only has to include it.
const REALM: &str = "s3veil-check";

/// The key service and the storages in words, known before they are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyNames {
    /// The storages, the default one first.
    pub storages: Vec<StorageName>,
    /// Every key that a rule writes with, and the replicas of these keys.
    pub keys: Vec<HolderKey>,
}

/// The key service and the storages, ready for checks.
pub struct Dependencies {
    keyring: Keyring,
    storages: Vec<Storage>,
    upstreams: Upstreams,
    keys: Vec<HolderKey>,
}

/// The failure of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyError {
    /// A message for operators, without secrets.
    pub message: String,
}

impl DependencyNames {
    /// Describes the key services and the storages of `config`.
    pub fn new(config: &Config) -> Self {
        let storages = config.upstreams.iter().map(StorageName::new).collect();
        Self { storages, keys: keys::all(config) }
    }
}

impl Dependencies {
    /// The dependencies of `resources`, with the names that belong to them.
    pub fn new(resources: &Resources, names: DependencyNames) -> Self {
        let DependencyNames { storages, keys } = names;
        let upstreams = resources.upstreams.clone();
        let storages = storages.into_iter().zip(upstreams.all());
        let storages = storages
            .map(|(name, (_, upstream))| Storage::new(name, upstream.clone(), upstreams.clone()))
            .collect();
        Self { keyring: resources.keyring.clone(), storages, upstreams, keys }
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

    /// Every key that a rule writes with, and the replicas of these keys.
    pub fn keys(&self) -> &[HolderKey] {
        &self.keys
    }

    /// Generates and unwraps one data key, bypassing the cache.
    pub async fn key(&self, key: &HolderKey) -> Result<RoundTrip, DependencyError> {
        let context = EncryptionContext::native(REALM);
        let checked = self.keyring.check(key.holder, key.key_id.as_ref(), &context).await;
        checked.map_err(|failed| keys::failure(&key.place, key.is_aws, &failed))
    }

    /// The name of a key: the one that a rule names, else the holder's default. `None` for a holder without
    /// one.
    pub fn key_name(&self, key: &HolderKey) -> Option<String> {
        let default = self.keyring.holders().nth(key.holder).and_then(|(_, key_id)| key_id);
        key.key_id.as_ref().or(default).map(|key_id| key_id.as_str().to_owned())
    }

    /// The time since which ordinary requests have generated and unwrapped a data key under this key.
    pub fn last_key_success(&self, key: &HolderKey) -> Option<Instant> {
        self.keyring.last_success(key.holder, key.key_id.as_ref())
    }
}

/// A storage in words, such as `http://127.0.0.1:9000 (us-east-1)`.
pub fn storage_place(settings: &Settings) -> String {
    storage::place(settings)
}

/// The line of the storages in the log.
pub fn storage_line(config: &Config) -> String {
    match config.upstreams.as_slice() {
        [only] => storage::line(only),
        several => {
            let lines = several.iter().map(|it| format!("{}: {}", it.name, storage::line(it)));
            lines.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The bucket's name of a rule without wildcards.
pub fn exact_bucket(rule: &BucketRule) -> Option<BucketName> {
    BucketName::parse(rule.name.as_str()).ok().filter(|_| rule.name.is_name())
}

/// Timeout of one check for readiness.
pub const PROBE_LIMIT: Duration = Duration::from_secs(5);
