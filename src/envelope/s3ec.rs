//! The formats of Amazon's S3 Encryption Client: V2 and V3 with KMS, read and written.
//!
//! An object is one AES-GCM message (V2, and V3 with a key commitment) or, from old clients, one AES-CBC chain.
//! What names the keys is in the object's metadata or beside it in an instruction file; of that, the KMS encryption
//! context alone is authenticated, so it decides: a label that disagrees with it is refused before any content is
//! touched. `docs/FOREIGN.md` lists the rules.

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

/// What is appended to an object's key to name its instruction file.
pub const INSTRUCTION_SUFFIX: &str = ".instruction";
/// The longest plaintext of one object.
pub const MAX_PLAINTEXT: u64 = aes_gcm::MAX_PLAINTEXT;

/// Stored bytes of a plaintext of `plaintext` bytes, as V2 and V3 are written.
#[must_use]
pub const fn ciphertext_length(plaintext: u64) -> Option<u64> {
    if plaintext > MAX_PLAINTEXT { None } else { Some(plaintext + aes_gcm::TAG as u64) }
}

/// Why an object that claims to be of these formats was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum S3ecError {
    /// An entry is missing, not base64, not JSON, or of an impossible length or value.
    #[error("the entry {0} of the S3 Encryption Client is missing or malformed")]
    Malformed(&'static str),
    /// Entries of several versions, or one entry twice: which of them counts, readers would disagree on.
    #[error("the entries of the S3 Encryption Client contradict each other")]
    Contradiction,
    /// The instruction file is no JSON object of such entries, or holds what belongs to the object.
    #[error("the S3 Encryption Client's instruction file is malformed")]
    InstructionFile,
    /// The data key is wrapped by a raw AES or RSA key, which no key service has.
    #[error("the data key is wrapped by a raw AES or RSA key, not by KMS")]
    RawWrapping,
    /// An algorithm that this code does not know.
    #[error("the object names an algorithm that is unknown: {0}")]
    Algorithm(&'static str),
    /// `kms`: nothing binds the data key to what the object says of its algorithm.
    #[error("its data key is wrapped in the legacy way `kms`, which s3ec.legacy = true would accept")]
    LegacyWrapping,
    /// AES-CBC, which authenticates nothing.
    #[error("its content is unauthenticated AES-CBC, which s3ec.legacy = true would accept")]
    LegacyContent,
    /// The algorithm that the object names is not the one its data key was made for.
    #[error("the object names another algorithm than its encryption context")]
    ContextAlgorithm,
    /// An encryption context that no client writes with this wrapping, or that belongs to another format.
    #[error("the object's encryption context is not one of this format")]
    Context,
    /// The key commitment does not match: another data key or message id.
    #[error("the object's key commitment does not match its data key")]
    Commitment,
    /// The data key has a length that the suite does not take.
    #[error("the data key has a length that the object's algorithm does not take")]
    DataKeyLength,
    /// No plaintext has a ciphertext of this length.
    #[error("the stored length is impossible")]
    Length,
    /// The tag does not belong to the message.
    #[error("the body fails authentication")]
    Tag,
}
