//! A stored object for whoever looks at one outside a request: its format, its key, and how to open it.

use http::HeaderMap;

use super::{DetectedFormat, ForeignContent, ForeignEnvelope, Source, detect};
use crate::envelope::s3ec::{Entries, Suite};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::object::Resources;
use crate::object::location::ObjectLocation;
use crate::object::native::NativeMetadata;
use crate::object::rule::BucketRule;
use crate::s3::{BucketName, ObjectKey};

/// What an object is, of a format that its rule reads.
pub enum StoredFormat {
    /// A native object, not yet unlocked.
    Native(NativeMetadata),
    /// One of another format.
    Foreign(ForeignObject),
}

/// A foreign object whose data key was unwrapped.
pub struct ForeignObject {
    /// As `formats.read` names it, with the version where there are several.
    pub format: &'static str,
    /// How its content is encrypted; `None` if it is not.
    pub suite: Option<&'static str>,
    /// The encryption context that the key service accepted.
    pub context: Vec<(String, String)>,
    /// The key that wrapped the data key, as its provider names it.
    pub key_id: Option<String>,
    /// What its format authenticates.
    pub authenticated: &'static str,
    /// Its content, ready to be opened.
    pub content: ForeignContent,
}

/// Tells what an object is from its metadata as headers, its instruction file and its stored length, without the storage.
///
/// # Errors
/// [`Error::NotReadable`] when the rule does not read its format; why it is refused; what the key service says.
pub async fn unlock_files(
    keyring: &Keyring,
    rule: &BucketRule,
    metadata: &HeaderMap,
    instruction_file: Option<&[u8]>,
    stored: u64,
) -> Result<StoredFormat, Error> {
    let marks = match detect(rule, metadata)? {
        DetectedFormat::Native(stored) => return Ok(StoredFormat::Native(stored)),
        DetectedFormat::Foreign(marks) => marks,
    };
    let file = instruction_file.map(Entries::parse_instruction_file).transpose()?;
    described(keyring, rule, &ForeignEnvelope::of_marks(rule, marks, file, stored)?).await
}

/// Tells what an object is from the storage's answer to HEAD.
///
/// # Errors
/// As [`unlock_files`], and what keeps the storage from giving an instruction file.
pub async fn unlock_stored(
    resources: &Resources,
    bucket: &BucketName,
    object_key: &ObjectKey,
    metadata: &HeaderMap,
    stored: u64,
) -> Result<StoredFormat, Error> {
    let rule = resources.policies.of_object(bucket, object_key)?;
    let marks = match detect(rule, metadata)? {
        DetectedFormat::Native(stored) => return Ok(StoredFormat::Native(stored)),
        DetectedFormat::Foreign(marks) => marks,
    };
    let at = ObjectLocation { bucket, object_key, version_id: None, headers: HeaderMap::new() };
    let foreign = ForeignEnvelope::resolve(&Source { resources, rule, at: &at }, marks, stored).await?;
    described(&resources.keyring, rule, &foreign).await
}

async fn described(
    keyring: &Keyring,
    rule: &BucketRule,
    foreign: &ForeignEnvelope,
) -> Result<StoredFormat, Error> {
    let (content, key_id) = foreign.unlock(keyring, rule).await?;
    let nothing = "nothing";
    let (format, suite, authenticated) = match foreign {
        ForeignEnvelope::Plaintext => ("plaintext", None, nothing),
        ForeignEnvelope::InstructionFile => ("an instruction file of s3ec, in plaintext", None, nothing),
        ForeignEnvelope::Cbc { .. } => ("cbc", Some("AES-256-CBC"), nothing),
        ForeignEnvelope::S3ec(envelope) => match envelope.suite() {
            Suite::Cbc => ("s3ec, V1 or V2", Some("AES-256-CBC"), nothing),
            Suite::Gcm => (
                "s3ec, V1 or V2",
                Some("AES-GCM"),
                "the whole body, when it is read; neither the object's name nor, without a commitment, its only key",
            ),
            Suite::Committing => (
                "s3ec, V3",
                Some("115 (HKDF-SHA512, AES-256-GCM, key commitment)"),
                "the key, by the commitment; the whole body, when it is read; not the object's name",
            ),
        },
    };
    let context = match foreign {
        ForeignEnvelope::S3ec(envelope) => {
            envelope.context().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        ForeignEnvelope::Plaintext | ForeignEnvelope::InstructionFile | ForeignEnvelope::Cbc { .. } => {
            Vec::new()
        }
    };
    Ok(StoredFormat::Foreign(ForeignObject { format, suite, context, key_id, authenticated, content }))
}
