//! `[keyring]`: the limits of cached data keys, and the holder of wrapping keys if there is only one.
//! It must not know how a holder is called.
//! It promises that every configuration has a holder of wrapping keys.

use std::time::Duration;

use super::error::{ConfigError, Refusal, Result};
use super::holder::{self, Surroundings};
use super::reference::PROVIDER;
use super::section::Section;
use super::value;
use crate::keyring::{CacheSettings, Reuse, Settings};

/// Maximum time to live of a cached key: a revoked key remains usable for this long.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of cached keys. A cached key takes a few hundred bytes, so they take a few hundred
/// megabytes.
const MAX_ENTRIES: u64 = 1_000_000;

/// Maximum number of objects under one data key. Each object has a content key of its own, so this limits how
/// many objects one leaked data key opens, not the use of nonces.
const MAX_OBJECTS: u64 = 1 << 32;

/// Reads `[keyring]` and `[[holder]]`.
pub(super) fn read(root: &Section<'_>, surroundings: Surroundings<'_>) -> Result<Settings> {
    let section = root.section("keyring")?;
    let mut holders = holder::read(root, surroundings)?;
    match &section {
        Some(section) if holders.is_empty() => holders.push(holder::read_single(section, surroundings)?),
        Some(section) => {
            for key in PROVIDER {
                section.absent(key.name, "has no effect beside [[holder]]")?;
            }
        }
        None if holders.is_empty() => {
            let fix =
                "write [keyring] and below it provider = \"aws-kms\" with a key_id, or \"local\" with a file";
            return Err(ConfigError::whole(root.source.file, Refusal::new("missing [keyring]", fix)));
        }
        None => {}
    }
    let Some(section) = section else {
        return Ok(Settings { holders, cache: CacheSettings::default(), reuse: Reuse::default() });
    };
    let reuse = section.choice("reuse", &[("bucket", Reuse::Bucket), ("off", Reuse::Off)])?;
    Ok(Settings { holders, reuse: reuse.unwrap_or_default(), cache: read_cache(&section)? })
}

fn read_cache(keyring: &Section<'_>) -> Result<CacheSettings> {
    let mut cache = CacheSettings::default();
    let Some(section) = keyring.section("cache")? else { return Ok(cache) };
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
