//! The upload id that a client receives, which holds everything that a node needs to seal parts of that
//! upload, so that no node has to keep state (F-49 to F-52).
//!
//! It must not know a secret of the server: the content key inside, once unwrapped, authenticates the rest.
//! It promises that a verified token was made for this bucket, object key and upload.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::envelope::length_prefix;
use super::{Envelope, kdf};
use crate::envelope::{ContentKey, ObjectSecret};
use crate::wire::checksum::ChecksumAlgorithm;

const VERSION: u8 = 1;
const TAG: usize = 32;
/// Longest upload id of a storage. AWS documents no limit; its ids have about 130 characters.
const MAX_ID: usize = 1_024;
/// Longest value of the metadata entry with the further wrappings: S3 stores no longer one.
const MAX_FURTHER: usize = 2_048;
/// Longest wrapped data key: AWS KMS accepts no longer `CiphertextBlob`.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>
const MAX_WRAPPED: usize = 6_144;
/// Longest token in bytes: version, checksum, four fields with their lengths, tag.
const MAX_TOKEN: usize = 2 + 4 * 2 + MAX_ID + MAX_WRAPPED + MAX_FURTHER + super::envelope::MAX_ENVELOPE + TAG;

/// Why an upload id is not a token, or not the token of this upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not base64url without padding, or not canonical (F-49).
    #[error("the upload id is not canonical base64url")]
    Encoding,
    /// A version this code does not know (F-49).
    #[error("the upload id has an unknown version")]
    Version,
    /// Fields of impossible lengths, or bytes left over (F-50).
    #[error("the upload id is malformed")]
    Malformed,
    /// The envelope inside is malformed or not a multipart upload's (F-50).
    #[error("the upload id's envelope is malformed")]
    Envelope,
    /// The token was made for another bucket, object key or upload.
    #[error("the upload id belongs to another upload")]
    Binding,
}

/// The bit in the byte of an [`UploadChecksum`] for a checksum of the whole object, rather than of its parts'
/// checksums.
const FULL_OBJECT: u8 = 0x80;

/// The checksum of the plaintext that CreateMultipartUpload declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadChecksum {
    /// No checksum.
    Undeclared,
    /// A checksum of the parts' checksums.
    Composite(ChecksumAlgorithm),
    /// A checksum of all bytes.
    FullObject(ChecksumAlgorithm),
}

impl UploadChecksum {
    /// The algorithm of the declared checksum.
    pub fn algorithm(self) -> Option<ChecksumAlgorithm> {
        match self {
            Self::Undeclared => None,
            Self::Composite(tag) | Self::FullObject(tag) => Some(tag),
        }
    }

    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Undeclared => 0,
            Self::Composite(algorithm) => algorithm.tag(),
            Self::FullObject(algorithm) => algorithm.tag() | FULL_OBJECT,
        }
    }

    pub(super) fn parse(byte: u8) -> Result<Self, TokenError> {
        let tag = ChecksumAlgorithm::from_tag(byte & !FULL_OBJECT);
        match (byte, tag) {
            (0, _) => Ok(Self::Undeclared),
            (_, None) => Err(TokenError::Malformed),
            (_, Some(tag)) if byte & FULL_OBJECT == 0 => Ok(Self::Composite(tag)),
            (_, Some(tag)) => Ok(Self::FullObject(tag)),
        }
    }
}

/// The target of an upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadTarget<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The decoded bytes of the object key.
    pub object_key: &'a [u8],
}

/// A token's content: well-formed, but authentic only if [`UploadToken::verify`] succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadToken {
    checksum: UploadChecksum,
    upstream_id: String,
    wrapped_key: Vec<u8>,
    further: Vec<u8>,
    envelope: Envelope,
    tag: [u8; TAG],
}

impl UploadToken {
    /// A token for the upload with this id in the storage.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] when the id or the wrapped key is empty or too long,
    /// [`TokenError::Envelope`] when the envelope is not a multipart upload's.
    pub fn new(
        content_key: &ContentKey,
        target: UploadTarget<'_>,
        checksum: UploadChecksum,
        upstream_id: String,
        (wrapped_key, further): (Vec<u8>, Option<Vec<u8>>),
        envelope: Envelope,
    ) -> Result<Self, TokenError> {
        let further = further.unwrap_or_default();
        let has_valid_lengths = (1..=MAX_ID).contains(&upstream_id.len())
            && (1..=MAX_WRAPPED).contains(&wrapped_key.len())
            && further.len() <= MAX_FURTHER;
        if !has_valid_lengths {
            return Err(TokenError::Malformed);
        }
        if !envelope.is_multipart() {
            return Err(TokenError::Envelope);
        }
        let mut token = Self { checksum, upstream_id, wrapped_key, further, envelope, tag: [0; TAG] };
        token.tag = token.expected_tag(content_key.into(), target);
        Ok(token)
    }

    /// Parses the upload id of a request.
    ///
    /// # Errors
    /// [`TokenError`] for anything that [`Self::to_text`] does not write, which includes every upload id of
    /// the storage.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN.div_ceil(3) * 4 {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Encoding)?;
        let (version, rest) = bytes.split_first().ok_or(TokenError::Malformed)?;
        if *version != VERSION {
            return Err(TokenError::Version);
        }
        let (checksum, rest) = rest.split_first().ok_or(TokenError::Malformed)?;
        let (fields, tag) = rest.split_last_chunk().ok_or(TokenError::Malformed)?;
        let (upstream_id, fields) = take_field(fields, 1..=MAX_ID)?;
        let (wrapped_key, fields) = take_field(fields, 1..=MAX_WRAPPED)?;
        let (further, fields) = take_field(fields, 0..=MAX_FURTHER)?;
        let (envelope, fields) = take_field(fields, 1..=super::envelope::MAX_ENVELOPE)?;
        if !fields.is_empty() {
            return Err(TokenError::Malformed);
        }
        let envelope = Envelope::from_bytes(envelope.to_vec()).map_err(|_| TokenError::Envelope)?;
        if !envelope.is_multipart() {
            return Err(TokenError::Envelope);
        }
        Ok(Self {
            checksum: UploadChecksum::parse(*checksum)?,
            upstream_id: String::from_utf8(upstream_id.to_vec()).map_err(|_| TokenError::Malformed)?,
            wrapped_key: wrapped_key.to_vec(),
            further: further.to_vec(),
            envelope,
            tag: *tag,
        })
    }

    /// The upload id to give to the client.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode([&self.fields()[..], &self.tag].concat())
    }

    /// Verifies in constant time that the token was made for this target, with the content key that its own
    /// envelope holds.
    ///
    /// # Errors
    /// [`TokenError::Binding`] when bucket, object key, upload or any byte of the token differs (F-51).
    pub fn verify<'a>(
        &self,
        secret: impl Into<ObjectSecret<'a>>,
        target: UploadTarget<'_>,
    ) -> Result<(), TokenError> {
        let expected = self.expected_tag(secret.into(), target);
        if bool::from(expected.ct_eq(&self.tag)) { Ok(()) } else { Err(TokenError::Binding) }
    }

    /// The checksum that the client declared.
    pub fn checksum(&self) -> UploadChecksum {
        self.checksum
    }

    /// The storage's id of the upload.
    pub fn upstream_id(&self) -> &str {
        &self.upstream_id
    }

    /// The data key as the key service wrapped it.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// The further wrappings of the data key, as the value of their metadata entry (F-60).
    pub fn further(&self) -> Option<&[u8]> {
        Some(&self.further[..]).filter(|further| !further.is_empty())
    }

    /// The envelope that is stored with the object.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// version(1) | checksum(1) | len16 | upstream id | len16 | wrapped data key |
    /// len16 | further wrappings | len16 | envelope (F-50).
    fn fields(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.checksum.to_byte()];
        let wrappings = [&self.wrapped_key[..], &self.further];
        for field in [self.upstream_id.as_bytes(), wrappings[0], wrappings[1], self.envelope.as_bytes()] {
            let length = u16::try_from(field.len()).expect("every field has a limit far below 64 KiB");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// HKDF-SHA256(content key, "", label | len32|bucket | len32|object key | fields, 32), of the end key if
    /// the object has a customer key (F-51).
    fn expected_tag(&self, secret: ObjectSecret<'_>, target: UploadTarget<'_>) -> [u8; TAG] {
        let UploadTarget { bucket, object_key } = target;
        let (bucket_length, key_length) = (length_prefix(bucket.as_bytes()), length_prefix(object_key));
        let info = [kdf::UPLOAD, &bucket_length, bucket.as_bytes(), &key_length, object_key, &self.fields()];
        let derived_end_key;
        let secret = match secret {
            ObjectSecret::Content(content_key) if self.envelope.has_customer_key() => {
                derived_end_key = kdf::end_key(content_key);
                derived_end_key.expose()
            }
            ObjectSecret::Content(content_key) => content_key.expose(),
            ObjectSecret::End(end_key) => end_key.expose(),
        };
        *kdf::hkdf(secret, &[], &info)
    }
}

/// len16 | field, of one of these lengths.
fn take_field(bytes: &[u8], lengths: RangeInclusive<usize>) -> Result<(&[u8], &[u8]), TokenError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(TokenError::Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !lengths.contains(&length) {
        return Err(TokenError::Malformed);
    }
    rest.split_at_checked(length).ok_or(TokenError::Malformed)
}

#[cfg(test)]
mod tests;
