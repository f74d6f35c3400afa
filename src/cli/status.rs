//! The status of a configuration, for the status page and the first line of the log.
//! It must not know how a rule is applied.
//! It promises that every item of a line comes from the rule itself.

use std::time::{Duration, SystemTime};

use super::{certificates, dependencies};
use crate::access::{Client, Grant};
use crate::admin::{Named, Rule, Status};
use crate::config::Config;
use crate::keyring::{self, CacheSettings, HolderSettings, KeyRule, RequiredHolders, Reuse};
use crate::object::rule::formats::{Large, Multipart, Ranges, ReadFormat, WriteFormat};
use crate::object::rule::{Binding, BucketRule, CustomerKeyRule};

/// The commit that the program was built from: `S3VEIL_COMMIT` in the environment of the build.
pub const COMMIT: &str = match option_env!("S3VEIL_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    Some(_) | None => "unknown",
};

/// The status of a configuration. The listen address is empty, since only
/// [`Listeners::open`](super::serve::Listeners::open) knows it.
pub fn status(config: &Config) -> Status {
    let named = |(name, place): (&String, String)| Named { name: name.clone(), place };
    let holders = config.keyring.holders.iter();
    let storages = config.upstreams.iter();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        listen: String::new(),
        certificates: certificates::described(config),
        upstream: dependencies::storage_line(config),
        storages: storages.map(|it| named((&it.name, dependencies::storage_place(it)))).collect(),
        keyring: dependencies::keyring_line(config),
        holders: holders.map(|it| named((&it.name, dependencies::holder_place(it)))).collect(),
        caching: caching_text(&config.keyring),
        anonymous: config
            .clients
            .iter()
            .find(|(_, client)| client.is_anonymous())
            .map(|(_, client)| grants_text(client)),
        rules: config.buckets.iter().map(|rule| describe(rule, &config.keyring.holders)).collect(),
        by_client: config.metrics.by_client,
        by_rule: config.metrics.by_rule,
        digest: config.digest.clone(),
        loaded_at: SystemTime::now(),
        reload_failure: None,
    }
}

/// How long a data key is used, in words.
fn caching_text(keyring: &keyring::Settings) -> String {
    let CacheSettings { max_age, stale_if_error, .. } = keyring.cache;
    let writing = match keyring.reuse {
        Reuse::Bucket => "objects of one key and realm share it",
        Reuse::Off => "each object has one of its own",
    };
    let stale = stale_if_error.map_or_else(String::new, |further| {
        format!(", and for {} more while the key service does not respond", duration_text(further))
    });
    format!("a data key is used for {}{stale}; {writing}", duration_text(max_age))
}

/// A duration in whole minutes where it has these, else in seconds.
fn duration_text(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{} s", duration.as_secs_f64()),
    }
}

/// A client's grants, such as `read, list of public-*; read of data/2026/*`.
fn grants_text(client: &Client) -> String {
    let grant = |grant: &Grant| {
        let places = grant.buckets.iter().map(|bucket| match grant.prefix.as_str() {
            "" => bucket.as_str().to_owned(),
            prefix => format!("{}/{prefix}*", bucket.as_str()),
        });
        format!("{} of {}", grant.rights, places.collect::<Vec<_>>().join(", "))
    };
    client.grants.iter().map(grant).collect::<Vec<_>>().join("; ")
}

/// One rule, each item from the rule itself.
fn describe(rule: &BucketRule, holders: &[HolderSettings]) -> Rule {
    let BucketRule { name: _, prefix: _, realm, keys, formats, binding, etag: _, customer_keys } = rule;
    let mut writes = formats.write.name().to_owned();
    if formats.write == WriteFormat::Cbc {
        writes.push_str(" (not authenticated)");
        if formats.cbc.multipart == Multipart::Native {
            writes.push_str(", and native for uploads in parts");
        }
    }
    let mut notes = Vec::new();
    if formats.write == WriteFormat::Plaintext {
        writes.push_str(" (NOT ENCRYPTED)");
        notes.push("objects are stored unencrypted".to_owned());
    }
    if formats.reads(ReadFormat::S3ec) {
        let rules = &formats.s3ec;
        for (applies, text) in [
            (rules.legacy, "s3ec: legacy too, not authenticated"),
            (rules.large == Large::Stream, "s3ec: large ones are released before they are verified"),
            (rules.ranges == Ranges::Unauthenticated, "s3ec: ranges not authenticated"),
        ] {
            if applies {
                notes.push(text.to_owned());
            }
        }
    }
    let bound = match binding {
        Binding::RealmAndKey => "realm and object key",
        Binding::Realm => "the realm",
        Binding::None => "nothing",
    };
    let is_unauthenticated = !notes.is_empty() || !formats.read.iter().copied().all(is_authenticated);
    match customer_keys {
        CustomerKeyRule::Tls => {}
        CustomerKeyRule::Off => notes.push("no customer keys (SSE-C)".to_owned()),
        CustomerKeyRule::Any => notes.push("customer keys (SSE-C) over any connection".to_owned()),
    }
    let realm = realm.iter().map(|realm| format!("realm {realm}"));
    Rule {
        rule: rule.place(),
        writes,
        reads: formats.read.iter().copied().map(describe_read_format).collect(),
        notes,
        bound: formats.reads(ReadFormat::Native).then(|| bound.to_owned()),
        keys: realm.chain(keys_text(keys, holders)).collect(),
        is_unauthenticated,
    }
}

/// The holders and keys of a rule, such as `holders aws, bao`, `1 recovery key`, `key k`, `also under l, m`.
fn keys_text(keys: &KeyRule, holders: &[HolderSettings]) -> Vec<String> {
    let KeyRule { wrapping, unwrapping, required, recovery, key_id, allowed_key_ids } = keys;
    let names = |places: &[usize]| {
        places.iter().map(|place| holders[*place].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut texts = Vec::new();
    if holders.len() > 1 {
        let is_first = wrapping.len() > 1 && *required == RequiredHolders::First;
        let required = if is_first { ", the first required" } else { "" };
        texts.push(format!("holders {}{required}", names(wrapping)));
    }
    if !unwrapping.is_empty() {
        texts.push(format!("also opened by {}", names(unwrapping)));
    }
    match recovery.len() {
        0 => {}
        1 => texts.push("1 recovery key".to_owned()),
        count => texts.push(format!("{count} recovery keys")),
    }
    if let Some(key_id) = key_id {
        texts.push(format!("key {key_id}"));
    }
    if !allowed_key_ids.is_empty() {
        let ids: Vec<_> = allowed_key_ids.iter().map(ToString::to_string).collect();
        texts.push(format!("also under {}", ids.join(", ")));
    }
    texts
}

fn is_authenticated(format: ReadFormat) -> bool {
    matches!(format, ReadFormat::Native | ReadFormat::S3ec)
}

/// The name of a readable format, with a note where the format is not authenticated.
fn describe_read_format(format: ReadFormat) -> String {
    format!("{}{}", format.name(), if is_authenticated(format) { "" } else { " (not authenticated)" })
}

#[cfg(test)]
mod tests;
