//! Determines the plaintext size of a listed object, and the suffix of its ETag: by arithmetic on the
//! listing's entry, otherwise by one request to the storage.
//!
//! It must not know the client's request or the listing's document. It promises that a listing does not fail
//! because of one object, and that a wrong size is never taken for a right one: an object that the proxy did
//! not write, or that is damaged, keeps its stored size; an object that was overwritten since it was listed
//! has the size of the object that replaced it; a deleted object is left out; and a size that can't be read
//! because the storage fails is an error.

mod completed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::header::{ETAG, HeaderValue, IF_MATCH, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};

use super::caches::ListedSize;
use super::foreign::{self, DetectedFormat, ForeignEnvelope, Source};
use super::layout::{self, Proven};
use super::location::{ObjectIdentity, ObjectLocation, ReceivedRange, etag_of, part_count, unquoted};
use super::native::OpenedNative;
use super::range::stored_range;
use super::rule::BucketRule;
use super::rule::formats::ReadFormat;
use crate::body::{self, BoxBody, BoxError};
use crate::envelope::native::multipart::{MultipartLength, layout_tail_length, multipart_plaintext_length};
use crate::envelope::{native, s3ec};
use crate::error::{Error, UnexpectedResponse};
use crate::keyring::KeyringError;
use crate::object::Resources;
use crate::s3::etag::{Hashed, bare};
use crate::s3::xml::{ClientEntry, ListedEntry};
use crate::s3::{BucketName, EtagStyle, ObjectKey};
use crate::upstream::{UpstreamError, UpstreamRequest};
use crate::wire::digest::digest_of_fields;

/// The maximum number of HEAD requests for a listed location when each response is about a different object.
const MAX_LOOKUPS: usize = 5;

/// The size of an object as far as the listing determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeEstimate {
    /// The number of plaintext bytes, if the proxy wrote the object.
    Known(u64),
    /// The listing does not determine the size.
    NeedsLookup(Lookup),
}

/// The request that determines the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// A HEAD for the object's metadata.
    Metadata,
    /// A GET of the object's last bytes: if the proxy wrote the object, they hold the layout of `parts`
    /// segments (F-42).
    Tail { parts: u16 },
}

/// Estimates the plaintext size of a native object from the listed ETag and stored length.
fn estimate(entry: &ListedEntry<'_>) -> SizeEstimate {
    let stored = entry.size;
    // Shorter than any native object: usually a folder marker.
    if stored < native::TAG as u64 {
        return SizeEstimate::Known(stored);
    }
    let length = if entry.has_digest() {
        native::plaintext_length(stored)
    } else {
        // Without a number of parts, the ETag does not show whether the object was written by one PUT.
        let Some(parts) = entry.etag().and_then(part_count) else {
            return SizeEstimate::NeedsLookup(Lookup::Metadata);
        };
        match multipart_plaintext_length(stored, parts) {
            Ok(MultipartLength::Exact(length)) => Ok(length),
            Ok(MultipartLength::NeedsLayout) => return SizeEstimate::NeedsLookup(Lookup::Tail { parts }),
            Err(error) => Err(error),
        }
    };
    length.map_or(SizeEstimate::NeedsLookup(Lookup::Metadata), SizeEstimate::Known)
}

/// Estimates the plaintext size of a listed object under its rule. If the rule reads several formats, only
/// the object's metadata show which format the object has.
fn estimate_under(rule: &BucketRule, entry: &ListedEntry<'_>) -> SizeEstimate {
    let formats = &rule.formats;
    match formats.read[..] {
        [ReadFormat::Native] => estimate(entry),
        [ReadFormat::S3ec] if !formats.s3ec.legacy && !entry.object().ends_with(s3ec::INSTRUCTION_SUFFIX) => {
            let length = s3ec::MessageBody::plaintext_length(entry.size);
            SizeEstimate::Known(length.unwrap_or(entry.size))
        }
        _ => SizeEstimate::NeedsLookup(Lookup::Metadata),
    }
}

/// The reason why a lookup found no size.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    /// The object was deleted since it was listed.
    #[error("the listed object is gone")]
    Gone,
    /// The object was overwritten since it was listed.
    #[error("the listed object has been replaced")]
    Replaced,
    /// The storage does not let the proxy read the object.
    #[error("the listed object can't be read")]
    Closed,
    /// The request failed, or the storage's response is invalid.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Determines the sizes for one listing of one bucket.
pub(crate) struct SizeReader {
    resources: Resources,
    bucket: BucketName,
    /// The rule of the bucket, if one applies to all its objects.
    rule: Option<BucketRule>,
    /// The client's headers that every request repeats for the storage to check: the expected bucket owner
    /// and the request payer.
    headers: HeaderMap,
}

/// The identity of one object in a listing.
pub(crate) struct Listed {
    object: ObjectKey,
    version_id: Option<String>,
    etag: Option<String>,
    stored: u64,
}

impl SizeReader {
    /// A reader for the objects of this bucket; `headers` are repeated in every request.
    pub(crate) fn new(resources: Resources, bucket: BucketName, headers: HeaderMap) -> Self {
        let rule = resources.policies.for_whole_bucket(&bucket).cloned();
        Self { resources, bucket, rule, headers }
    }

    /// The rule of a listed object; `None` if no rule serves it.
    fn rule(&self, entry: &ListedEntry<'_>) -> Option<&BucketRule> {
        let of_object = || self.resources.policies.for_object(&self.bucket, &entry.object_key()).ok();
        self.rule.as_ref().or_else(of_object)
    }

    /// Returns the size and the ETag suffix of one entry, or the lookup that determines them.
    pub(crate) fn view(self: &Arc<Self>, entry: &ListedEntry<'_>) -> body::EntryView {
        let Some(rule) = self.rule(entry) else {
            return body::EntryView::Known(ClientEntry { size: entry.size, etag_suffix: "" });
        };
        match estimate_under(rule, entry) {
            SizeEstimate::Known(size) if entry.has_digest() => {
                let etag_suffix = rule.etag.suffix_to_digest(Hashed::Ciphertext);
                body::EntryView::Known(ClientEntry { size, etag_suffix })
            }
            SizeEstimate::Known(size) => {
                body::EntryView::Known(rewritten_entry(ListedSize::encrypted(size), rule.etag, entry.etag()))
            }
            SizeEstimate::NeedsLookup(lookup) => {
                let listed = Listed {
                    object: entry.object_key(),
                    version_id: entry.version_id().map(str::to_owned),
                    etag: entry.etag().map(str::to_owned),
                    stored: entry.size,
                };
                let (style, etag) = (rule.etag, listed.etag.clone());
                let looked_up = Arc::clone(self).look_up(listed, lookup);
                body::EntryView::Lookup(Box::pin(async move {
                    let looked_up = looked_up.await?;
                    Ok(looked_up.map(|size| rewritten_entry(size, style, etag.as_deref())))
                }))
            }
        }
    }

    /// Reads the size from the cache, otherwise from the storage; concurrent callers for one object wait
    /// for one response. `None`: the object was deleted since it was listed.
    async fn look_up(
        self: Arc<Self>,
        listed: Listed,
        lookup: Lookup,
    ) -> Result<Option<ListedSize>, BoxError> {
        let fingerprint = listed.fingerprint(&self.bucket);
        let cache = &self.resources.size_cache.0;
        let outcome = cache.try_get_with(fingerprint, self.request_size(&listed, lookup)).await;
        match outcome {
            Ok(size) => Ok(Some(size)),
            Err(error) => match &*error {
                LookupError::Gone => Ok(None),
                LookupError::Closed => Ok(Some(self.closed_size(&listed).await)),
                LookupError::Replaced => self.size_now(listed).await.map_err(BoxError::from),
                LookupError::Failed(_) => Err(error.into()),
            },
        }
    }

    /// The size of the object that is at a listed location now; `None` if there is none.
    async fn size_now(&self, mut listed: Listed) -> Result<Option<ListedSize>, LookupError> {
        for _ in 0..MAX_LOOKUPS {
            let response = match self.send(&listed, self.at(&listed).request(Method::HEAD)).await {
                Ok(response) => response,
                Err(LookupError::Gone) => return Ok(None),
                Err(LookupError::Closed) => return Ok(Some(self.closed_size(&listed).await)),
                Err(error) => return Err(error),
            };
            let Ok(run) = ReceivedRange::from_head(response.headers()) else {
                return Ok(Some(ListedSize::encrypted(listed.stored)));
            };
            listed.etag = etag_of(response.headers()).map(str::to_owned);
            listed.stored = run.total;
            match self.size_from_response(response, &listed, Lookup::Metadata).await {
                Ok(size) => return Ok(Some(size)),
                Err(LookupError::Replaced) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Replaced.into())
    }

    fn at<'a>(&'a self, listed: &'a Listed) -> ObjectLocation<'a> {
        ObjectLocation {
            bucket: &self.bucket,
            object_key: &listed.object,
            version_id: listed.version_id.as_deref().filter(|version| !version.is_empty()),
            headers: self.headers.clone(),
        }
    }

    /// Requests the size from the storage.
    async fn request_size(&self, listed: &Listed, lookup: Lookup) -> Result<ListedSize, LookupError> {
        metrics::counter!("s3veil_listing_extra_reads_total").increment(1);
        let request = match lookup {
            Lookup::Metadata => self.at(listed).request(Method::HEAD),
            Lookup::Tail { parts } => {
                let mut request = self.at(listed).request(Method::GET);
                let first = listed.stored.saturating_sub(layout_tail_length(parts));
                request.headers.insert(RANGE, stored_range(first, listed.stored - 1));
                if let Some(etag) = listed.etag.as_deref().and_then(quoted) {
                    request.headers.insert(IF_MATCH, etag);
                }
                request
            }
        };
        let response = self.send(listed, request).await?;
        self.size_from_response(response, listed, lookup).await
    }

    /// Sends a request about a listed object. Returns the response if its status is one of success.
    async fn send(
        &self,
        listed: &Listed,
        request: UpstreamRequest,
    ) -> Result<Response<BoxBody>, LookupError> {
        let sent = self.resources.upstreams.send(request).await;
        if matches!(sent, Err(UpstreamError::HeadTooLarge)) {
            return Err(LookupError::Closed);
        }
        let response = sent.map_err(Error::from)?;
        readable(response.status(), listed)?;
        Ok(response)
    }

    /// Reads the size from the response to `lookup`. An object that the proxy did not write, or that can't be
    /// opened, has its stored size.
    async fn size_from_response(
        &self,
        response: Response<BoxBody>,
        listed: &Listed,
        lookup: Lookup,
    ) -> Result<ListedSize, LookupError> {
        match self.parse_response(response, listed, lookup).await {
            Err(LookupError::Failed(error)) if error.is_replaced() => Err(LookupError::Replaced),
            Err(LookupError::Failed(error)) if concerns_object(&error) => {
                Ok(ListedSize::encrypted(listed.stored))
            }
            outcome => outcome,
        }
    }

    /// Reads the size from the response to `lookup`, without a fallback to the stored size.
    async fn parse_response(
        &self,
        response: Response<BoxBody>,
        listed: &Listed,
        lookup: Lookup,
    ) -> Result<ListedSize, LookupError> {
        let at = &self.at(listed);
        let (head, body) = response.into_parts();
        let run = match lookup {
            Lookup::Metadata => ReceivedRange::from_head(&head.headers),
            Lookup::Tail { .. } => ReceivedRange::from_response(head.status, &head.headers, &body),
        };
        let run = run.map_err(|_| LookupError::Closed)?;
        if !listed.is(&head.headers, run.total) {
            return Err(LookupError::Replaced);
        }
        let rule = self.resources.policies.for_object(&self.bucket, &listed.object)?;
        let stored = match foreign::detect(rule, &head.headers)? {
            DetectedFormat::Native(stored) => stored,
            DetectedFormat::Foreign(claims) => {
                let source = Source { resources: &self.resources, rule, at };
                let etag = etag_of(&head.headers).ok_or(LookupError::Closed)?;
                let foreign = ForeignEnvelope::resolve(&source, claims, run.total).await?;
                let size = foreign.length(&source, etag, run.total).await?;
                return Ok(ListedSize { size, hashed: foreign.hashed() });
            }
        };
        if let Some(length) = stored.envelope().body().put_length(run.total).map_err(Error::from)? {
            return Ok(ListedSize::encrypted(length));
        }
        let identity = ObjectIdentity::from_headers(&head.headers, &stored, run.total)?;
        if let Some(length) = identity.plaintext_total().map_err(Error::from)? {
            return Ok(ListedSize::encrypted(length));
        }
        let keyring = &self.resources.keyring;
        let name = (&self.bucket, &listed.object);
        if stored.envelope().has_customer_key() {
            let (end_key, _) = stored.unlock_end(keyring, rule, name).await?;
            let tail = match lookup {
                Lookup::Metadata => None,
                Lookup::Tail { .. } => Some((run, body)),
            };
            let length = layout::length_by_end_key(&self.resources, at, &identity, &end_key, tail).await?;
            return Ok(ListedSize::encrypted(length));
        }
        let OpenedNative { opened, .. } = stored.unlock(keyring, rule, name, None).await?;
        let content_key = opened.content_key;
        let known = match lookup {
            Lookup::Metadata => layout::layout_of(&self.resources, at, &identity, &content_key).await?,
            Lookup::Tail { parts } => {
                let length = layout_tail_length(parts);
                let proven = async {
                    let first = run.total.checked_sub(length).ok_or(native::FormatError::Length)?;
                    let tail = layout::read_run(body, run, first, length).await?;
                    Ok(Proven::from_tail(&content_key, &tail, run.total, parts)?)
                };
                layout::remember(&self.resources, at, &identity, proven).await?
            }
        };
        Ok(ListedSize::encrypted(known.layout.plaintext_total()))
    }
}

/// The entry that clients see, for an object with this size and this upstream ETag.
fn rewritten_entry(listed: ListedSize, style: EtagStyle, etag: Option<&str>) -> ClientEntry {
    let etag_suffix = etag.map_or("", |etag| style.suffix(bare(etag), listed.hashed));
    ClientEntry { size: listed.size, etag_suffix }
}

/// Checks that a response with this status describes the listed object.
fn readable(status: StatusCode, listed: &Listed) -> Result<(), LookupError> {
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(()),
        StatusCode::NOT_FOUND => Err(LookupError::Gone),
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => Err(LookupError::Replaced),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
            Err(LookupError::Closed)
        }
        status if status.is_server_error() => Err(Error::UpstreamFailed { status: status.as_u16() }.into()),
        status => {
            tracing::debug!(%status, object_key = ?listed.object, "unexpected status for a listed object");
            Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("HeadObject")).into())
        }
    }
}

/// Whether an error means that the proxy did not write the object, or can't open it; and not that the storage
/// or the key service failed.
fn concerns_object(error: &Error) -> bool {
    match error {
        Error::Shared(error) => concerns_object(error),
        Error::Refused(_)
        | Error::UpstreamDenied { .. }
        | Error::Format(_)
        | Error::Stream(_)
        | Error::S3ec(_)
        | Error::Unreadable(_)
        | Error::NotReadable { .. }
        | Error::MalformedWrappedKey
        | Error::PartsUnknown => true,
        Error::Keyring(refused) => {
            matches!(
                refused,
                KeyringError::InvalidCiphertext
                    | KeyringError::IncorrectKey
                    | KeyringError::KeyMissing { .. }
            ) || error.to_s3().status().is_client_error()
        }
        Error::Unauthenticated(_)
        | Error::Ingest(_)
        | Error::Upstream(_)
        | Error::UpstreamBody(_)
        | Error::UnexpectedResponse(_)
        | Error::PassThrough(_)
        | Error::UpstreamFailed { .. }
        | Error::Unsettled
        | Error::UpstreamRedirect { .. }
        | Error::UpstreamCredentials { .. }
        | Error::Panicked
        | Error::Replaced => false,
    }
}

/// An ETag in quotes, as a header value.
fn quoted(etag: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{}\"", unquoted(etag))).ok()
}

impl Listed {
    /// The cache key of a size: a digest of all that identifies the stored bytes, so that a long object key
    /// takes no more memory than a short one.
    fn fingerprint(&self, bucket: &BucketName) -> [u8; 32] {
        let version = self.version_id.as_deref().unwrap_or_default();
        let etag = self.etag.as_deref().unwrap_or_default();
        let names = [bucket.as_str(), self.object.as_str(), version, etag].map(str::as_bytes);
        let [bucket, object, version, etag] = names;
        digest_of_fields([bucket, object, version, etag, &self.stored.to_be_bytes()])
    }

    /// Whether a response with these headers, for an object of `stored_total` bytes, is about the listed
    /// object.
    fn is(&self, metadata: &HeaderMap, stored_total: u64) -> bool {
        let etag = metadata.get(ETAG).and_then(|value| value.to_str().ok());
        let etags = etag.zip(self.etag.as_deref());
        stored_total == self.stored && etags.is_none_or(|(found, listed)| unquoted(found) == unquoted(listed))
    }
}
