//! How large a listed object is to its readers, and what its ETag is: arithmetic on what the listing says,
//! else one question to the storage.
//!
//! A listing does not fail because of one object: an object that is not ours, or is damaged, keeps the size
//! that it has in the storage. An object that was overwritten since it was listed has the size of the
//! object that replaced it; a deleted object is left out. A size that could not be read because the storage
//! is in trouble is an error, so that a wrong size is never taken for a right one.

mod completed;

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
use crate::s3::etag::bare;
use crate::s3::xml::{ClientEntry, ListedEntry};
use crate::s3::{BucketName, EtagStyle, ObjectKey};
use crate::upstream::{UpstreamError, UpstreamRequest};
use crate::wire::digest::digest_of_fields;

/// How often the object at a listed place is looked at when each look finds another object.
const MAX_LOOKS: usize = 5;

/// What a listing alone says of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeEstimate {
    /// So many bytes of plaintext, if the object is ours.
    Known(u64),
    /// Not enough.
    NeedsLookup(Lookup),
}

/// What tells the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// The object's metadata.
    Metadata,
    /// Its last bytes: if it is ours, they hold the layout of so many segments (F-42).
    Tail { parts: u16 },
}

/// The plaintext's length, from the ETag and the stored length that a listing gives.
fn estimate(etag: Option<&str>, stored: u64) -> SizeEstimate {
    // Shorter than any object of ours: a folder's marker, mostly.
    if stored < native::TAG as u64 {
        return SizeEstimate::Known(stored);
    }
    let Some(etag) = etag else { return SizeEstimate::NeedsLookup(Lookup::Metadata) };
    match part_count(etag) {
        Some(parts) => match multipart_plaintext_length(stored, parts) {
            Ok(MultipartLength::Exact(length)) => SizeEstimate::Known(length),
            Ok(MultipartLength::NeedsLayout) => SizeEstimate::NeedsLookup(Lookup::Tail { parts }),
            Err(_) => SizeEstimate::NeedsLookup(Lookup::Metadata),
        },
        None if is_digest(etag) => native::plaintext_length(stored)
            .map_or(SizeEstimate::NeedsLookup(Lookup::Metadata), SizeEstimate::Known),
        // It does not say whether the object was written by one PUT.
        None => SizeEstimate::NeedsLookup(Lookup::Metadata),
    }
}

/// The same under a rule: where several formats are read, an object's metadata say which it has.
fn estimate_under(rule: &BucketRule, entry: &ListedEntry) -> SizeEstimate {
    let formats = &rule.formats;
    match formats.read[..] {
        [ReadFormat::Native] => estimate(entry.etag.as_deref(), entry.size),
        [ReadFormat::S3ec]
            if !formats.s3ec.legacy && !entry.object.as_str().ends_with(s3ec::INSTRUCTION_SUFFIX) =>
        {
            let length = s3ec::MessageBody::plaintext_length(entry.size);
            SizeEstimate::Known(length.unwrap_or(entry.size))
        }
        _ => SizeEstimate::NeedsLookup(Lookup::Metadata),
    }
}

/// Whether an ETag without a number of parts is that of one PUT, as S3 makes them: a hash in hexadecimal digits.
fn is_digest(etag: &str) -> bool {
    let etag = unquoted(etag);
    etag.len() >= 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why no size was looked_up.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    /// Deleted since it was listed.
    #[error("the listed object is gone")]
    Gone,
    /// Overwritten since it was listed.
    #[error("the object is not the listed one any more")]
    Replaced,
    /// The storage does not let the proxy look at it.
    #[error("the listed object can't be looked at")]
    Closed,
    /// The storage did not answer as it should.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Sizes for one listing of one bucket.
pub(crate) struct SizeReader {
    pub(crate) resources: Resources,
    pub(crate) bucket: BucketName,
    /// What the client sent for the storage to check: expected owner, who pays.
    pub(crate) headers: HeaderMap,
}

/// What a listing says about one object.
pub(crate) struct Listed {
    object: ObjectKey,
    version_id: Option<String>,
    etag: Option<String>,
    stored: u64,
}

impl SizeReader {
    /// What one entry says.
    pub(crate) fn tell(self: &Arc<Self>, entry: &ListedEntry) -> body::EntryView {
        let Ok(rule) = self.resources.policies.of_object(&self.bucket, &entry.object) else {
            return body::EntryView::Known(ClientEntry { size: entry.size, etag_suffix: "" });
        };
        match estimate_under(rule, entry) {
            SizeEstimate::Known(size) => body::EntryView::Known(rewritten_entry(
                ListedSize::encrypted(size),
                rule.etag,
                entry.etag.as_deref(),
            )),
            SizeEstimate::NeedsLookup(question) => {
                let listed = Listed {
                    object: entry.object.clone(),
                    version_id: entry.version_id.clone(),
                    etag: entry.etag.clone(),
                    stored: entry.size,
                };
                let looked_up = Arc::clone(self).look_up(listed, question);
                let (style, etag) = (rule.etag, entry.etag.clone());
                body::EntryView::Lookup(Box::pin(async move {
                    let looked_up = looked_up.await?;
                    Ok(looked_up.map(|looked_up| rewritten_entry(looked_up, style, etag.as_deref())))
                }))
            }
        }
    }

    /// Reads the size from the cache, otherwise from the storage; concurrent callers for one object wait
    /// for one response. `None`: the object was deleted since it was listed.
    async fn look_up(
        self: Arc<Self>,
        listed: Listed,
        question: Lookup,
    ) -> Result<Option<ListedSize>, BoxError> {
        let fingerprint = listed.fingerprint(&self.bucket);
        let known = &self.resources.size_cache.0;
        let outcome = known.try_get_with(fingerprint, self.ask(&listed, question)).await;
        match outcome {
            Ok(looked_up) => Ok(Some(looked_up)),
            Err(unlearned) => match &*unlearned {
                LookupError::Gone => Ok(None),
                LookupError::Closed => Ok(Some(self.closed_size(&listed).await)),
                LookupError::Replaced => self.size_now(listed).await.map_err(BoxError::from),
                LookupError::Failed(_) => Err(unlearned.into()),
            },
        }
    }

    /// The size of what is at the place of a listed object now; `None`: nothing is.
    async fn size_now(&self, mut listed: Listed) -> Result<Option<ListedSize>, LookupError> {
        for _ in 0..MAX_LOOKS {
            let response = match self.send(&listed, self.at(&listed).request(Method::HEAD)).await {
                Ok(response) => response,
                Err(LookupError::Gone) => return Ok(None),
                Err(LookupError::Closed) => return Ok(Some(self.closed_size(&listed).await)),
                Err(unlearned) => return Err(unlearned),
            };
            let Ok(run) = ReceivedRange::of_head(response.headers()) else {
                return Ok(Some(ListedSize::encrypted(listed.stored)));
            };
            listed.etag = etag_of(response.headers()).map(str::to_owned);
            listed.stored = run.total;
            match self.told_by(response, &listed, Lookup::Metadata).await {
                Ok(looked_up) => return Ok(Some(looked_up)),
                Err(LookupError::Replaced) => {}
                Err(unlearned) => return Err(unlearned),
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

    async fn ask(&self, listed: &Listed, question: Lookup) -> Result<ListedSize, LookupError> {
        metrics::counter!("s3veil_listing_extra_reads_total").increment(1);
        let request = match question {
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
        self.told_by(response, listed, question).await
    }

    /// Sends a request about a listed object. Returns the response if its status says something about the
    /// object.
    async fn send(
        &self,
        listed: &Listed,
        request: UpstreamRequest,
    ) -> Result<Response<BoxBody>, LookupError> {
        let answered = self.resources.upstream.send(request).await;
        if matches!(answered, Err(UpstreamError::HeadTooLarge)) {
            return Err(LookupError::Closed);
        }
        let response = answered.map_err(Error::from)?;
        readable(response.status(), listed)?;
        Ok(response)
    }

    /// Reads the size from the response to `question`. An object that is not ours, or can't be opened, has
    /// the size that is stored.
    async fn told_by(
        &self,
        response: Response<BoxBody>,
        listed: &Listed,
        question: Lookup,
    ) -> Result<ListedSize, LookupError> {
        match self.read_answer(response, listed, question).await {
            Err(LookupError::Failed(error)) if error.is_replaced() => Err(LookupError::Replaced),
            Err(LookupError::Failed(error)) if is_of_the_object(&error) => {
                Ok(ListedSize::encrypted(listed.stored))
            }
            outcome => outcome,
        }
    }

    async fn read_answer(
        &self,
        response: Response<BoxBody>,
        listed: &Listed,
        question: Lookup,
    ) -> Result<ListedSize, LookupError> {
        let at = &self.at(listed);
        let (head, body) = response.into_parts();
        let run = match question {
            Lookup::Metadata => ReceivedRange::of_head(&head.headers),
            Lookup::Tail { .. } => ReceivedRange::of(head.status, &head.headers, &body),
        };
        let run = run.map_err(|_| LookupError::Closed)?;
        if !listed.is(&head.headers, run.total) {
            return Err(LookupError::Replaced);
        }
        let rule = self.resources.policies.of_object(&self.bucket, &listed.object)?;
        let stored = match foreign::detect(rule, &head.headers)? {
            DetectedFormat::Native(stored) => stored,
            DetectedFormat::Foreign(marks) => {
                let source = Source { resources: &self.resources, rule, at };
                let etag = etag_of(&head.headers).ok_or(LookupError::Closed)?;
                let foreign = ForeignEnvelope::resolve(&source, marks, run.total).await?;
                let size = foreign.length(&source, etag, run.total).await?;
                return Ok(ListedSize { size, hashed: foreign.hashed() });
            }
        };
        if !stored.envelope().is_multipart() {
            return Ok(native::plaintext_length(run.total)
                .map(ListedSize::encrypted)
                .map_err(Error::from)?);
        }
        let identity = ObjectIdentity::of(&head.headers, &stored, run.total)?;
        if let Some(length) = identity.plaintext_total().map_err(Error::from)? {
            return Ok(ListedSize::encrypted(length));
        }
        let keyring = &self.resources.keyring;
        let OpenedNative { opened, .. } = stored.unlock(keyring, rule, &self.bucket, &listed.object).await?;
        let content_key = opened.content_key;
        let known = match question {
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

/// An entry as its readers see it, whose ETag the listing gives like this.
fn rewritten_entry(looked_up: ListedSize, style: EtagStyle, etag: Option<&str>) -> ClientEntry {
    let etag_suffix = etag.map_or("", |etag| style.suffix(bare(etag), looked_up.hashed));
    ClientEntry { size: looked_up.size, etag_suffix }
}

/// Whether an answer of this status says something of the listed object.
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
            tracing::debug!(%status, object_key = ?listed.object, "nothing about a listed object");
            Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("HeadObject")).into())
        }
    }
}

/// Whether an error says that the object is not ours, or can't be opened, and not that somebody is in trouble.
fn is_of_the_object(error: &Error) -> bool {
    match error {
        Error::Shared(error) => is_of_the_object(error),
        Error::Refused(_)
        | Error::UpstreamDenied { .. }
        | Error::Format(_)
        | Error::Stream(_)
        | Error::S3ec(_)
        | Error::Unreadable(_)
        | Error::NotReadable { .. }
        | Error::MalformedWrappedKey
        | Error::NotNative { .. }
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

/// An ETag as a header wants it.
fn quoted(etag: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{}\"", unquoted(etag))).ok()
}

impl Listed {
    /// What a size is remembered by: all that identifies the bytes. Of one size, so that the longest key takes no more
    /// memory than any other.
    fn fingerprint(&self, bucket: &BucketName) -> [u8; 32] {
        let version = self.version_id.as_deref().unwrap_or_default();
        let etag = self.etag.as_deref().unwrap_or_default();
        let names = [bucket.as_str(), self.object.as_str(), version, etag].map(str::as_bytes);
        let [bucket, object, version, etag] = names;
        digest_of_fields([bucket, object, version, etag, &self.stored.to_be_bytes()])
    }

    /// Whether an answer about so many stored bytes speaks of the object that was listed.
    fn is(&self, metadata: &HeaderMap, stored_total: u64) -> bool {
        let etag = metadata.get(ETAG).and_then(|value| value.to_str().ok());
        let etags = etag.zip(self.etag.as_deref());
        stored_total == self.stored && etags.is_none_or(|(one, other)| unquoted(one) == unquoted(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: Option<&str> = Some("\"d41d8cd98f00b204e9800998ecf8427e\"");
    const ASK: SizeEstimate = SizeEstimate::NeedsLookup(Lookup::Metadata);

    #[test]
    fn objects_of_one_put_are_sized_by_arithmetic() {
        for (stored, size) in [(16, 0), (17, 1), (65_552, 65_536), (65_569, 65_537), (131_104, 131_072)] {
            assert_eq!(estimate(MD5, stored), SizeEstimate::Known(size));
        }
    }

    #[test]
    fn regular_uploads_are_sized_by_arithmetic() {
        for (count, stored, size) in [
            (1, 80, 0),
            (1, 97, 1),
            (2, 160 + 65_552, 65_536),
            (3, 240 + 65_552 + 17, 65_537),
            (10_000, 800_000, 0),
        ] {
            let etag = format!("d41d8cd98f00b204e9800998ecf8427e-{count}");
            assert_eq!(estimate(Some(&etag), stored), SizeEstimate::Known(size));
        }
    }

    #[test]
    fn what_no_object_of_ours_can_be_keeps_its_size() {
        for stored in [0, 1, 15] {
            assert_eq!(estimate(None, stored), SizeEstimate::Known(stored));
            assert_eq!(estimate(MD5, stored), SizeEstimate::Known(stored));
            assert_eq!(estimate(Some("e-2"), stored), SizeEstimate::Known(stored));
        }
    }

    #[test]
    fn impossible_lengths_and_unknown_etags_need_a_question() {
        for stored in [65_553, 65_568] {
            assert_eq!(estimate(MD5, stored), ASK);
        }
        for parts in [1, 3] {
            let etag = format!("d41d8cd98f00b204e9800998ecf8427e-{parts}");
            let stored = 80 * u64::from(parts) + 65_553;
            assert_eq!(estimate(Some(&etag), stored), SizeEstimate::NeedsLookup(Lookup::Tail { parts }));
        }
        assert_eq!(estimate(Some("\"d41d8cd98f00b204e9800998ecf8427e-3\""), 239), ASK);
        for opaque in [None, Some("\"CJ6Xx7Ck3oQDEAE=\""), Some("d41d8cd98f00b204"), Some("")] {
            assert_eq!(estimate(opaque, 65_552), ASK, "it may be an upload");
        }
    }
}
