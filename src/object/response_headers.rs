//! Response headers that describe an encrypted object to its client.
//!
//! It must not know operations. Headers of the storage that would describe ciphertext are replaced.

use std::cell::RefCell;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue};

use crate::envelope::native::SseAlgorithm;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{Checksum, EtagStyle, Hashed, headers};
use crate::wire::header::{name, text};

/// Removes every header that S3 does not have and every header that clients must not see.
pub(crate) fn retain_s3(headers: &mut HeaderMap) {
    headers::keep_s3_headers(headers);
}

/// As [`retain_s3`], and removes the headers that say which stored bytes a response has.
pub(crate) fn retain_object(headers: &mut HeaderMap) {
    headers::keep_object_headers(headers);
}

/// Sets the response headers that report the object's encryption, with the algorithm that its writer
/// requested. As on S3, only `aws:kms` has a key, and a customer key is reported by headers of its own
/// alone.
pub(crate) fn set_sse(headers: &mut HeaderMap, sse: SseAlgorithm, key_id: Option<&str>) {
    let (algorithm, key_id) = match sse {
        SseAlgorithm::AwsKms => ("aws:kms", key_id),
        SseAlgorithm::Aes256 => ("AES256", None),
        SseAlgorithm::CustomerKey => {
            headers.remove(&name::SSE);
            headers.remove(&name::SSE_KMS_KEY_ID);
            return;
        }
    };
    headers.insert(&name::SSE, HeaderValue::from_static(algorithm));
    match key_id.and_then(key_id_value) {
        Some(value) => _ = headers.insert(&name::SSE_KMS_KEY_ID, value),
        None => _ = headers.remove(&name::SSE_KMS_KEY_ID),
    }
}

thread_local! {
    /// The name of the key in the latest response of this thread.
    static LATEST_KEY_ID: RefCell<Option<HeaderValue>> = const { RefCell::new(None) };
}

/// The value for the name of a key, which the responses of a thread share if one follows another. `None` for
/// characters that no header takes.
fn key_id_value(key_id: &str) -> Option<HeaderValue> {
    LATEST_KEY_ID.with_borrow_mut(|latest| {
        let known = latest.take().filter(|value| value.as_bytes() == key_id.as_bytes());
        *latest = known.or_else(|| HeaderValue::from_str(key_id).ok());
        latest.clone()
    })
}

/// Replaces the storage's ETag by the ETag in the client's style.
pub(crate) fn set_etag(headers: &mut HeaderMap, style: EtagStyle, hashed: Hashed) {
    let Some(etag) = headers.get_mut(ETAG) else { return };
    let styled = text(etag).and_then(|etag| HeaderValue::try_from(style.to_client(etag, hashed)).ok());
    if let Some(styled) = styled {
        *etag = styled;
    }
}

/// Sets the checksums of the whole plaintext.
pub(crate) fn set_checksums(headers: &mut HeaderMap, checksums: &[Checksum]) {
    for checksum in checksums {
        set_checksum(headers, &ObjectChecksum::from(*checksum));
    }
}

/// Sets a checksum of an object and the checksum's type: of the whole object, or composite.
pub(crate) fn set_checksum(headers: &mut HeaderMap, checksum: &ObjectChecksum) {
    headers.insert(checksum.value.algorithm().header_name(), checksum.header_value());
    headers.insert(&name::CHECKSUM_TYPE, HeaderValue::from_static(checksum.kind().token()));
}

/// Replaces the stored length by the plaintext's length.
pub(crate) fn set_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}
