//! A stored object as the storage's responses describe it: its location, its identity, and the range of its
//! bytes that a response holds.
//!
//! It must not know client requests or keys. Responses with equal identities are about the same stored bytes.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_MATCH};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body::Body;
use memchr::memrchr;

use super::native::NativeMetadata;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::FormatError;
use crate::envelope::native::multipart::{MAX_PARTS, MultipartLength, multipart_plaintext_length};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::s3::{BucketName, ByteRange, ErrorCode, ObjectKey, S3Error, xml};
use crate::upstream::UpstreamRequest;
use crate::wire::digest::digest_of_fields;
use crate::wire::header::name::{EXPECTED_BUCKET_OWNER, REQUEST_PAYER};

/// Client headers that are repeated in every internal request about an object.
static ACCOUNT_HEADERS: [&HeaderName; 2] = [&EXPECTED_BUCKET_OWNER, &REQUEST_PAYER];

/// The bucket, key and version of an object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectLocation<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    /// `None`: the newest version.
    pub(crate) version_id: Option<&'a str>,
    /// The client's headers that the storage has to check in every request.
    pub(crate) headers: HeaderMap,
}

impl<'a> ObjectLocation<'a> {
    /// The object that a request with this query and these headers addresses.
    pub(crate) fn from_request(
        bucket: &'a BucketName,
        object_key: &'a ObjectKey,
        query: &'a [(String, Option<String>)],
        headers: &HeaderMap,
    ) -> Self {
        let version_id = query.iter().find(|(name, _)| name == "versionId");
        let version_id = version_id.and_then(|(_, value)| value.as_deref());
        Self { bucket, object_key, version_id, headers: account_headers(headers) }
    }

    /// A new request to the storage about this object.
    pub(crate) fn request(&self, method: Method) -> UpstreamRequest {
        let version = self.version_id.map(|version| ("versionId".to_owned(), Some(version.to_owned())));
        let mut request = UpstreamRequest::new(method, self.bucket, self.object_key);
        request.query.extend(version);
        request.headers = self.headers.clone();
        request
    }

    /// SHA-256 over bucket, key and version: a cache key of constant size.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let version = self.version_id.unwrap_or_default();
        digest_of_fields([self.bucket.as_str(), self.object_key.as_str(), version].map(str::as_bytes))
    }
}

/// The headers of the client's request that are repeated in every internal request about its object.
pub(crate) fn account_headers(request: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in ACCOUNT_HEADERS {
        if let Some(value) = request.get(name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

/// The object that a response is about. Responses with equal identities are about the same stored bytes, even
/// if the storage gives two objects one ETag, because no two objects have the same envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectIdentity {
    /// The ETag without quotes.
    etag: String,
    /// Stored bytes of the whole object.
    pub(crate) stored_total: u64,
    envelope: [u8; 32],
}

impl ObjectIdentity {
    /// The identity of the native object that these response headers describe.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn from_headers(headers: &HeaderMap, stored: &NativeMetadata, total: u64) -> Result<Self> {
        let etag = etag_of(headers).ok_or(UnexpectedResponse::Missing("ETag"))?.to_owned();
        let envelope = digest_of_fields([stored.envelope().to_header().as_bytes()]);
        Ok(Self { etag, stored_total: total, envelope })
    }

    /// The number of segments that the ETag claims (F-30); `None` for an ETag without a number.
    pub(crate) fn parts(&self) -> Option<u16> {
        part_count(&self.etag)
    }

    /// Plaintext bytes of a multipart upload, computed from stored length and ETag (F-38); `None` where only
    /// the layout determines the length.
    ///
    /// # Errors
    /// A format error when no multipart body has this length and number of parts.
    pub(crate) fn plaintext_total(&self) -> Result<Option<u64>, FormatError> {
        let Some(parts) = self.parts() else { return Ok(None) };
        match multipart_plaintext_length(self.stored_total, parts)? {
            MultipartLength::Exact(length) => Ok(Some(length)),
            MultipartLength::NeedsLayout => Ok(None),
        }
    }

    /// Makes a request fail when the object was replaced meanwhile.
    pub(crate) fn pin(&self, request: &mut HeaderMap) {
        let value = HeaderValue::try_from(format!("\"{}\"", self.etag)).expect("the ETag was a header value");
        request.insert(IF_MATCH, value);
    }

    /// Whether a response about an object of `stored_total` bytes may be about this object. Not every storage
    /// supports If-Match.
    pub(crate) fn may_be(&self, headers: &HeaderMap, stored_total: u64) -> bool {
        etag_of(headers) == Some(&*self.etag) && stored_total == self.stored_total
    }

    /// SHA-256 over the location and the identity of the object.
    pub(crate) fn fingerprint(&self, at: &ObjectLocation<'_>) -> [u8; 32] {
        let total = self.stored_total.to_be_bytes();
        digest_of_fields([&at.fingerprint()[..], self.etag.as_bytes(), &total, &self.envelope])
    }
}

/// The error for a refusal (403) to read an object that the storage described in response to HEAD: an
/// archived object, or an unexpected response.
pub(crate) async fn unreadable(refusal: Response<BoxBody>) -> Error {
    let document = read_bounded(refusal.into_body(), xml::MAX_ERROR_DOCUMENT).await.unwrap_or_default();
    let archived = ErrorCode::InvalidObjectState;
    match xml::parse_error_document(&document) {
        Ok(error) if error.code == archived.code() => S3Error::from(archived).into(),
        Ok(_) | Err(_) => Error::UnexpectedResponse(UnexpectedResponse::Refusal("GetObject")),
    }
}

/// The ETag of a response, without quotes.
pub(crate) fn etag_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(unquoted)
}

/// The ETag without the quotes that S3 writes around ETags. Some storages quote ETags in headers only.
pub(crate) fn unquoted(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// The number of parts of a multipart upload, which S3 writes after the hash in the ETag.
pub(crate) fn part_count(etag: &str) -> Option<u16> {
    let etag = unquoted(etag);
    let count = &etag[memrchr(b'-', etag.as_bytes())? + 1..];
    let is_canonical = count.bytes().all(|byte| byte.is_ascii_digit()) && !count.starts_with('0');
    count.parse().ok().filter(|count| is_canonical && (1..=MAX_PARTS).contains(count))
}

/// The range of stored bytes that a response holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceivedRange {
    /// Stored bytes of the whole object.
    pub(crate) total: u64,
    /// Offset of the first stored byte in the response.
    pub(crate) first: u64,
    /// Whether the response has the status 206, and so may hold a part of the object only.
    pub(crate) partial: bool,
}

impl ReceivedRange {
    /// The range that a response to GET holds.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] when the response does not declare which bytes it holds.
    pub(crate) fn from_response(status: StatusCode, headers: &HeaderMap, body: &BoxBody) -> Result<Self> {
        if status == StatusCode::PARTIAL_CONTENT {
            let (range, total) = headers
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .and_then(ByteRange::parse_content_range)
                .ok_or(UnexpectedResponse::Invalid("Content-Range"))?;
            return Ok(Self { total, first: range.first(), partial: true });
        }
        let total = content_length(headers).or_else(|| body.size_hint().exact());
        let total = total.ok_or(UnexpectedResponse::Missing("Content-Length"))?;
        Ok(Self { total, first: 0, partial: false })
    }

    /// The range of the whole object, which a response to HEAD describes.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] when the response does not declare the object's length.
    pub(crate) fn from_head(headers: &HeaderMap) -> Result<Self> {
        let total = content_length(headers).ok_or(UnexpectedResponse::Missing("Content-Length"))?;
        Ok(Self { total, first: 0, partial: false })
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_counts() {
        for (etag, count) in [
            ("\"d41d8cd98f00b204e9800998ecf8427e-1\"", Some(1)),
            ("d41d8cd98f00b204e9800998ecf8427e-10000", Some(10_000)),
            ("\"d41d8cd98f00b204e9800998ecf8427e\"", None),
            ("\"d41d8cd98f00b204e9800998ecf8427e-0\"", None),
            ("\"d41d8cd98f00b204e9800998ecf8427e-01\"", None),
            ("\"d41d8cd98f00b204e9800998ecf8427e-10001\"", None),
            ("\"d41d8cd98f00b204e9800998ecf8427e-\"", None),
            ("\"d41d8cd98f00b204e9800998ecf8427e-+1\"", None),
            ("\"6f2ce3a0-5a1b-4c56-9d6e-112233445566\"", None),
            ("", None),
        ] {
            assert_eq!(part_count(etag), count, "{etag}");
        }
    }
}
