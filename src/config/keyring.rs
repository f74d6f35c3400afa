//! `[keyring]`: the holder of the wrapping keys, and the limits of cached data keys.
//! It must not know how a holder is called.
//! It promises that a missing keyring file is created only for the embedded store.

use std::time::Duration;

use super::error::Result;
use super::section::Section;
use super::{credentials, required, value};
use crate::keyring::{AwsKms, CacheSettings, Local, Provider, Reuse, Settings};

const KEYS: &str = "provider file key_id endpoint region access_key_id secret_access_key secret_access_key_file cache \
                    reuse";
const CACHE_KEYS: &str = "max_age max_objects max_bytes entries stale_if_error";

/// Maximum time to live of a cached key: a revoked key remains usable for this long.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of cached keys. A cached key takes a few hundred bytes, so they take a few hundred
/// megabytes.
const MAX_ENTRIES: u64 = 1_000_000;

/// Maximum number of objects under one data key. Each object has a content key of its own, so this limits how
/// many objects one leaked data key opens, not the use of nonces.
const MAX_OBJECTS: u64 = 1 << 32;

/// Reads `[keyring]`. `is_trial`: the storage is the embedded store. Only then a missing keyring file is
/// created: with another storage, a mistyped path would silently become a new key.
pub(super) fn read(root: &Section<'_>, upstream_region: &str, is_trial: bool) -> Result<Settings> {
    let fix = "write [keyring] and below it provider = \"aws-kms\" with a key_id, or \"local\" with a file";
    let section = required(root, "keyring", KEYS, fix)?;
    Ok(Settings {
        provider: read_provider(&section, upstream_region, is_trial)?,
        reuse: section
            .choice("reuse", &[("bucket", Reuse::Bucket), ("off", Reuse::Off)])?
            .unwrap_or(Reuse::Bucket),
        cache: read_cache(&section)?,
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Local,
    AwsKms,
}

fn read_provider(section: &Section<'_>, upstream_region: &str, is_trial: bool) -> Result<Provider> {
    let kind = section.choice("provider", &[("local", Kind::Local), ("aws-kms", Kind::AwsKms)])?;
    match kind {
        None => Err(section.refuse("provider", "is missing", "write provider = \"aws-kms\" or \"local\"")),
        Some(Kind::Local) => {
            for word in ["key_id", "endpoint", "region"].into_iter().chain(credentials::KEYS) {
                section.absent(word, "has no effect with the local keyring")?;
            }
            let file = section.secret_file_path("file", "./data/keyring")?.ok_or_else(|| {
                let fix = "write for example file = \"./data/keyring\"";
                section.refuse("file", "is missing, and the local keyring requires it", fix)
            })?;
            Ok(Provider::Local(Local { file, create_if_missing: is_trial }))
        }
        Some(Kind::AwsKms) => {
            section.absent("file", "has no effect with AWS KMS")?;
            let region = section.parsed("region", "us-east-1", value::region)?;
            let endpoint = section.parsed("endpoint", "http://127.0.0.1:4566", value::key_service)?;
            Ok(Provider::AwsKms(AwsKms {
                key_id: section.parsed("key_id", "alias/s3veil", value::key_id)?,
                endpoint: endpoint.map(|endpoint| endpoint.to_string()),
                region: Some(region.unwrap_or_else(|| upstream_region.to_owned())),
                credentials: credentials::read(section)?.for_kms(),
            }))
        }
    }
}

fn read_cache(keyring: &Section<'_>) -> Result<CacheSettings> {
    let mut cache = CacheSettings::default();
    let Some(section) = keyring.section("cache", CACHE_KEYS)? else { return Ok(cache) };
    let bounded_age = |word| {
        let age = section.parsed(word, "5m", value::timeout)?;
        match age.filter(|age| *age > MAX_AGE) {
            Some(_) => Err(section.refuse(word, "is over a day", "write a shorter time, such as \"5m\"")),
            None => Ok(age),
        }
    };
    cache.max_age = bounded_age("max_age")?.unwrap_or(cache.max_age);
    cache.max_objects = section.count("max_objects", 1..=MAX_OBJECTS)?.unwrap_or(cache.max_objects);
    cache.max_bytes = section.parsed("max_bytes", "1TiB", value::size)?.unwrap_or(cache.max_bytes);
    cache.entries = section.count("entries", 1..=MAX_ENTRIES)?.unwrap_or(cache.entries);
    if section.text("stale_if_error", "off")?.as_deref() != Some("off") {
        cache.stale_if_error = bounded_age("stale_if_error")?;
    }
    Ok(cache)
}
