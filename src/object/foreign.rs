//! Objects in formats other than the native one: detects the format from the metadata, checks it against the
//! bucket's rule, and unlocks, reads and writes such objects.
//!
//! It must not know S3 operations or requests of clients. It promises that metadata are treated as a claim
//! only: the encryption context that the key service accepts decides, so an object that was relabelled from
//! one format to another does not open, whatever the rule admits.

mod described;
mod read;
mod source;
mod write;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::native::NativeMetadata;
use super::rule::BucketRule;
use super::rule::formats::ReadFormat;
use crate::envelope::article_cbc::{self, CbcBody, Unreadable};
use crate::envelope::s3ec::{self, Claim, Content, Entries, Envelope, MessageBody, S3ecError, Suite};
use crate::error::{Error, Result};
use crate::keyring::{EncryptionContext, Keyring, Purpose, Wrappings};
use crate::s3::{ErrorCode, Hashed, S3Error};
use crate::wire::header::{self, METADATA, name};

pub use super::foreign::described::{ForeignObject, StoredFormat, unlock_files, unlock_stored};
pub(crate) use super::foreign::read::{FirstResponse, open};
pub(crate) use super::foreign::source::Source;
pub(crate) use super::foreign::write::{Target, refuse_reserved, seal};

pub(crate) const CBC: Purpose = Purpose::new("cbc");
const S3EC_CBC: Purpose = Purpose::new("s3ec/cbc");
/// Short keys are accepted, since one S3 Encryption Client writes data keys of 128 bits.
pub(crate) const S3EC_GCM: Purpose = Purpose::new("s3ec/gcm").with_short_keys();
pub(crate) const S3EC_COMMITTING: Purpose = Purpose::new("s3ec/115");

/// The format that an object's metadata claim; always one that the rule reads.
pub(crate) enum DetectedFormat {
    /// The native format.
    Native(NativeMetadata),
    /// Another format, or not encrypted.
    Foreign(ForeignMetadata),
}

/// The claims in the metadata of a foreign object.
pub(crate) enum ForeignMetadata {
    /// The CBC format of docs/FOREIGN.md.
    Cbc {
        /// The wrapped data key, base64.
        wrapped: Vec<u8>,
        /// The plaintext's length in decimal, if the metadata record it.
        recorded: Option<Vec<u8>>,
    },
    /// The S3 Encryption Client's format.
    S3ec(Entries, Claim),
    /// No wrapped key: the object is plaintext, or its key is in an instruction file.
    Unmarked(Entries),
}

impl ForeignMetadata {
    /// The claimed format. An object without a claim counts as plaintext, although its key may be in an
    /// instruction file.
    pub(crate) fn format(&self) -> ReadFormat {
        match self {
            Self::Cbc { .. } => ReadFormat::Cbc,
            Self::S3ec(..) => ReadFormat::S3ec,
            Self::Unmarked(_) => ReadFormat::Plaintext,
        }
    }
}

/// A foreign object whose keys are known.
pub(crate) enum ForeignEnvelope {
    /// Not encrypted.
    Plaintext,
    /// An instruction file of the S3 Encryption Client, by its name and length: plaintext that holds a
    /// wrapped key. Its content is not checked yet.
    InstructionFile,
    /// The CBC format of docs/FOREIGN.md.
    Cbc {
        /// The wrapped data key.
        wrapped: Vec<u8>,
        /// The plaintext's length, if the metadata record it.
        recorded: Option<u64>,
    },
    /// The S3 Encryption Client's format.
    S3ec(Box<Envelope>),
}

/// The content of a foreign object, ready to be opened.
pub enum ForeignContent {
    /// Not encrypted.
    Plaintext,
    /// Not encrypted, if the content parses as an instruction file.
    InstructionFile,
    /// One AES-GCM message, authenticated by the tag at its end.
    Message(MessageBody),
    /// An AES-CBC chain, which nothing authenticates; with the plaintext's length, if the metadata record it.
    Chain(CbcBody, Option<u64>),
}

/// Detects an object's format from its metadata (the headers of a response to GET or HEAD), and refuses a
/// format that the rule does not read.
///
/// # Errors
/// [`Error::NotReadable`], which names the format; or a format error for invalid metadata.
pub(crate) fn detect(rule: &BucketRule, metadata: &HeaderMap) -> Result<DetectedFormat> {
    if metadata.keys().any(|name| name.as_str() == header::ENCRYPTION_ENVELOPE) {
        admit(rule, ReadFormat::Native)?;
        return NativeMetadata::from_headers(metadata).map(DetectedFormat::Native);
    }
    if let Some(wrapped) = metadata.get(&name::ENCRYPTION_KEY) {
        admit(rule, ReadFormat::Cbc)?;
        let recorded = metadata.get(&name::ENCRYPTION_LENGTH).map(|length| length.as_bytes().to_vec());
        let wrapped = wrapped.as_bytes().to_vec();
        return Ok(DetectedFormat::Foreign(ForeignMetadata::Cbc { wrapped, recorded }));
    }
    let user = metadata.iter().filter_map(|(name, value)| {
        name.as_str().strip_prefix(METADATA).map(|name| (name, value.as_bytes()))
    });
    let claimed = Entries::from_metadata(user).and_then(|entries| Ok((entries.claim()?, entries)));
    if let Ok((Claim::Nothing, entries)) = claimed {
        if !rule.formats.reads(ReadFormat::S3ec) {
            admit(rule, ReadFormat::Plaintext)?;
        }
        return Ok(DetectedFormat::Foreign(ForeignMetadata::Unmarked(entries)));
    }
    admit(rule, ReadFormat::S3ec)?;
    let (claim, entries) = claimed?;
    Ok(DetectedFormat::Foreign(ForeignMetadata::S3ec(entries, claim)))
}

fn admit(rule: &BucketRule, format: ReadFormat) -> Result<()> {
    if rule.formats.reads(format) {
        return Ok(());
    }
    Err(Error::NotReadable { found: format.name(), readable: rule.formats.readable() })
}

/// Removes the headers that a foreign format added to the object's metadata, so that clients see only those
/// that the object's writer set.
pub(crate) fn hide(foreign: &ForeignEnvelope, response: &mut HeaderMap) {
    if matches!(foreign, ForeignEnvelope::S3ec(_)) {
        let names: Vec<_> = response.keys().filter(|name| is_reserved(name.as_str())).cloned().collect();
        for name in names {
            response.remove(name);
        }
    }
}

/// Whether a header holds an entry of the S3 Encryption Client's envelope.
fn is_reserved(header: &str) -> bool {
    header.strip_prefix(METADATA).is_some_and(s3ec::is_reserved)
}

impl ForeignEnvelope {
    /// Resolves the claims of an object's metadata, for a body of `stored` bytes. Requests the instruction
    /// file where there may be one.
    ///
    /// # Errors
    /// A format error, a refusal by the rule, or a failed request for the instruction file.
    pub(crate) async fn resolve(source: &Source<'_>, claims: ForeignMetadata, stored: u64) -> Result<Self> {
        let file = match &claims {
            ForeignMetadata::Cbc { .. } | ForeignMetadata::S3ec(_, Claim::Whole) => None,
            ForeignMetadata::Unmarked(_) if !source.rule.formats.reads(ReadFormat::S3ec) => None,
            ForeignMetadata::Unmarked(_) if source.is_named_instruction_file(stored) => {
                return Ok(Self::InstructionFile);
            }
            ForeignMetadata::S3ec(..) | ForeignMetadata::Unmarked(_) => source.instruction_file().await?,
        };
        Self::from_claims(source.rule, claims, file, stored)
    }

    /// Resolves the claims of an object's metadata, given the entries of its instruction file, if there is
    /// one.
    fn from_claims(
        rule: &BucketRule,
        claims: ForeignMetadata,
        file: Option<Entries>,
        stored: u64,
    ) -> Result<Self> {
        let policy = s3ec::Policy { legacy: rule.formats.s3ec.legacy };
        let envelope = match claims {
            ForeignMetadata::Cbc { wrapped, recorded } => {
                let wrapped = STANDARD.decode(wrapped).map_err(|_| Unreadable)?;
                let recorded = recorded.map(|text| {
                    let text = std::str::from_utf8(&text).map_err(|_| Unreadable)?;
                    article_cbc::recorded_length(text, stored)
                });
                return Ok(Self::Cbc { wrapped, recorded: recorded.transpose()? });
            }
            ForeignMetadata::S3ec(entries, Claim::Whole) => Envelope::parse(&entries, policy)?,
            ForeignMetadata::S3ec(entries, Claim::KeyElsewhere | Claim::Nothing) => {
                let file = file.ok_or(S3ecError::InstructionFile)?;
                Envelope::parse_with_file(&entries, &file, policy)?
            }
            ForeignMetadata::Unmarked(entries) => match file.filter(|_| rule.formats.reads(ReadFormat::S3ec))
            {
                Some(file) => Envelope::parse_with_file(&entries, &file, policy)?,
                None => {
                    admit(rule, ReadFormat::Plaintext)?;
                    return Ok(Self::Plaintext);
                }
            },
        };
        let own = &rule.formats.s3ec.context;
        if !own.is_empty() && !envelope.has_own_context(own) {
            let message =
                "This object's encryption context is not the one that the bucket's s3ec.context demands.";
            return Err(S3Error::new(ErrorCode::AccessDenied, message).into());
        }
        Ok(Self::S3ec(Box::new(envelope)))
    }

    /// The format.
    pub(crate) fn format(&self) -> ReadFormat {
        match self {
            Self::Plaintext | Self::InstructionFile => ReadFormat::Plaintext,
            Self::Cbc { .. } => ReadFormat::Cbc,
            Self::S3ec(_) => ReadFormat::S3ec,
        }
    }

    /// The bytes that the object's ETag is a hash of, if the ETag is a hash.
    pub(crate) fn hashed(&self) -> Hashed {
        if self.is_encrypted() { Hashed::Ciphertext } else { Hashed::Plaintext }
    }

    /// Whether the object's content is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plaintext | Self::InstructionFile)
    }

    /// The wrapped data key, with what it is for and the context that it is bound to; `None` for plaintext.
    pub(crate) fn wrapping(&self) -> Option<(Purpose, &[u8], EncryptionContext)> {
        match self {
            Self::Plaintext | Self::InstructionFile => None,
            Self::Cbc { wrapped, .. } => {
                Some((CBC, wrapped, EncryptionContext::from_pairs::<&str, &str>([])))
            }
            Self::S3ec(envelope) => {
                let purpose = match envelope.suite() {
                    Suite::Cbc => S3EC_CBC,
                    Suite::Gcm => S3EC_GCM,
                    Suite::Committing => S3EC_COMMITTING,
                };
                Some((purpose, envelope.wrapped(), EncryptionContext::from_pairs(envelope.context())))
            }
        }
    }

    /// Unwraps the data key, and returns the content to be opened with the wrapping key's name.
    ///
    /// # Errors
    /// When the key service refuses or is unavailable, or the data key is not the object's. For an AES-CBC
    /// object a key that does not belong to the object is [`Unreadable`], like every other fault of such an
    /// object, so that clients cannot distinguish the faults.
    pub(crate) async fn unlock(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
    ) -> Result<(ForeignContent, Option<Arc<str>>)> {
        let Some((purpose, wrapped, context)) = self.wrapping() else {
            let is_file = matches!(self, Self::InstructionFile);
            let content = if is_file { ForeignContent::InstructionFile } else { ForeignContent::Plaintext };
            return Ok((content, None));
        };
        let is_chain = [CBC, S3EC_CBC].contains(&purpose);
        let unwrapped =
            match keyring.unwrap_as(purpose, &rule.keys, Wrappings::single(wrapped), &context).await {
                Err(error) if is_chain && error.is_of_another_key() => return Err(Unreadable.into()),
                unwrapped => unwrapped?,
            };
        let unlocked = match self {
            Self::Cbc { recorded, .. } => {
                ForeignContent::Chain(article_cbc::body(&unwrapped.data_key), *recorded)
            }
            Self::S3ec(envelope) => match envelope.unlock(&unwrapped.data_key)? {
                Content::Message(message) => ForeignContent::Message(message),
                Content::Cbc(chain) => ForeignContent::Chain(chain, None),
            },
            Self::Plaintext => ForeignContent::Plaintext,
            Self::InstructionFile => ForeignContent::InstructionFile,
        };
        Ok((unlocked, Some(unwrapped.key_id)))
    }

    /// The plaintext's length: by arithmetic or as the metadata record it, otherwise from the padding at the
    /// end of the object. A recorded length of an AES-CBC object is an unverified claim until the object is
    /// read.
    ///
    /// # Errors
    /// The errors of [`Self::unlock`], and a format error if no plaintext has a body of `stored` bytes.
    pub(crate) async fn length(&self, source: &Source<'_>, etag: &str, stored: u64) -> Result<u64> {
        let known = match self {
            Self::Plaintext | Self::InstructionFile => Some(stored),
            Self::Cbc { recorded, .. } => *recorded,
            Self::S3ec(envelope) => match envelope.suite() {
                Suite::Cbc => envelope.plaintext_length(stored).map_err(|_| Unreadable)?,
                Suite::Gcm | Suite::Committing => envelope.plaintext_length(stored)?,
            },
        };
        if let Some(length) = known {
            return Ok(length);
        }
        match self.unlock(&source.resources.keyring, source.rule).await?.0 {
            ForeignContent::Chain(chain, _) => source.chain_length(&chain, etag, stored).await,
            ForeignContent::Plaintext | ForeignContent::InstructionFile => Ok(stored),
            ForeignContent::Message(_) => Ok(MessageBody::plaintext_length(stored)?),
        }
    }

    /// Counts and logs the read of an object that nothing authenticates, or whose data key is not bound to an
    /// algorithm.
    pub(crate) fn note_read(&self, source: &Source<'_>) {
        let legacy = match self {
            Self::InstructionFile => return,
            Self::Plaintext => {
                metrics::counter!("s3veil_plaintext_reads_total").increment(1);
                source.log("a plaintext object is read");
                return;
            }
            Self::Cbc { .. } => "cbc",
            Self::S3ec(envelope) if envelope.suite() == Suite::Cbc => "s3ec-cbc",
            Self::S3ec(envelope) if envelope.is_legacy() => "s3ec-kms",
            Self::S3ec(_) => return,
        };
        metrics::counter!("s3veil_legacy_reads_total", "format" => legacy).increment(1);
        source.log(match legacy {
            "cbc" | "s3ec-cbc" => "an unauthenticated AES-CBC object is read",
            _ => "an object is read whose data key is bound to no algorithm",
        });
    }
}
