//! Objects of other formats than the native one: recognised by their metadata, admitted by the bucket's rule, unlocked.
//!
//! What the metadata say is a claim; the encryption context that the key service accepts decides. So an object that was
//! relabelled from one format to another does not open, whatever the rule admits.

mod described;
mod read;
mod source;
mod write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

pub use super::foreign::described::{ForeignObject, StoredFormat, unlock_files, unlock_stored};
pub(crate) use super::foreign::read::{FirstAnswer, open};
pub(crate) use super::foreign::source::Source;
pub(crate) use super::foreign::write::{Target, refuse_reserved, seal};
use super::native::NativeMetadata;
use super::rule::BucketRule;
use super::rule::formats::ReadFormat;
use crate::envelope::article_cbc::{self, CbcBody, Unreadable};
use crate::envelope::s3ec::{self, Claim, Content, Entries, Envelope, MessageBody, S3ecError, Suite};
use crate::error::Error;
use crate::keyring::{EncryptionContext, Keyring, KeyringError, Purpose};
use crate::s3::headers;
use crate::s3::{ErrorCode, Hashed, S3Error};
use crate::wire::header::METADATA;

pub(crate) const CBC: Purpose = Purpose::new("cbc");
const S3EC_CBC: Purpose = Purpose::new("s3ec/cbc");
/// One client writes data keys of 128 bits.
pub(crate) const S3EC_GCM: Purpose = Purpose::new("s3ec/gcm").with_short_keys();
pub(crate) const S3EC_COMMITTING: Purpose = Purpose::new("s3ec/115");

/// What an object's metadata say it is; of a format that the rule reads.
pub(crate) enum DetectedFormat {
    /// The native format.
    Native(NativeMetadata),
    /// Another, or none.
    Foreign(ForeignMetadata),
}

/// What the metadata of a foreign object say.
pub(crate) enum ForeignMetadata {
    /// The seed article's format.
    Cbc {
        /// The wrapped data key, base64.
        wrapped: Vec<u8>,
        /// The plaintext's length, decimal, where it was recorded.
        recorded: Option<Vec<u8>>,
    },
    /// The S3 Encryption Client's.
    S3ec(Entries, Claim),
    /// Nothing of keys: plaintext, or there is an instruction file.
    Unmarked(Entries),
}

impl ForeignMetadata {
    /// The format that they claim. What has none may be an object of an instruction file, too.
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
    /// An instruction file of the S3 Encryption Client: plaintext that speaks of keys, if it is what its name says.
    InstructionFile,
    /// The seed article's format.
    Cbc {
        /// The wrapped data key.
        wrapped: Vec<u8>,
        /// The plaintext's length.
        recorded: Option<u64>,
    },
    /// The S3 Encryption Client's.
    S3ec(Box<Envelope>),
}

/// The content of a foreign object, ready to be opened.
pub enum ForeignContent {
    /// As it is.
    Plaintext,
    /// The same, if it is an instruction file.
    InstructionFile,
    /// One message, authenticated at its end.
    Message(MessageBody),
    /// A chain, authenticated by nothing; with the plaintext's length, if it was recorded.
    Chain(CbcBody, Option<u64>),
}

/// Tells an object's format by its metadata (of an answer to GET or HEAD), and refuses one that the rule does not read.
///
/// # Errors
/// [`Error::NotReadable`], naming the format; or what is wrong with the metadata.
pub(crate) fn detect(rule: &BucketRule, metadata: &HeaderMap) -> Result<DetectedFormat, Error> {
    if metadata.contains_key(headers::ENCRYPTION_ENVELOPE) {
        admit(rule, ReadFormat::Native)?;
        return NativeMetadata::from_headers(metadata).map(DetectedFormat::Native);
    }
    if let Some(wrapped) = metadata.get(headers::ENCRYPTION_KEY) {
        admit(rule, ReadFormat::Cbc)?;
        let recorded = metadata.get(headers::ENCRYPTION_LENGTH).map(|length| length.as_bytes().to_vec());
        return Ok(DetectedFormat::Foreign(ForeignMetadata::Cbc {
            wrapped: wrapped.as_bytes().to_vec(),
            recorded,
        }));
    }
    let user = metadata.iter().filter_map(|(name, value)| {
        name.as_str().strip_prefix(METADATA).map(|name| (name, value.as_bytes()))
    });
    let claimed = Entries::from_metadata(user).and_then(|entries| Ok((entries.claim()?, entries)));
    match claimed {
        Ok((Claim::Nothing, entries)) => {
            if !rule.formats.reads(ReadFormat::S3ec) {
                admit(rule, ReadFormat::Plaintext)?;
            }
            Ok(DetectedFormat::Foreign(ForeignMetadata::Unmarked(entries)))
        }
        Ok((claim, entries)) => {
            admit(rule, ReadFormat::S3ec)?;
            Ok(DetectedFormat::Foreign(ForeignMetadata::S3ec(entries, claim)))
        }
        Err(error) => {
            admit(rule, ReadFormat::S3ec)?;
            Err(error.into())
        }
    }
}

fn admit(rule: &BucketRule, format: ReadFormat) -> Result<(), Error> {
    if rule.formats.reads(format) {
        return Ok(());
    }
    Err(Error::NotReadable { found: format.name(), readable: rule.formats.readable() })
}

/// Removes from an answer what belongs to a foreign object's format and not to its writer.
pub(crate) fn hide(foreign: &ForeignEnvelope, answer: &mut HeaderMap) {
    match foreign {
        ForeignEnvelope::S3ec(_) => {
            let names: Vec<_> = answer.keys().filter(|name| is_reserved(name.as_str())).cloned().collect();
            for name in names {
                answer.remove(name);
            }
        }
        ForeignEnvelope::Plaintext | ForeignEnvelope::InstructionFile | ForeignEnvelope::Cbc { .. } => {}
    }
}

/// Whether a header is an entry of the S3 Encryption Client.
fn is_reserved(header: &str) -> bool {
    header.strip_prefix(METADATA).is_some_and(s3ec::is_reserved)
}

impl ForeignEnvelope {
    /// What the marks come to, for a body of `stored` bytes. Asks for an instruction file where there may be one.
    ///
    /// # Errors
    /// Why the object is refused.
    pub(crate) async fn resolve(
        source: &Source<'_>,
        marks: ForeignMetadata,
        stored: u64,
    ) -> Result<Self, Error> {
        let file = match &marks {
            ForeignMetadata::Cbc { .. } | ForeignMetadata::S3ec(_, Claim::Whole) => None,
            ForeignMetadata::Unmarked(_) if !source.rule.formats.reads(ReadFormat::S3ec) => None,
            ForeignMetadata::Unmarked(_) if source.is_named_instruction_file(stored) => {
                return Ok(Self::InstructionFile);
            }
            ForeignMetadata::S3ec(..) | ForeignMetadata::Unmarked(_) => source.instruction_file().await?,
        };
        Self::of_marks(source.rule, marks, file, stored)
    }

    /// What the marks come to, with the instruction file, if there is one.
    fn of_marks(
        rule: &BucketRule,
        marks: ForeignMetadata,
        file: Option<Entries>,
        stored: u64,
    ) -> Result<Self, Error> {
        let policy = s3ec::Policy { legacy: rule.formats.s3ec.legacy };
        let envelope = match marks {
            ForeignMetadata::Cbc { wrapped, recorded } => {
                let wrapped = STANDARD.decode(wrapped).map_err(|_| Unreadable)?;
                let recorded = match recorded {
                    None => None,
                    Some(text) => {
                        let text = std::str::from_utf8(&text).map_err(|_| Unreadable)?;
                        Some(article_cbc::recorded_length(text, stored)?)
                    }
                };
                return Ok(Self::Cbc { wrapped, recorded });
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

    /// The bytes whose hash the object's ETag is, where the ETag is a hash.
    pub(crate) fn hashed(&self) -> Hashed {
        if self.is_encrypted() { Hashed::Ciphertext } else { Hashed::Plaintext }
    }

    /// Whether it is encrypted at all.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plaintext | Self::InstructionFile => false,
            Self::Cbc { .. } | Self::S3ec(_) => true,
        }
    }

    /// Unwraps the data key; gives the wrapping key's name too.
    ///
    /// # Errors
    /// When the key service refuses or is away, or the data key is not the object's. Of a chain, what says that key and
    /// object do not belong together is the same error as everything else that is wrong with it.
    pub(crate) async fn unlock(
        &self,
        keyring: &Keyring,
        rule: &BucketRule,
    ) -> Result<(ForeignContent, Option<String>), Error> {
        let (purpose, wrapped, context) = match self {
            Self::Plaintext => return Ok((ForeignContent::Plaintext, None)),
            Self::InstructionFile => return Ok((ForeignContent::InstructionFile, None)),
            Self::Cbc { wrapped, .. } => (CBC, &wrapped[..], EncryptionContext::from_pairs::<&str, &str>([])),
            Self::S3ec(envelope) => {
                let purpose = match envelope.suite() {
                    Suite::Cbc => S3EC_CBC,
                    Suite::Gcm => S3EC_GCM,
                    Suite::Committing => S3EC_COMMITTING,
                };
                (purpose, envelope.wrapped(), EncryptionContext::from_pairs(envelope.context()))
            }
        };
        let allowed = rule.allowed_keys(keyring.default_allowed());
        let unwrapped = keyring.unwrap_as(purpose, wrapped, &context, &allowed).await;
        let unwrapped = match (unwrapped, purpose) {
            (
                Err(
                    KeyringError::InvalidCiphertext
                    | KeyringError::IncorrectKey
                    | KeyringError::KeyMissing { .. },
                ),
                CBC | S3EC_CBC,
            ) => return Err(Unreadable.into()),
            (unwrapped, _) => unwrapped?,
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

    /// The plaintext's length: by arithmetic or as recorded, else by the end of the object. Of AES-CBC objects it may be
    /// what somebody claims; reading one finds out.
    ///
    /// # Errors
    /// As [`Self::unlock`], and when no plaintext has a body of `stored` bytes.
    pub(crate) async fn length(&self, source: &Source<'_>, etag: &str, stored: u64) -> Result<u64, Error> {
        let told = match self {
            Self::Plaintext | Self::InstructionFile => Some(stored),
            Self::Cbc { recorded, .. } => *recorded,
            Self::S3ec(envelope) => match envelope.suite() {
                Suite::Cbc => envelope.plaintext_length(stored).map_err(|_| Unreadable)?,
                Suite::Gcm | Suite::Committing => envelope.plaintext_length(stored)?,
            },
        };
        if let Some(length) = told {
            return Ok(length);
        }
        match self.unlock(&source.resources.keyring, source.rule).await?.0 {
            ForeignContent::Chain(chain, _) => source.chain_length(&chain, etag, stored).await,
            ForeignContent::Plaintext | ForeignContent::InstructionFile => Ok(stored),
            ForeignContent::Message(_) => Ok(MessageBody::plaintext_length(stored)?),
        }
    }

    /// Counts and logs what is read although nothing authenticates it, or its key is bound to nothing.
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
