//! Checksums between the envelope's attributes and the headers of S3.
//!
//! It must not know requests or responses. No checksum is returned that was not authenticated.

use super::layout::KnownLayout;
use crate::envelope::native::{Attribute, AttributeTag, Attributes, FormatError, UploadChecksum};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{Checksum, ChecksumAlgorithm};

/// Returns the checksums that are kept with an object: those of its envelope, otherwise the one that its
/// last segment carries (F-54), which is unknown for a layout that was not read.
///
/// # Errors
/// A format error when the carried value is not a valid checksum.
pub(crate) fn kept_checksums(
    attributes: &Attributes,
    layout: Option<&KnownLayout>,
) -> Result<Vec<ObjectChecksum>, FormatError> {
    let known: Vec<_> = attributes.iter().map(from_attribute).map(ObjectChecksum::from).collect();
    let carried = layout.and_then(|known| Some((known, known.checksum?)));
    match (attributes.upload_checksum(), carried) {
        (UploadChecksum::FullObject(tag), Some((_, carried))) if known.is_empty() => {
            Ok(vec![from_attribute(&carried.read_as(tag)?).into()])
        }
        (UploadChecksum::Composite(tag), Some((of, carried))) if known.is_empty() => {
            let value = from_attribute(&carried.read_as(tag)?);
            Ok(vec![ObjectChecksum { value, parts: Some(of.layout.parts().len()) }])
        }
        (UploadChecksum::Undeclared | UploadChecksum::FullObject(_) | UploadChecksum::Composite(_), _) => {
            Ok(known)
        }
    }
}

/// Whether the last segment has to be looked at for the object's checksum.
pub(crate) fn may_carry_checksum(attributes: &Attributes) -> bool {
    attributes.iter().next().is_none() && attributes.upload_checksum() != UploadChecksum::Undeclared
}

/// Checksums as they are sealed into an envelope.
pub(crate) fn to_attributes(checksums: &[Checksum]) -> Attributes {
    Attributes::new(checksums.iter().map(to_attribute).collect())
}

/// One of them.
pub(crate) fn to_attribute(checksum: &Checksum) -> Attribute {
    Attribute::new(tag(checksum.algorithm()), checksum.bytes())
        .expect("a checksum has its algorithm's length")
}

/// A checksum out of an envelope or a part's mark.
pub(crate) fn from_attribute(attribute: &Attribute) -> Checksum {
    Checksum::new(algorithm(attribute.tag()), attribute.value()).expect("an attribute has its kind's length")
}

/// The algorithm as an envelope names it.
pub(crate) fn tag(algorithm: ChecksumAlgorithm) -> AttributeTag {
    match algorithm {
        ChecksumAlgorithm::Crc32 => AttributeTag::Crc32,
        ChecksumAlgorithm::Crc32c => AttributeTag::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => AttributeTag::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => AttributeTag::Sha1,
        ChecksumAlgorithm::Sha256 => AttributeTag::Sha256,
        ChecksumAlgorithm::Sha512 => AttributeTag::Sha512,
        ChecksumAlgorithm::Md5 => AttributeTag::Md5,
        ChecksumAlgorithm::XxHash64 => AttributeTag::XxHash64,
        ChecksumAlgorithm::XxHash3 => AttributeTag::XxHash3,
        ChecksumAlgorithm::XxHash128 => AttributeTag::XxHash128,
    }
}

/// The algorithm as S3 names it.
pub(crate) fn algorithm(tag: AttributeTag) -> ChecksumAlgorithm {
    match tag {
        AttributeTag::Crc32 => ChecksumAlgorithm::Crc32,
        AttributeTag::Crc32c => ChecksumAlgorithm::Crc32c,
        AttributeTag::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        AttributeTag::Sha1 => ChecksumAlgorithm::Sha1,
        AttributeTag::Sha256 => ChecksumAlgorithm::Sha256,
        AttributeTag::Sha512 => ChecksumAlgorithm::Sha512,
        AttributeTag::Md5 => ChecksumAlgorithm::Md5,
        AttributeTag::XxHash64 => ChecksumAlgorithm::XxHash64,
        AttributeTag::XxHash3 => ChecksumAlgorithm::XxHash3,
        AttributeTag::XxHash128 => ChecksumAlgorithm::XxHash128,
    }
}
