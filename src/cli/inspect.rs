//! `inspect`: describes how an object is stored, and whether its envelope is authentic.
//! It must not know how an object's body is decrypted.
//! It promises that properties of an envelope are reported as authentic only after verification.

use std::fmt::Write as _;

use http::{Method, StatusCode};

use super::startup::{self, Purpose};
use super::{Failure, ObjectUrl};
use crate::config::Config;
use crate::envelope::DataKey;
use crate::envelope::native::multipart::Layout;
use crate::envelope::native::{Binding, BodyKind, HolderKind, ObjectName, SseAlgorithm};
use crate::error::{Error, with_causes};
use crate::keyring::{EncryptionContext, ExaminedWrapping, WrappingName};
use crate::object::Resources;
use crate::object::foreign::{ForeignObject, StoredFormat, unlock_stored};
use crate::object::head::object_layout;
use crate::object::native::NativeMetadata;
use crate::object::rule::BucketRule;
use crate::s3::{BucketName, ObjectKey};
use crate::upstream::UpstreamRequest;

/// Requests the object's metadata from the storage and describes the object.
///
/// # Errors
/// [`Failure::Unavailable`] if the object is not available or its envelope is not authentic.
pub async fn inspect(config: Config, url: &ObjectUrl) -> Result<String, Failure> {
    let resources = startup::resources(&config, Purpose::Look).await?;
    let bucket =
        BucketName::parse(url.bucket.clone()).map_err(|error| Failure::Usage(error.message.into()))?;
    let object_key =
        ObjectKey::parse(url.object_key.clone()).map_err(|error| Failure::Usage(error.message.into()))?;
    let rule = resources
        .policies
        .for_object(&bucket, &object_key)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let request = UpstreamRequest::new(Method::HEAD, &bucket, &object_key);
    let unavailable = |error: &dyn std::error::Error| Failure::Unavailable(with_causes(error));
    let response = resources.upstreams.send(request).await.map_err(|error| unavailable(&error))?;
    if !response.status().is_success() {
        return Err(absent(url, response.status()));
    }
    let stored_length =
        response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let stored_length = stored_length
        .ok_or_else(|| Failure::Unavailable("the storage does not say how long the object is".to_owned()))?;
    let found = unlock_stored(&resources, &bucket, &object_key, response.headers(), stored_length).await;
    let stored = match found.map_err(|error| unavailable(&error))? {
        StoredFormat::Native(stored) => stored,
        StoredFormat::Foreign(object) => return Ok(foreign(&object, stored_length)),
    };
    let mut report =
        String::from("format: native, version 1, suite 1 (HKDF-SHA256, AES-256-GCM, 64 KiB chunks)\n");
    let body = stored.envelope().body();
    _ = writeln!(report, "body: {}", if body.is_multipart() { "multipart upload" } else { "one PUT" });
    _ = writeln!(report, "bound to: {}", bound_to(stored.envelope().binding(), rule.realm(&bucket)));
    _ = writeln!(report, "encryption context: s3veil:version=1, s3veil:realm={}", rule.realm(&bucket));
    if let BodyKind::Put { plaintext_length } = body {
        _ = writeln!(report, "stored: {stored_length} bytes; plaintext: {plaintext_length} bytes");
    }
    report.push_str(&describe_wrappings(&resources, rule, &bucket, &object_key, &stored).await);
    _ = writeln!(report, "encryption in responses: {}", sse_name(stored.envelope().sse()));
    let (name, keyring) = ((&bucket, &object_key), &resources.keyring);
    let not_authentic = |error: Error| {
        Failure::Unavailable(format!("{report}envelope: NOT authentic: {}", with_causes(&error)))
    };
    if stored.envelope().has_customer_key() {
        let key_id = stored.authenticate(keyring, rule, name).await.map_err(not_authentic)?;
        return Ok(format!("{report}key: {key_id}{WITH_CUSTOMER_KEY}"));
    }
    let unlocked = stored.unlock(keyring, rule, name, None).await.map_err(not_authentic)?;
    _ = writeln!(report, "key: {}", unlocked.key_id);
    for checksum in unlocked.checksums() {
        _ = writeln!(report, "plaintext {}: {checksum}", checksum.algorithm());
    }
    body.put_length(stored_length).map_err(|error| {
        Failure::Unavailable(format!("{report}envelope: authentic\nlength: NOT authentic: {error}"))
    })?;
    if body.is_multipart() {
        let layout = object_layout(&resources, &bucket, &object_key).await.map_err(|error| {
            Failure::Unavailable(format!(
                "{report}envelope: authentic\nlayout: NOT authentic, or not to be had: {}",
                with_causes(&error)
            ))
        })?;
        report.push_str(&describe_parts(&layout));
    }
    report.push_str("envelope: authentic. The body is authenticated chunk by chunk when it is read.\n");
    Ok(report)
}

/// What a report ends with, behind the key's name, for an object with a customer key.
const WITH_CUSTOMER_KEY: &str = ", and a customer key, which no service has\nenvelope: of this data key. Content and \
                                 checksums require the customer key too.\n";

fn sse_name(sse: SseAlgorithm) -> &'static str {
    match sse {
        SseAlgorithm::AwsKms => "aws:kms",
        SseAlgorithm::Aes256 => "AES256",
        SseAlgorithm::CustomerKey => "customer key (SSE-C)",
    }
}

fn absent(url: &ObjectUrl, status: StatusCode) -> Failure {
    let ObjectUrl { bucket, object_key } = url;
    let why = match status {
        StatusCode::NOT_FOUND => "there is no such object".to_owned(),
        _ => format!("the storage responds {status} to HEAD"),
    };
    Failure::Unavailable(format!("s3://{bucket}/{object_key}: {why}"))
}

/// Describes every wrapping of the object's data key: its holder, and whether the holder opens it now.
async fn describe_wrappings(
    resources: &Resources,
    rule: &BucketRule,
    bucket: &BucketName,
    object_key: &ObjectKey,
    stored: &NativeMetadata,
) -> String {
    let realm = rule.realm(bucket);
    let context = EncryptionContext::native(realm);
    let examined = resources.keyring.examine(&rule.keys, stored.wrappings(), &context).await;
    let examined = match examined {
        Ok(examined) => examined,
        Err(_) => return "wrappings: x-amz-meta-encryption-holders is malformed\n".to_owned(),
    };
    let is_the_objects = |data_key: &DataKey| {
        let name = ObjectName { realm, object_key: object_key.as_bytes() };
        stored.envelope().binding() >= rule.binding && stored.envelope().is_committed(data_key, name)
    };
    let mut text = String::new();
    for ExaminedWrapping { wrapping, attempt } in examined {
        let name = match wrapping {
            WrappingName::First => "first".to_owned(),
            WrappingName::Further(kind, fingerprint) => format!("{kind} {fingerprint}"),
        };
        let outcome = match (wrapping, attempt) {
            (_, Some((holder, Ok(opened)))) if is_the_objects(&opened.data_key) => {
                format!("{holder} opens it with {}", opened.key_id)
            }
            (_, Some((holder, Ok(opened)))) => {
                format!("{holder} opens it with {}, but NOT to the object's data key", opened.key_id)
            }
            (_, Some((holder, Err(error)))) => format!("{holder} does not open it: {error}"),
            (WrappingName::Further(HolderKind::Recovery, fingerprint), None) => {
                let is_known = rule.keys.recovery.iter().any(|key| key.fingerprint() == fingerprint);
                let whose = if is_known { "" } else { " that the bucket's rule does not name" };
                format!(
                    "for a recovery key{whose}: opens with its private key, by s3veil decrypt --recovery-key"
                )
            }
            (_, None) => "no holder of the bucket's rule made it".to_owned(),
        };
        _ = writeln!(text, "wrapping {name}: {outcome}");
    }
    text
}

/// Describes an object in a foreign format whose data key was unwrapped.
fn foreign(object: &ForeignObject, stored_length: u64) -> String {
    let mut report = format!("format: {}\n", object.format);
    if let Some(suite) = object.suite {
        _ = writeln!(report, "suite: {suite}");
    }
    if let Some(key_id) = &object.key_id {
        _ = writeln!(report, "key: {key_id}");
        let pairs: Vec<_> = object.context.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let pairs = if pairs.is_empty() { "none".to_owned() } else { pairs.join(", ") };
        _ = writeln!(report, "encryption context: {pairs}");
    }
    _ = writeln!(report, "stored: {stored_length} bytes");
    _ = writeln!(report, "authenticated: {}", object.authenticated);
    report
}

/// Describes the parts and lengths of a verified layout.
fn describe_parts(layout: &Layout) -> String {
    /// Maximum number of parts whose lengths are shown.
    const MAX_SHOWN: usize = 12;
    let (parts, total) = (layout.parts(), layout.plaintext_total());
    let mut text = format!("stored: {} bytes; plaintext: {total} bytes\n", layout.stored_total());
    let end = if layout.is_terminated() { ", ended by a terminator" } else { "" };
    let carried = if layout.is_regular() { "regular" } else { "carried in the body" };
    _ = writeln!(text, "parts: {}{end}; layout: {carried}, authentic", parts.len());
    for part in parts.iter().take(MAX_SHOWN) {
        _ = writeln!(text, "part {}: {} bytes", part.number.value(), part.length);
    }
    if parts.len() > MAX_SHOWN {
        let last = parts.last().expect("a layout has parts");
        _ = writeln!(text, "… part {}: {} bytes", last.number.value(), last.length);
    }
    text
}

fn bound_to(binding: Binding, realm: &str) -> String {
    match binding {
        Binding::RealmAndKey => format!("realm {realm:?} and its own object key"),
        Binding::Realm => format!("realm {realm:?}"),
        Binding::None => "nothing but its data key".to_owned(),
    }
}
