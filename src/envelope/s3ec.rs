//! The formats of Amazon's S3 Encryption Client: V2 and V3 with KMS, read and written; `docs/FOREIGN.md`
//! lists the rules. An object is one AES-GCM message (V2, and V3 with a key commitment) or, from old clients,
//! one AES-CBC body; its keys are named in its metadata or in an instruction file beside it.
//!
//! It must not know where entries and bodies are stored or how a data key is unwrapped. It promises that a
//! label that contradicts the KMS encryption context, which alone is authenticated, is refused before any
//! content is decrypted.

mod content;
mod context;
mod encoded_word;
mod entries;
mod envelope;
mod kdf;
#[cfg(test)]
mod vectors;
mod write;

pub use self::content::{Content, MessageBody};
pub use self::entries::{Entries, MAX_INSTRUCTION_FILE, is_reserved};
pub use self::envelope::{Claim, Envelope, Policy, Suite, Wrapping};
pub use self::write::{ENTROPY, NewObject, Version};
pub use super::aes_cbc::{CbcBody, Unreadable};

use super::aes_gcm;

/// Suffix of an object's key in the key of its instruction file.
pub const INSTRUCTION_SUFFIX: &str = ".instruction";
/// The longest plaintext of one object.
pub const MAX_PLAINTEXT: u64 = aes_gcm::MAX_PLAINTEXT;

/// Stored bytes of a plaintext of `plaintext` bytes, as V2 and V3 are written.
pub const fn ciphertext_length(plaintext: u64) -> Option<u64> {
    if plaintext > MAX_PLAINTEXT { None } else { Some(plaintext + aes_gcm::TAG as u64) }
}

/// Why an object that claims to be of these formats was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum S3ecError {
    /// An entry is missing, not base64, not JSON, or of an impossible length or value.
    #[error("the entry {0} of the S3 Encryption Client is missing or malformed")]
    Malformed(&'static str),
    /// Entries of several versions, or one entry twice: readers would disagree on which of them counts.
    #[error("the entries of the S3 Encryption Client contradict each other")]
    Contradiction,
    /// The instruction file is not a JSON object of these entries, or holds entries that belong on the
    /// object.
    #[error("the S3 Encryption Client's instruction file is malformed")]
    InstructionFile,
    /// The data key is wrapped by a raw AES or RSA key, which no key service has.
    #[error("the data key is wrapped by a raw AES or RSA key, not by KMS")]
    RawWrapping,
    /// An algorithm that this version does not know.
    #[error("the object names an algorithm that is unknown: {0}")]
    Algorithm(&'static str),
    /// The wrapping `kms`, where nothing binds the data key to the algorithm that the object names.
    #[error("its data key is wrapped in the legacy way `kms`, which s3ec.legacy = true would accept")]
    LegacyWrapping,
    /// AES-CBC, which authenticates nothing.
    #[error("its content is unauthenticated AES-CBC, which s3ec.legacy = true would accept")]
    LegacyContent,
    /// The object names another algorithm than the one its data key was generated for.
    #[error("the object names another algorithm than its encryption context")]
    ContextAlgorithm,
    /// An encryption context that no client writes with this wrapping, or that belongs to another format.
    #[error("the object's encryption context is not one of this format")]
    Context,
    /// The key commitment does not match: the data key or the message id is another.
    #[error("the object's key commitment does not match its data key")]
    Commitment,
    /// The data key has a length that the suite does not accept.
    #[error("the data key has a length that the object's algorithm does not take")]
    DataKeyLength,
    /// No plaintext has a ciphertext of this length.
    #[error("the stored length is impossible")]
    Length,
    /// The tag does not match the message.
    #[error("the body fails authentication")]
    Tag,
}
