//! The status of a configuration, for the status page and the first line of the log.
//! It must not know how a rule is applied.
//! It promises that every item of a line comes from the rule itself.

use std::time::SystemTime;

use super::certificates::certificates;
use super::dependencies;
use crate::access::{Client, Grant};
use crate::admin::Status;
use crate::config::Config;
use crate::keyring::{HolderSettings, KeyRule, RequiredHolders};
use crate::object::rule::formats::{Large, Multipart, Ranges, ReadFormat, WriteFormat};
use crate::object::rule::{Binding, BucketRule};

/// The status of a configuration. The listen address is empty, since only
/// [`Listeners::open`](super::serve::Listeners::open) knows it.
pub fn status(config: &Config) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION"),
        listen: String::new(),
        certificates: certificates(config),
        upstream: dependencies::storage_line(config),
        keyring: dependencies::keyring_line(config),
        anonymous: config
            .clients
            .iter()
            .find(|(_, client)| client.is_anonymous())
            .map(|(_, client)| grants_text(client)),
        buckets: config.buckets.iter().map(|rule| bucket_line(rule, &config.keyring.holders)).collect(),
        loaded_at: SystemTime::now(),
        reload_failure: None,
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

/// The line for one rule, each item from the rule itself, such as
/// `logs/a/*  writes native; reads native, cbc; bound to realm and key; realm r; key k`.
fn bucket_line(rule: &BucketRule, holders: &[HolderSettings]) -> String {
    let BucketRule { name, prefix, realm, keys, formats, binding, etag: _ } = rule;
    let mut writes = formats.write.name().to_owned();
    if formats.write == WriteFormat::Cbc {
        writes.push_str(" (not authenticated)");
        if formats.cbc.multipart == Multipart::Native {
            writes.push_str(", and native for uploads in parts");
        }
    }
    let reads: Vec<_> = formats.read.iter().copied().map(describe_read_format).collect();
    let mut line = format!("{}/{prefix}*  writes {writes}; reads {}", name.as_str(), reads.join(", "));
    if formats.reads(ReadFormat::S3ec) {
        let rules = &formats.s3ec;
        for (applies, text) in [
            (rules.legacy, "s3ec: legacy too, not authenticated"),
            (rules.large == Large::Stream, "s3ec: large ones are released before they are verified"),
            (rules.ranges == Ranges::Unauthenticated, "s3ec: ranges not authenticated"),
        ] {
            if applies {
                line.push_str(&format!("; {text}"));
            }
        }
    }
    if formats.reads(ReadFormat::Native) {
        line.push_str(match binding {
            Binding::RealmAndKey => "; bound to realm and object key",
            Binding::Realm => "; bound to the realm",
            Binding::None => "; bound to nothing",
        });
    }
    if let Some(realm) = realm {
        line.push_str(&format!("; realm {realm}"));
    }
    line.push_str(&keys_text(keys, holders));
    line
}

/// The holders and keys of a rule, such as `; holders aws, bao; 1 recovery key; key k; also under l, m`.
fn keys_text(keys: &KeyRule, holders: &[HolderSettings]) -> String {
    let KeyRule { wrapping, unwrapping, required, recovery, key_id, allowed_key_ids } = keys;
    let names = |places: &[usize]| {
        places.iter().map(|place| holders[*place].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    if holders.len() > 1 {
        text.push_str(&format!("; holders {}", names(wrapping)));
        if wrapping.len() > 1 && *required == RequiredHolders::First {
            text.push_str(", the first required");
        }
    }
    if !unwrapping.is_empty() {
        text.push_str(&format!("; also opened by {}", names(unwrapping)));
    }
    match recovery.len() {
        0 => {}
        1 => text.push_str("; 1 recovery key"),
        count => text.push_str(&format!("; {count} recovery keys")),
    }
    if let Some(key_id) = key_id {
        text.push_str(&format!("; key {key_id}"));
    }
    if !allowed_key_ids.is_empty() {
        let ids: Vec<_> = allowed_key_ids.iter().map(ToString::to_string).collect();
        text.push_str(&format!("; also under {}", ids.join(", ")));
    }
    text
}

/// The name of a readable format, with a note where the format is not authenticated.
fn describe_read_format(format: ReadFormat) -> String {
    let is_authenticated = matches!(format, ReadFormat::Native | ReadFormat::S3ec);
    format!("{}{}", format.name(), if is_authenticated { "" } else { " (not authenticated)" })
}

#[cfg(test)]
mod tests;
