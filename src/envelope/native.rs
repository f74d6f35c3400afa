//! The native object format: 64 KiB AEAD chunks under a key that commits to, and is bound to, the object's
//! name. `docs/FORMAT.md` is its specification; the numbers `F-…` here and in the tests are its rules.
//!
//! It must not know where bytes come from. It promises that no byte is released that was not authenticated.

mod attributes;
mod body_kind;
mod chunk;
mod envelope;
mod holders;
mod kdf;
mod length;
pub mod multipart;
mod piece;
mod put;
mod recovery;
mod sequence;
mod upload_token;
#[cfg(test)]
mod vectors;
mod window;

pub use attributes::Attributes;
pub use body_kind::BodyKind;
pub use chunk::{CHUNK, SEALED_CHUNK, TAG};
pub use envelope::{
    Binding, Entropy, Envelope, EnvelopeKeys, EnvelopeSalt, ObjectName, Opened, Policy, RewrapRequest,
    SealRequest, Sealed, SseAlgorithm,
};
pub use holders::{HolderEntries, HolderEntry, HolderFingerprint, HolderKind, ServiceBlob, seal_under};
pub use length::{chunk_count, ciphertext_length, plaintext_length};
pub use piece::PieceOpener;
pub use recovery::{RecoveryKeyError, RecoveryPrivateKey, RecoveryPublicKey};
pub use sequence::{ChunkOpener, ChunkSealer};
pub use upload_token::{TokenError, UploadChecksum, UploadTarget, UploadToken};
pub use window::{CiphertextRange, PlaintextRange, ReadWindow};

/// A result whose error, unless another is named, is a fault of the format.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;

impl FormatError {
    /// Whether the object may be as it was stored, and the request's customer key is not the object's.
    #[must_use]
    pub fn is_about_customer_key(self) -> bool {
        matches!(self, Self::CustomerKeyMissing | Self::CustomerKeySurplus | Self::CustomerKeyWrong)
    }
}

/// Why bytes that claim to be this format were refused. Deliberately coarse where the cause is cryptographic:
/// one failure, one error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The envelope is not canonical base64 (F-03, F-04).
    #[error("the envelope is not canonical base64")]
    Encoding,
    /// The envelope has an impossible length (F-04).
    #[error("the envelope has an impossible length")]
    EnvelopeLength,
    /// A version this code does not know (F-05).
    #[error("the envelope has an unknown version")]
    Version,
    /// An algorithm suite this code does not know (F-06).
    #[error("the envelope has an unknown algorithm suite")]
    Suite,
    /// A binding this code does not know (F-07).
    #[error("the envelope has an unknown binding")]
    UnknownBinding,
    /// A binding weaker than the bucket's policy demands (F-07).
    #[error("the envelope is bound less strictly than the bucket's policy demands")]
    WeakBinding,
    /// A flag this code does not know (F-08).
    #[error("the envelope has unknown flags")]
    Flags,
    /// A plaintext length that no body of the envelope's kind has (F-17).
    #[error("the envelope names a plaintext length that no such body has")]
    PlaintextLength,
    /// The key commitment does not match: another data key, realm, object name or header (F-11).
    #[error("the envelope does not belong to this object and data key")]
    Commitment,
    /// The object has a customer key, and none is given (F-70).
    #[error("the object was stored with a customer key, which is needed to open it")]
    CustomerKeyMissing,
    /// The object has no customer key, and one is given (F-70).
    #[error("the object was stored without a customer key")]
    CustomerKeySurplus,
    /// The data key is the object's, and the commitment differs: another customer key (F-71).
    #[error("the customer key is not the object's")]
    CustomerKeyWrong,
    /// The wrapped content key or the attributes fail authentication (F-12, F-14).
    #[error("the envelope fails authentication")]
    EnvelopeTag,
    /// The sealed attributes do not parse (F-15).
    #[error("the envelope's attributes are malformed")]
    Attributes,
    /// The stored length is not that of the plaintext, or that of no plaintext (F-24, F-38).
    #[error("the stored length is not that of the plaintext")]
    Length,
    /// A chunk fails authentication (F-25).
    #[error("a chunk of the body fails authentication")]
    ChunkTag,
    /// A segment's header has fields that no segment has (F-31).
    #[error("a segment's header is malformed")]
    SegmentHeader,
    /// A segment's commitment does not match: the segment is another object's, its header was altered, or a
    /// terminator ends other segments than those before it (F-32, F-36).
    #[error("a segment does not belong to this object, or not to the segments before it")]
    SegmentCommitment,
    /// An authentic segment at the wrong place (F-35).
    #[error("a segment is missing, repeated or out of order")]
    SegmentOrder,
    /// The body ends with a segment that is not the last (F-35).
    #[error("the body ends before its last segment")]
    MissingLast,
    /// Parts of a length that only a carried layout may name (F-37).
    #[error("the parts' lengths are irregular and no layout says so")]
    Irregular,
    /// The carried layout fails authentication (F-41).
    #[error("the body's layout fails authentication")]
    LayoutTag,
    /// The carried layout is not canonical, or is the layout of another body (F-39 to F-42).
    #[error("the body's layout is not that of its segments")]
    Layout,
    /// The checksum in the last segment does not fit the algorithm that the envelope announces (F-54).
    #[error("the object's checksum is malformed")]
    Checksum,
    /// The body ends before its last chunk, or goes on after it (F-26).
    #[error("the body does not have the length that was announced")]
    BodyLength,
    /// The entries of the further holders do not parse (F-61).
    #[error("the entries of the further key holders are malformed")]
    Holders,
    /// The entries of the further holders are longer than S3's limit for metadata allows (F-60).
    #[error("the entries of the further key holders are too long")]
    HoldersLength,
    /// The entry of one holder has an impossible length (F-63, F-66).
    #[error("the entry of a further key holder is malformed")]
    HolderBlob,
    /// The entry of one holder fails authentication: another key, realm or entry (F-63, F-66).
    #[error("the entry of a further key holder fails authentication")]
    HolderTag,
}
