//! What every answer has in common: nothing of ours shows, and the client learns that the object is encrypted.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, HeaderValue};

use super::layouts::KnownLayout;
use super::wanted::Wanted;
use crate::envelope::native::{
    Attribute, AttributeTag, Attributes, FormatError, SseAlgorithm, UploadChecksum,
};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{Checksum, ChecksumAlgorithm, EtagStyle, Hashed, headers};

const SERVER_SIDE_ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY_ID: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// Keeps what S3 says, without what must not be seen.
pub(super) fn clean(headers: &mut HeaderMap) {
    headers::keep_s3_headers(headers);
}

/// Sets the response headers that report the object's encryption, with the algorithm that its writer
/// requested. As on S3, only `aws:kms` has a key.
pub(super) fn tell_encrypted(headers: &mut HeaderMap, sse: SseAlgorithm, key_id: Option<&str>) {
    headers.remove(KMS_KEY_ID);
    let (algorithm, key_id) = match sse {
        SseAlgorithm::AwsKms => ("aws:kms", key_id),
        SseAlgorithm::Aes256 => ("AES256", None),
    };
    headers.insert(SERVER_SIDE_ENCRYPTION, HeaderValue::from_static(algorithm));
    if let Some(value) = key_id.and_then(|key_id| HeaderValue::from_str(key_id).ok()) {
        headers.insert(KMS_KEY_ID, value);
    }
}

/// The ETag as clients know it, in place of the storage's.
pub(super) fn tell_etag(headers: &mut HeaderMap, style: EtagStyle, hashed: Hashed) {
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
    let told = etag.and_then(|etag| HeaderValue::try_from(style.to_client(etag, hashed)).ok());
    if let Some(told) = told {
        headers.insert(ETAG, told);
    }
}

/// The checksums of the whole plaintext, as S3 gives them.
pub(super) fn tell_checksums(headers: &mut HeaderMap, checksums: &[Checksum]) {
    for checksum in checksums {
        tell_checksum(headers, &ObjectChecksum::from(*checksum));
    }
}

/// The checksum of an object, and of what it is one.
pub(super) fn tell_checksum(headers: &mut HeaderMap, checksum: &ObjectChecksum) {
    let value = HeaderValue::from_str(&checksum.to_string()).expect("base64 is a header value");
    headers.insert(HeaderName::from_static(checksum.value.algorithm().header()), value);
    headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.kind().token()));
}

/// Returns the checksums that are kept with an object: those of its envelope, otherwise the one that its
/// last segment carries (F-54), which is unknown for a layout that was not read.
///
/// # Errors
/// A format error when the carried value is not a valid checksum.
pub(super) fn kept_checksums(
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
pub(super) fn may_carry_checksum(attributes: &Attributes) -> bool {
    attributes.iter().next().is_none() && attributes.upload_checksum() != UploadChecksum::Undeclared
}

/// The plaintext's length in place of the stored one.
pub(super) fn tell_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// Whether the client asked for checksums, and for all of the object, which alone has them.
pub(super) fn wants_checksums(request: &HeaderMap, wanted: &Wanted) -> bool {
    *wanted == Wanted::Whole
        && request
            .get("x-amz-checksum-mode")
            .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"))
}

/// Checksums as they are sealed into an envelope.
pub(super) fn to_attributes(checksums: &[Checksum]) -> Attributes {
    Attributes::new(checksums.iter().map(to_attribute).collect())
}

/// One of them.
pub(super) fn to_attribute(checksum: &Checksum) -> Attribute {
    Attribute::new(tag(checksum.algorithm()), checksum.bytes())
        .expect("a checksum has its algorithm's length")
}

/// A checksum out of an envelope or a part's mark.
pub(super) fn from_attribute(attribute: &Attribute) -> Checksum {
    Checksum::new(algorithm(attribute.tag()), attribute.value()).expect("an attribute has its kind's length")
}

/// The algorithm as an envelope names it.
pub(super) fn tag(algorithm: ChecksumAlgorithm) -> AttributeTag {
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
pub(super) fn algorithm(tag: AttributeTag) -> ChecksumAlgorithm {
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
