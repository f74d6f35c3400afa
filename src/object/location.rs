//! A stored object as answers of the storage speak of it: where it is, which one it is, and which of its bytes came.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_MATCH};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body::Body;

use super::native::NativeMetadata;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::FormatError;
use crate::envelope::native::multipart::{MAX_PARTS, MultipartLength, multipart_plaintext_length};
use crate::error::{Error, UnexpectedResponse};
use crate::s3::{BucketName, ByteRange, ErrorCode, ObjectKey, S3Error, xml};
use crate::upstream::UpstreamRequest;
use crate::wire::digest::digest_of_fields;
use crate::wire::header::{EXPECTED_BUCKET_OWNER, REQUEST_PAYER};

/// What of the client's request goes along with every further question about an object.
const ACCOUNT_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static(EXPECTED_BUCKET_OWNER), HeaderName::from_static(REQUEST_PAYER)];

/// Where an object is.
#[derive(Debug, Clone)]
pub(crate) struct ObjectLocation<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    /// `None`: the newest.
    pub(crate) version_id: Option<&'a str>,
    /// What the client wants the storage to check in every request.
    pub(crate) headers: HeaderMap,
}

impl<'a> ObjectLocation<'a> {
    /// The object that a request with this query and these headers is about.
    pub(crate) fn of_request(
        bucket: &'a BucketName,
        object_key: &'a ObjectKey,
        query: &'a [(String, Option<String>)],
        headers: &HeaderMap,
    ) -> Self {
        let version_id = query.iter().find(|(name, _)| name == "versionId");
        let version_id = version_id.and_then(|(_, value)| value.as_deref());
        Self { bucket, object_key, version_id, headers: account_headers(headers) }
    }

    /// A question about the object.
    pub(crate) fn request(&self, method: Method) -> UpstreamRequest {
        let version = self.version_id.map(|version| ("versionId".to_owned(), Some(version.to_owned())));
        let mut request = UpstreamRequest::new(method, self.bucket, self.object_key);
        request.query.extend(version);
        request.headers = self.headers.clone();
        request
    }

    /// SHA-256 over the place, of one size whatever the key's.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let version = self.version_id.unwrap_or_default();
        digest_of_fields([self.bucket.as_str(), self.object_key.as_str(), version].map(str::as_bytes))
    }
}

/// What of the client's request goes along with every further question.
pub(crate) fn account_headers(request: &HeaderMap) -> HeaderMap {
    let names = ACCOUNT_HEADERS.into_iter();
    names.filter_map(|name| Some((name.clone(), request.get(&name)?.clone()))).collect()
}

/// Which object an answer is about. Two answers with one identity speak of the same bytes, also if the storage gives
/// two objects one ETag: the envelope is the object's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectIdentity {
    /// Without quotes.
    etag: String,
    /// Stored bytes of the whole object.
    pub(crate) stored_total: u64,
    envelope: [u8; 32],
}

impl ObjectIdentity {
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn of(headers: &HeaderMap, stored: &NativeMetadata, stored_total: u64) -> Result<Self, Error> {
        let etag = etag_of(headers)
            .ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))?
            .to_owned();
        let envelope = digest_of_fields([stored.envelope().to_header().as_bytes()]);
        Ok(Self { etag, stored_total, envelope })
    }

    /// The number of segments that the ETag claims (F-30); `None` if it claims none.
    pub(crate) fn parts(&self) -> Option<u16> {
        part_count(&self.etag)
    }

    /// Plaintext bytes of a multipart upload, as far as stored length and ETag say (F-38); `None`: its layout says it.
    ///
    /// # Errors
    /// A format error when there is no such body.
    pub(crate) fn plaintext_total(&self) -> Result<Option<u64>, FormatError> {
        let Some(parts) = self.parts() else { return Ok(None) };
        match multipart_plaintext_length(self.stored_total, parts)? {
            MultipartLength::Exact(length) => Ok(Some(length)),
            MultipartLength::NeedsLayout => Ok(None),
        }
    }

    /// Makes a request fail when the object is another one by now.
    pub(crate) fn pin(&self, request: &mut HeaderMap) {
        let value = HeaderValue::try_from(format!("\"{}\"", self.etag)).expect("it came in a header");
        request.insert(IF_MATCH, value);
    }

    /// Whether an answer of so many stored bytes in all could be about this object. Not every storage knows If-Match.
    pub(crate) fn may_be(&self, headers: &HeaderMap, stored_total: u64) -> bool {
        etag_of(headers) == Some(&*self.etag) && stored_total == self.stored_total
    }

    /// SHA-256 over the identity of the object at this place.
    pub(crate) fn fingerprint(&self, at: &ObjectLocation<'_>) -> [u8; 32] {
        let total = self.stored_total.to_be_bytes();
        digest_of_fields([&at.fingerprint()[..], self.etag.as_bytes(), &total, &self.envelope])
    }
}

/// What the storage means that refuses (403) to read an object which its own answer to HEAD describes.
pub(crate) async fn unreadable(refusal: Response<BoxBody>) -> Error {
    let document = read_bounded(refusal.into_body(), xml::MAX_ERROR_DOCUMENT).await.unwrap_or_default();
    let archived = ErrorCode::InvalidObjectState;
    match xml::parse_error_document(&document) {
        Ok(told) if told.code == archived.code() => S3Error::from(archived).into(),
        Ok(_) | Err(_) => Error::UnexpectedResponse(UnexpectedResponse::Refusal("GetObject")),
    }
}

/// The ETag of an answer, without quotes.
pub(crate) fn etag_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(unquoted)
}

/// S3 quotes ETags; some stores do so in headers only.
pub(crate) fn unquoted(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// The parts of a multipart upload, which S3 writes behind the hash in its ETag.
pub(crate) fn part_count(etag: &str) -> Option<u16> {
    let (_, count) = unquoted(etag).rsplit_once('-')?;
    let is_canonical = count.bytes().all(|byte| byte.is_ascii_digit()) && !count.starts_with('0');
    count.parse().ok().filter(|count| is_canonical && (1..=MAX_PARTS).contains(count))
}

/// The run of stored bytes that an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceivedRange {
    /// Stored bytes of the whole object.
    pub(crate) total: u64,
    /// Offset of the first stored byte in the answer.
    pub(crate) first: u64,
    /// Whether it is a part of the object.
    pub(crate) partial: bool,
}

impl ReceivedRange {
    /// The run of an answer to GET.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] when it does not say which bytes it holds.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, body: &BoxBody) -> Result<Self, Error> {
        if status == StatusCode::PARTIAL_CONTENT {
            let (range, total) = headers
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .and_then(ByteRange::parse_content_range)
                .ok_or(Error::UnexpectedResponse(UnexpectedResponse::Invalid("Content-Range")))?;
            return Ok(Self { total, first: range.first(), partial: true });
        }
        let total = content_length(headers).or_else(|| body.size_hint().exact());
        let total = total.ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("Content-Length")))?;
        Ok(Self { total, first: 0, partial: false })
    }

    /// The whole object, as a HEAD describes it.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] when it does not say how long the object is.
    pub(crate) fn of_head(headers: &HeaderMap) -> Result<Self, Error> {
        let total = content_length(headers)
            .ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("Content-Length")))?;
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
