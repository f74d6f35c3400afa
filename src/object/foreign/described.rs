//! Describes a stored object outside a client's request, for the commands `inspect` and `decrypt`: its
//! format, its key, and how to open it.
//!
//! It must not know the command line or its output. It promises that nothing is described before the rule
//! admits the format and the key service accepts the encryption context.

use std::sync::Arc;

use http::HeaderMap;

use super::{DetectedFormat, ForeignContent, ForeignEnvelope, Source, detect};
use crate::envelope::s3ec::{Entries, Suite};
use crate::error::Result;
use crate::keyring::Keyring;
use crate::object::Resources;
use crate::object::location::ObjectLocation;
use crate::object::native::NativeMetadata;
use crate::object::rule::BucketRule;
use crate::s3::{BucketName, ObjectKey};

/// A stored object in a format that its rule reads.
pub enum StoredFormat {
    /// A native object, not yet unlocked.
    Native(NativeMetadata),
    /// An object in another format, unlocked.
    Foreign(ForeignObject),
}

/// A foreign object whose data key was unwrapped.
pub struct ForeignObject {
    /// The format's name in `formats.read`, with the version if the format has several.
    pub format: &'static str,
    /// The cipher suite of the content; `None` if the content is not encrypted.
    pub suite: Option<&'static str>,
    /// The encryption context that the key service accepted.
    pub context: Vec<(String, String)>,
    /// The provider's name of the key that wrapped the data key.
    pub key_id: Option<Arc<str>>,
    /// A phrase for what the format authenticates.
    pub authenticated: &'static str,
    /// The content, ready to be opened.
    pub content: ForeignContent,
}

/// Describes an object from its metadata as headers, its instruction file and its stored length, without a
/// request to the storage.
///
/// # Errors
/// [`Error::NotReadable`](crate::error::Error::NotReadable) when the rule does not read its format; otherwise
/// a format error, or an error of the key service.
pub async fn unlock_files(
    keyring: &Keyring,
    rule: &BucketRule,
    metadata: &HeaderMap,
    instruction_file: Option<&[u8]>,
    stored: u64,
) -> Result<StoredFormat> {
    let claims = match detect(rule, metadata)? {
        DetectedFormat::Native(stored) => return Ok(StoredFormat::Native(stored)),
        DetectedFormat::Foreign(claims) => claims,
    };
    let file = instruction_file.map(Entries::parse_instruction_file).transpose()?;
    describe(keyring, rule, &ForeignEnvelope::from_claims(rule, claims, file, stored)?).await
}

/// Describes an object from the headers of the storage's response to HEAD.
///
/// # Errors
/// The errors of [`unlock_files`], and those of a request for the instruction file.
pub async fn unlock_stored(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
    metadata: &HeaderMap,
    stored: u64,
) -> Result<StoredFormat> {
    let rule = resources.policies.for_object(bucket, object_key)?;
    let claims = match detect(rule, metadata)? {
        DetectedFormat::Native(stored) => return Ok(StoredFormat::Native(stored)),
        DetectedFormat::Foreign(claims) => claims,
    };
    let at = ObjectLocation { bucket, object_key, version_id: None, headers: HeaderMap::new() };
    let foreign = ForeignEnvelope::resolve(&Source { resources, rule, at: &at }, claims, stored).await?;
    describe(&resources.keyring, rule, &foreign).await
}

async fn describe(keyring: &Keyring, rule: &BucketRule, object: &ForeignEnvelope) -> Result<StoredFormat> {
    let (content, key_id) = object.unlock(keyring, rule).await?;
    let nothing = "nothing";
    let (format, suite, authenticated) = match object {
        ForeignEnvelope::Plaintext => ("plaintext", None, nothing),
        ForeignEnvelope::InstructionFile => ("an instruction file of s3ec, in plaintext", None, nothing),
        ForeignEnvelope::Cbc { .. } => ("cbc", Some("AES-256-CBC"), nothing),
        ForeignEnvelope::S3ec(envelope) => match envelope.suite() {
            Suite::Cbc => ("s3ec, V1 or V2", Some("AES-256-CBC"), nothing),
            Suite::Gcm => (
                "s3ec, V1 or V2",
                Some("AES-GCM"),
                "the whole body, when it is read; neither the object's name nor, without a commitment, its only \
                 key",
            ),
            Suite::Committing => (
                "s3ec, V3",
                Some("115 (HKDF-SHA512, AES-256-GCM, key commitment)"),
                "the key, by the commitment; the whole body, when it is read; not the object's name",
            ),
        },
    };
    let mut context = Vec::new();
    if let ForeignEnvelope::S3ec(envelope) = object {
        context.extend(envelope.context().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    Ok(StoredFormat::Foreign(ForeignObject { format, suite, context, key_id, authenticated, content }))
}
