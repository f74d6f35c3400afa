//! What an object's entries say: which data key, under which context, for which content.
//!
//! It must not know where the entries were stored or how the data key is unwrapped. It promises that entries
//! that contradict each other, or that the policy does not admit, are refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::content::{Content, MessageBody};
use super::context::{self, Context};
use super::entries::{self as names, Entries};
use super::kdf::{Derivation, ID};
use super::{S3ecError, kdf};
use crate::envelope::DataKey;
use crate::envelope::aes_gcm::{self, MessageKey};

pub(super) const GCM: &str = "AES/GCM/NoPadding";
const CBC: [&str; 2] = ["AES/CBC/PKCS5Padding", "AES/CBC/PKCS7Padding"];
pub(super) const COMMITTING: &str = "115";
pub(super) const KMS_CONTEXT: &str = "kms+context";
const KMS_LEGACY: &str = "kms";
pub(super) const KMS_CONTEXT_V3: &str = "12";
/// Wrappings by raw keys, of V2 and V3.
const RAW: [&str; 8] = [
    "AES/GCM",
    "RSA-OAEP-SHA1",
    "AESWrap",
    "RSA/ECB/OAEPWithSHA-256AndMGF1Padding",
    "AES",
    "RSA",
    "02",
    "22",
];

/// The entries of V3 that are on the object itself, also beside an instruction file.
const ON_OBJECT_V3: [&str; 3] = [names::CONTENT_ALGORITHM_V3, names::COMMITMENT, names::MESSAGE_ID];

/// Longest wrapped data key that AWS KMS accepts.
const MAX_WRAPPED: usize = 6_144;

/// What the entries on an object itself say, before an instruction file is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// None of these formats: the object is plaintext, in another format, or has all entries in an
    /// instruction file.
    Nothing,
    /// All entries are on the object: an instruction file does not count.
    Whole,
    /// V3, whose wrapped key is in an instruction file.
    KeyElsewhere,
}

/// The objects that a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Data keys that nothing binds to their algorithm, and AES-CBC, which authenticates nothing.
    pub legacy: bool,
}

/// How the content is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// V2: AES-CBC with PKCS#7, unauthenticated.
    Cbc,
    /// V2: AES-GCM under the data key.
    Gcm,
    /// V3: AES-256-GCM under a derived key, with a commitment.
    Committing,
}

/// How KMS wrapped the data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// The encryption context names the content's algorithm.
    Context,
    /// The encryption context names only the wrapping key.
    Legacy,
}

/// An object's entries, well-formed and admitted by a policy; authentic only as far as KMS accepts
/// [`Self::context`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    wrapping: Wrapping,
    wrapped: Vec<u8>,
    context: Context,
    content: ContentEntries,
    plaintext_hint: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ContentEntries {
    Cbc { iv: [u8; 16] },
    Gcm { iv: [u8; aes_gcm::IV] },
    Committing { message_id: [u8; ID], commitment: [u8; ID] },
}

impl Entries {
    /// The format that the entries on an object claim.
    ///
    /// # Errors
    /// [`S3ecError::Contradiction`] when they claim several formats, [`S3ecError::Malformed`] when they are
    /// incomplete.
    pub fn claim(&self) -> Result<Claim, S3ecError> {
        let keys = [names::KEY_V1, names::KEY_V2, names::KEY_V3];
        match keys.into_iter().filter(|key| self.has(key)).count() {
            0 if ON_OBJECT_V3.into_iter().all(|name| self.has(name)) => Ok(Claim::KeyElsewhere),
            0 if self.has_any(&ON_OBJECT_V3) => Err(S3ecError::Malformed(names::KEY_V3)),
            0 if self.has(names::IV) => Err(S3ecError::Malformed(names::KEY_V2)),
            0 => Ok(Claim::Nothing),
            1 => Ok(Claim::Whole),
            _ => Err(S3ecError::Contradiction),
        }
    }
}

impl Envelope {
    /// Reads the entries of an object that carries them all.
    ///
    /// # Errors
    /// Why they are not those of an object that `policy` admits.
    pub fn parse(object: &Entries, policy: Policy) -> Result<Self, S3ecError> {
        match object.claim()? {
            Claim::Whole => Self::parse_all(object, policy),
            Claim::KeyElsewhere | Claim::Nothing => Err(S3ecError::Malformed(names::KEY_V3)),
        }
    }

    /// Reads the entries of an object and its instruction file. V2 keeps all of them in the file; V3 keeps
    /// message id, commitment and suite on the object, where the file must not speak of them.
    ///
    /// # Errors
    /// Why they are not those of an object that `policy` admits.
    pub fn parse_with_file(object: &Entries, file: &Entries, policy: Policy) -> Result<Self, S3ecError> {
        match object.claim()? {
            Claim::Whole => return Err(S3ecError::Contradiction),
            Claim::KeyElsewhere if !file.has(names::KEY_V3) => return Err(S3ecError::InstructionFile),
            Claim::Nothing if file.has(names::KEY_V3) => return Err(S3ecError::InstructionFile),
            Claim::KeyElsewhere | Claim::Nothing if file.has_any(&ON_OBJECT_V3) => {
                return Err(S3ecError::InstructionFile);
            }
            Claim::KeyElsewhere | Claim::Nothing => {}
        }
        let joined = object.joined(file)?;
        match joined.claim()? {
            Claim::Whole => Self::parse_all(&joined, policy),
            Claim::KeyElsewhere | Claim::Nothing => Err(S3ecError::InstructionFile),
        }
    }

    fn parse_all(entries: &Entries, policy: Policy) -> Result<Self, S3ecError> {
        if entries.has(names::KEY_V1) {
            // The IV distinguishes it from a stray entry; in either case no KMS key opens it.
            return Err(S3ecError::RawWrapping);
        }
        let envelope =
            if entries.has(names::KEY_V3) { Self::parse_v3(entries)? } else { Self::parse_v2(entries)? };
        if envelope.suite() == Suite::Cbc && !policy.legacy {
            return Err(S3ecError::LegacyContent);
        }
        if envelope.wrapping == Wrapping::Legacy && !policy.legacy {
            return Err(S3ecError::LegacyWrapping);
        }
        Ok(envelope)
    }

    fn parse_v2(entries: &Entries) -> Result<Self, S3ecError> {
        let of_key = [names::WRAP_ALGORITHM_V3, names::CONTEXT_V3];
        if entries.has_any(&ON_OBJECT_V3) || entries.has_any(&of_key) {
            return Err(S3ecError::Contradiction);
        }
        let algorithm = entries.required(names::CONTENT_ALGORITHM)?;
        let wrapping = wrapping(entries.required(names::WRAP_ALGORITHM)?)?;
        let context = context::parse(entries.required(names::CONTEXT)?)?;
        match wrapping {
            Wrapping::Context => context::check_bound(&context, algorithm)?,
            Wrapping::Legacy => context::check_legacy(&context)?,
        }
        let tag_length = entries.text(names::TAG_LENGTH);
        let content = if algorithm == GCM {
            if tag_length.is_some_and(|length| length != "128") {
                return Err(S3ecError::Malformed(names::TAG_LENGTH));
            }
            ContentEntries::Gcm { iv: fixed(entries, names::IV)? }
        } else if CBC.contains(&algorithm) {
            if tag_length.is_some_and(|length| length != "0") {
                return Err(S3ecError::Malformed(names::TAG_LENGTH));
            }
            ContentEntries::Cbc { iv: fixed(entries, names::IV)? }
        } else {
            return Err(S3ecError::Algorithm(names::CONTENT_ALGORITHM));
        };
        let wrapped = wrapped(entries, names::KEY_V2)?;
        Ok(Self { wrapping, wrapped, context, content, plaintext_hint: plaintext_hint(entries) })
    }

    fn parse_v3(entries: &Entries) -> Result<Self, S3ecError> {
        let v2 =
            [names::IV, names::CONTENT_ALGORITHM, names::WRAP_ALGORITHM, names::CONTEXT, names::TAG_LENGTH];
        if entries.has_any(&v2) {
            return Err(S3ecError::Contradiction);
        }
        if entries.required(names::CONTENT_ALGORITHM_V3)? != COMMITTING {
            return Err(S3ecError::Algorithm(names::CONTENT_ALGORITHM_V3));
        }
        match entries.required(names::WRAP_ALGORITHM_V3)? {
            KMS_CONTEXT_V3 => {}
            raw if RAW.contains(&raw) => return Err(S3ecError::RawWrapping),
            _ => return Err(S3ecError::Algorithm(names::WRAP_ALGORITHM_V3)),
        }
        let context = context::parse(entries.required(names::CONTEXT_V3)?)?;
        context::check_bound(&context, COMMITTING)?;
        let (message_id, commitment) =
            (fixed(entries, names::MESSAGE_ID)?, fixed(entries, names::COMMITMENT)?);
        Ok(Self {
            wrapping: Wrapping::Context,
            wrapped: wrapped(entries, names::KEY_V3)?,
            context,
            content: ContentEntries::Committing { message_id, commitment },
            plaintext_hint: plaintext_hint(entries),
        })
    }

    /// How the content is encrypted.
    pub fn suite(&self) -> Suite {
        match self.content {
            ContentEntries::Cbc { .. } => Suite::Cbc,
            ContentEntries::Gcm { .. } => Suite::Gcm,
            ContentEntries::Committing { .. } => Suite::Committing,
        }
    }

    /// How the data key is wrapped.
    pub fn wrapping(&self) -> Wrapping {
        self.wrapping
    }

    /// Whether only `legacy` admits the object.
    pub fn is_legacy(&self) -> bool {
        self.wrapping == Wrapping::Legacy || self.suite() == Suite::Cbc
    }

    /// The name of the entry that holds the wrapped data key, without `x-amz-meta-`.
    pub fn key_entry(&self) -> &'static str {
        match self.content {
            ContentEntries::Cbc { .. } | ContentEntries::Gcm { .. } => names::KEY_V2,
            ContentEntries::Committing { .. } => names::KEY_V3,
        }
    }

    /// The wrapped data key: 1 to 6,144 bytes.
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// The encryption context that KMS must be given to unwrap it.
    pub fn context(&self) -> impl Iterator<Item = (&str, &str)> {
        self.context.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the context, without the pairs that the format adds, is exactly `own`, the pairs of the
    /// writer.
    pub fn has_own_context(&self, own: &Context) -> bool {
        let reserved = [context::ALGORITHM, context::LEGACY_KEY_ID];
        self.context.iter().filter(|(name, _)| !reserved.contains(&name.as_str())).eq(own)
    }

    /// The plaintext's length, where it follows from the stored one: exact except for AES-CBC, where only the
    /// object's own claim is known, which nothing authenticates.
    ///
    /// # Errors
    /// [`S3ecError::Length`] when no plaintext has that stored length.
    pub fn plaintext_length(&self, stored: u64) -> Result<Option<u64>, S3ecError> {
        match self.content {
            ContentEntries::Gcm { .. } | ContentEntries::Committing { .. } => {
                MessageBody::plaintext_length(stored).map(Some)
            }
            ContentEntries::Cbc { .. } if stored == 0 || !stored.is_multiple_of(16) => Err(S3ecError::Length),
            ContentEntries::Cbc { .. } => Ok(self
                .plaintext_hint
                .filter(|hint| stored.checked_sub(*hint).is_some_and(|padding| (1..=16).contains(&padding)))),
        }
    }

    /// The content under its key, after the commitment was checked.
    ///
    /// # Errors
    /// [`S3ecError::Commitment`] when the data key is another one, [`S3ecError::DataKeyLength`] when its
    /// length is not one that the suite accepts.
    pub fn unlock(&self, data_key: &DataKey) -> Result<Content, S3ecError> {
        if data_key.as_slice().len() != 32 && self.suite() != Suite::Gcm {
            return Err(S3ecError::DataKeyLength);
        }
        Ok(match &self.content {
            ContentEntries::Cbc { iv } => Content::cbc(data_key, *iv),
            ContentEntries::Gcm { iv } => {
                let key = data_key.as_slice().to_vec().into();
                Content::message(MessageKey { key, iv: *iv, aad: &[] })
            }
            ContentEntries::Committing { message_id, commitment } => {
                let key = Derivation::new(data_key, message_id).key(commitment)?;
                Content::message(MessageKey { key, iv: [1; aes_gcm::IV], aad: kdf::SUITE_ID })
            }
        })
    }
}

fn wrapping(name: &str) -> Result<Wrapping, S3ecError> {
    match name {
        KMS_CONTEXT => Ok(Wrapping::Context),
        KMS_LEGACY => Ok(Wrapping::Legacy),
        raw if RAW.contains(&raw) => Err(S3ecError::RawWrapping),
        _ => Err(S3ecError::Algorithm(names::WRAP_ALGORITHM)),
    }
}

fn wrapped(entries: &Entries, name: &'static str) -> Result<Vec<u8>, S3ecError> {
    let wrapped = STANDARD.decode(entries.required(name)?).map_err(|_| S3ecError::Malformed(name))?;
    if (1..=MAX_WRAPPED).contains(&wrapped.len()) { Ok(wrapped) } else { Err(S3ecError::Malformed(name)) }
}

fn fixed<const N: usize>(entries: &Entries, name: &'static str) -> Result<[u8; N], S3ecError> {
    let bytes = STANDARD.decode(entries.required(name)?).map_err(|_| S3ecError::Malformed(name))?;
    bytes.try_into().map_err(|_| S3ecError::Malformed(name))
}

/// A length that nothing authenticates; `None` if it is not a number.
fn plaintext_hint(entries: &Entries) -> Option<u64> {
    entries.text(names::PLAINTEXT_LENGTH)?.parse().ok()
}

#[cfg(test)]
mod tests;
