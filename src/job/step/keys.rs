//! Keys: which key an object's data key is wrapped under, by its metadata alone.
//! It must not call a key holder, nor read content.
//! It promises that every object gets a format, also one that its rule does not read.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ending::{Known, Stop, Success};
use super::seen::Seen;
use crate::error::{Error, Result};
use crate::job::row::Row;
use crate::keyring::{EncryptionContext, Wrappings};
use crate::object::foreign::{DetectedFormat, ForeignMetadata};
use crate::object::location::ObjectIdentity;
use crate::object::native::NativeMetadata;
use crate::upload::Resources;

pub(super) async fn keys(resources: &Resources, row: &Row, known: &mut Known) -> Result<Success, Stop> {
    let rule = resources.policies.for_object(&row.bucket, &row.object_key)?;
    let seen = Seen::named(resources, row).await?;
    let keyring = &resources.keyring;
    let names = match seen.detect(rule, known) {
        Ok(DetectedFormat::Native(stored)) => {
            known.bytes = plaintext_length(&seen, &stored).unwrap_or(seen.stored);
            let context = EncryptionContext::native(rule.realm(&row.bucket));
            keyring.claimed_keys(&rule.keys, stored.wrappings(), &context).await
        }
        Ok(DetectedFormat::Foreign(claims)) => match wrapped_key(&claims) {
            Some(wrapped) => {
                let context = EncryptionContext::from_pairs::<&str, &str>([]);
                keyring.claimed_keys(&rule.keys, Wrappings::single(&wrapped), &context).await
            }
            None => Vec::new(),
        },
        Err(error @ Error::NotReadable { .. }) => return Ok(Success::Unchanged(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let message = if names.len() > 1 { format!("wrapped under {}", names.join(", ")) } else { String::new() };
    let mut names = names.into_iter();
    known.key_before = names.next().map(Arc::from);
    known.further_keys = names.collect();
    Ok(Success::Unchanged(message))
}

/// Bytes of plaintext, where stored length and ETag tell them.
fn plaintext_length(seen: &Seen, stored: &NativeMetadata) -> Option<u64> {
    if let Some(length) = stored.envelope().body().put_length(seen.stored).ok()? {
        return Some(length);
    }
    ObjectIdentity::from_headers(&seen.headers, stored, seen.stored).ok()?.plaintext_total().ok()?
}

/// The wrapped key in the metadata of an object of another format.
fn wrapped_key(claims: &ForeignMetadata) -> Option<Vec<u8>> {
    match claims {
        ForeignMetadata::Cbc { wrapped, .. } => STANDARD.decode(wrapped).ok(),
        ForeignMetadata::S3ec(entries, _) => entries.wrapped_key(),
        ForeignMetadata::Unmarked(_) => None,
    }
}
