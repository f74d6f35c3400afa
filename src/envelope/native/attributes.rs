//! The checksums of the plaintext that the writer knew before the body was sent, sealed inside the envelope
//! (F-14 to F-16).
//!
//! It must not know how a checksum is computed or which header it travels in. It promises that the storage
//! sees no checksum of a plaintext in clear, since that would reveal whether two objects are equal.

use aws_lc_rs::aead::Aad;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::chunk::aead_key;
use super::kdf::{Salt, zero_nonce};
use super::{FormatError, Result, UploadChecksum, kdf};
use crate::envelope::ContentKey;
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};

/// The bytes that name the algorithms in attributes, part receipts and upload tokens, from 1 on in the order
/// of the enum (F-16).
impl ChecksumAlgorithm {
    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.tag() == tag)
    }

    pub(super) const fn tag(self) -> u8 {
        self as u8 + 1
    }
}

/// The tag of the attribute that announces the checksum in an upload's last segment (F-54).
const UPLOAD_CHECKSUM: u8 = 11;

/// The attributes of one object, in ascending order of their tags, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    known: Vec<Checksum>,
    /// The value of [`UPLOAD_CHECKSUM`] as it was parsed, since a later version may know more algorithms.
    upload: Option<u8>,
    /// Tag and value of kinds of a later version: skipped by readers (F-15), kept when the content key is
    /// wrapped again (F-53).
    unknown: Vec<(u8, Vec<u8>)>,
}

impl Attributes {
    /// Sorts the checksums; of several of one algorithm the first counts.
    pub fn new(mut checksums: Vec<Checksum>) -> Self {
        checksums.sort_by_key(|checksum| checksum.algorithm().tag());
        checksums.dedup_by_key(|checksum| checksum.algorithm());
        Self { known: checksums, ..Self::default() }
    }

    /// The attributes with the announcement that the object's last segment may carry this checksum (F-54).
    #[must_use]
    pub fn announcing(self, checksum: UploadChecksum) -> Self {
        let upload = (checksum != UploadChecksum::Undeclared).then(|| checksum.to_byte());
        Self { upload, ..self }
    }

    /// The attributes with this checksum instead of all that are known or announced.
    #[must_use]
    pub fn replaced_by(&self, checksum: Checksum) -> Self {
        Self { known: vec![checksum], upload: None, unknown: self.unknown.clone() }
    }

    /// The checksum that the object's last segment may carry: its algorithm, and whether it is a checksum
    /// of the parts' checksums.
    pub fn upload_checksum(&self) -> UploadChecksum {
        self.upload.and_then(|byte| UploadChecksum::parse(byte).ok()).unwrap_or(UploadChecksum::Undeclared)
    }

    /// The checksums of the whole plaintext, in the order of their tags (F-16).
    pub fn iter(&self) -> impl Iterator<Item = &Checksum> {
        self.known.iter()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.upload.is_none() && self.unknown.is_empty()
    }

    /// The bytes that [`Self::parse`] reads.
    pub(crate) fn write(&self) -> Zeroizing<Vec<u8>> {
        let known = self.known.iter().map(|checksum| (checksum.algorithm().tag(), checksum.bytes()));
        let unknown = self.unknown.iter().map(|(tag, value)| (*tag, value.as_slice()));
        let upload = self.upload.as_ref().map(|byte| (UPLOAD_CHECKSUM, std::slice::from_ref(byte)));
        let mut all: SmallVec<[(u8, &[u8]); 4]> = known.chain(upload).chain(unknown).collect();
        all.sort_unstable_by_key(|(tag, _)| *tag);
        let length = all.iter().map(|(_, value)| 2 + value.len()).sum();
        // A vector that grows leaves copies that are not zeroed.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        for (tag, value) in all {
            let length = u8::try_from(value.len()).expect("a value came with a length of one byte");
            bytes.extend_from_slice(&[tag, length]);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    /// Parses tag(1) | length(1) | value, ascending; kinds of a later version are skipped (F-15).
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut attributes = Self::default();
        let mut before = 0;
        while let [tag, length, rest @ ..] = bytes {
            let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(FormatError::Attributes)?;
            if *tag <= before {
                return Err(FormatError::Attributes);
            }
            before = *tag;
            match ChecksumAlgorithm::from_tag(*tag) {
                Some(known) => {
                    attributes.known.push(Checksum::new(known, value).ok_or(FormatError::Attributes)?);
                }
                None if *tag == UPLOAD_CHECKSUM => {
                    let [byte] = value else { return Err(FormatError::Attributes) };
                    attributes.upload = Some(*byte);
                }
                None => attributes.unknown.push((*tag, value.to_vec())),
            }
            bytes = rest;
        }
        if bytes.is_empty() { Ok(attributes) } else { Err(FormatError::Attributes) }
    }
}

/// Appends the sealed attributes to the fixed part of an envelope; nothing when there are none (F-14).
pub(super) fn seal(attributes: &Attributes, salt: &Salt, content_key: &ContentKey, envelope: &mut Vec<u8>) {
    if attributes.is_empty() {
        return;
    }
    let mut sealed = attributes.write();
    let tag = attributes_key(salt, content_key)
        .seal_in_place_separate_tag(zero_nonce(), Aad::from(&envelope[..]), sealed.as_mut_slice())
        .expect("a few checksums are far below AES-GCM's limit");
    envelope.extend_from_slice(&sealed);
    envelope.extend_from_slice(tag.as_ref());
}

/// Opens the attributes of a whole envelope, whose first `fixed` bytes are the fixed part.
pub(super) fn open(
    envelope: &[u8],
    fixed: usize,
    salt: &Salt,
    content_key: &ContentKey,
) -> Result<Attributes> {
    if envelope.len() == fixed {
        return Ok(Attributes::default());
    }
    let mut sealed = Zeroizing::new(envelope[fixed..].to_vec());
    let plaintext = attributes_key(salt, content_key)
        .open_in_place(zero_nonce(), Aad::from(&envelope[..fixed]), sealed.as_mut_slice())
        .map_err(|_| FormatError::EnvelopeTag)?;
    Attributes::parse(plaintext)
}

/// HKDF-SHA256(content key, the envelope's salt, label, 32): each salt gives another key, so zero is a safe
/// nonce.
fn attributes_key(salt: &Salt, content_key: &ContentKey) -> aws_lc_rs::aead::LessSafeKey {
    let derived = salt.derive::<32>(content_key.expose(), &[kdf::ATTRIBUTES]);
    aead_key(derived.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_15_attributes_parse_strictly() {
        let crc = [1, 4, 1, 2, 3, 4];
        let nvme = [3, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Attributes::parse(&[]), Ok(Attributes::default()));
        let both = [&crc[..], &nvme].concat();
        let parsed = Attributes::parse(&both).unwrap();
        assert_eq!(parsed.iter().count(), 2);
        assert_eq!(*parsed.write(), both);
        for (what, malformed) in [
            ("descending", [&nvme[..], &crc].concat()),
            ("repeated", [&crc[..], &crc].concat()),
            ("cut", both[..both.len() - 1].to_vec()),
            ("one byte left", [&both[..], &[9]].concat()),
            ("wrong length for its kind", vec![1, 3, 1, 2, 3]),
            ("kind zero", vec![0, 0]),
        ] {
            assert_eq!(Attributes::parse(&malformed), Err(FormatError::Attributes), "{what}");
        }
    }

    #[test]
    fn f_15_kinds_of_a_later_version_are_skipped() {
        let parsed = Attributes::parse(&[1, 4, 1, 2, 3, 4, 77, 2, 0, 0]).unwrap();
        assert_eq!(parsed.iter().map(Checksum::algorithm).collect::<Vec<_>>(), [ChecksumAlgorithm::Crc32]);
    }

    #[test]
    fn f_54_the_announcement_of_a_carried_checksum_is_one_byte() {
        let full_object = UploadChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme);
        let announcing = Attributes::default().announcing(full_object);
        assert_eq!(*announcing.write(), [11, 1, 0x83]);
        assert_eq!(Attributes::parse(&[11, 1, 0x83]), Ok(announcing.clone()));
        assert_eq!(announcing.upload_checksum(), full_object);
        let composite = Attributes::parse(&[1, 4, 1, 2, 3, 4, 11, 1, 5, 200, 0]).unwrap();
        assert_eq!(composite.upload_checksum(), UploadChecksum::Composite(ChecksumAlgorithm::Sha256));
        let later = Attributes::parse(&[11, 1, 77]).unwrap();
        assert_eq!(later.upload_checksum(), UploadChecksum::Undeclared);
        assert_eq!(*later.write(), [11, 1, 77], "F-53");
        for malformed in [&[11, 0][..], &[11, 2, 1, 1]] {
            assert_eq!(Attributes::parse(malformed), Err(FormatError::Attributes));
        }
        let crc = Checksum::new(ChecksumAlgorithm::Crc32, &[5, 6, 7, 8]).unwrap();
        assert_eq!(*composite.replaced_by(crc).write(), [1, 4, 5, 6, 7, 8, 200, 0], "F-53");
    }

    #[test]
    fn f_53_kinds_of_a_later_version_are_written_again_in_their_place() {
        let bytes = [1, 4, 1, 2, 3, 4, 2, 4, 5, 6, 7, 8, 77, 2, 9, 9, 200, 0];
        assert_eq!(*Attributes::parse(&bytes).unwrap().write(), bytes);
    }

    #[test]
    fn an_attribute_has_the_length_of_its_kind() {
        assert!(Checksum::new(ChecksumAlgorithm::Sha256, &[0; 31]).is_none());
        assert!(Checksum::new(ChecksumAlgorithm::Sha256, &[0; 32]).is_some());
    }
}
