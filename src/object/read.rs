//! Reads a stored object: requests it from the storage, and opens the requested plaintext.
//!
//! It must not know operations. Most reads take one request to the storage: a range of an object of which
//! nothing is known is requested as if the object had been written by one PUT, and requested again if it had
//! not. No byte is released before it was authenticated, as far as the object's format authenticates content.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, IF_RANGE, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};

use super::caches::ProvenLayout;
use super::checksums;
use super::foreign::{self, DetectedFormat, FirstResponse, ForeignMetadata, Source};
use super::layout::{self, ExpectedLayout, ProvenRange};
use super::location::{ObjectIdentity, ObjectLocation, ReceivedRange};
use super::native::{NativeMetadata, OpenedNative};
use super::opened::OpenedObject;
use super::range::{RequestedRange, Selection, stored_range};
use super::rule::BucketRule;
use super::rule::counted::count_opened;
use super::rule::formats::ReadFormat;
use super::upstream_response;
use crate::body::{BoxBody, BoxOpener, OpenBody, PlaintextWindow, boxed};
use crate::clock;
use crate::envelope::native::multipart::{MultipartWindow, SEGMENT_HEADER};
use crate::envelope::native::{FormatError, Opened, ReadWindow};
use crate::error::{Error, UnexpectedResponse, with_causes};
use crate::object::Resources;
use crate::s3::{BucketName, ByteRange, CustomerKey, IfRange, ObjectKey};
use crate::upstream::UpstreamRequest;

/// How often an object is requested, with changed assumptions or after a replacement, before the reader gets
/// an error to retry.
const MAX_ATTEMPTS: usize = 5;

/// The maximum number of retries after a response of the storage that breaks off before any of its bytes were
/// released.
const MAX_BROKEN: usize = 2;

/// A broken response is not requested again later than this: the client may have given up.
const RETRY_DEADLINE: Duration = Duration::from_secs(20);

/// The object to read, and the part of it that is wanted.
pub(crate) struct ReadRequest<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    /// The part of the object to read.
    pub(crate) wanted: RequestedRange,
    /// Query parameters for the storage: `versionId`, `response-…`.
    pub(crate) query: Vec<(String, Option<String>)>,
    /// Headers for the storage, conditions among them, without Range.
    pub(crate) headers: HeaderMap,
    /// Whether the object's checksums have to be known: a checksum that a multipart upload carries takes
    /// small reads of its own.
    pub(crate) needs_checksum: bool,
    /// The condition on which the wanted range, instead of the whole object, is read.
    pub(crate) if_range: Option<IfRange>,
    /// The customer key that the client's request has for this object.
    pub(crate) customer_key: Option<CustomerKey>,
}

/// Opens an object for reading. A rule must serve its name.
///
/// # Errors
/// [`Error::PassThrough`] when the storage refuses, or the object was not modified; `InvalidRange` and
/// `InvalidPartNumber` when the object has no such bytes; a format error when the object is not what was
/// sealed; [`Error::NotReadable`] when the object is of a format that the bucket does not read.
pub(crate) async fn open_object(
    resources: &Resources,
    mut read: ReadRequest<'_>,
) -> Result<Box<OpenedObject>, Error> {
    if let Some(opening) = open_wanted(resources, &read).await? {
        return Ok(opening);
    }
    (read.wanted, read.if_range) = (RequestedRange::Whole, None);
    open_wanted(resources, &read).await?.ok_or(Error::Replaced)
}

/// Opens the wanted part; `None` where If-Range does not hold, so that the whole object has to be read.
async fn open_wanted(
    resources: &Resources,
    read: &ReadRequest<'_>,
) -> Result<Option<Box<OpenedObject>>, Error> {
    if matches!(read.wanted, RequestedRange::Range(_)) && read.if_range == Some(IfRange::Never) {
        return Ok(None);
    }
    let rule = resources.policies.for_object(read.bucket, read.object_key)?;
    let at = ObjectLocation::from_request(read.bucket, read.object_key, &read.query, &read.headers);
    let mut assumption = match read.wanted {
        RequestedRange::Whole => Assumption::Nothing,
        RequestedRange::Range(_) | RequestedRange::Part(_) => {
            let newest = resources.layout_cache.newest(&at).await.map(ExpectedLayout::Proven);
            newest.map_or(Assumption::Nothing, Assumption::Layout)
        }
    };
    let reader = Reader { resources, rule, read, at };
    let (began, mut broken) = (clock::now(), 0);
    for _ in 0..MAX_ATTEMPTS {
        match reader.attempt(&assumption).await {
            Ok(Attempt::Done(opening)) => return Ok(Some(opening)),
            Ok(Attempt::Whole) => return Ok(None),
            Ok(Attempt::Again(better)) => assumption = better,
            Err(error) if error.is_replaced() => assumption = Assumption::Nothing,
            // No byte of the broken response was released.
            Err(error)
                if error.is_broken_off() && broken < MAX_BROKEN && clock::since(began) < RETRY_DEADLINE =>
            {
                broken += 1;
                tracing::debug!(error = %with_causes(&error), "reading an object again");
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Replaced)
}

/// What is assumed of the object before it is requested. The response shows whether the assumption holds.
enum Assumption {
    Nothing,
    /// A multipart object of this layout.
    Layout(ExpectedLayout),
    /// A body of one PUT, in which these stored bytes hold the wanted plaintext.
    Span(ByteRange),
}

enum Attempt {
    Done(Box<OpenedObject>),
    Again(Assumption),
    /// If-Range does not hold.
    Whole,
}

struct Reader<'a> {
    resources: &'a Resources,
    rule: &'a BucketRule,
    read: &'a ReadRequest<'a>,
    at: ObjectLocation<'a>,
}

/// What was read beside the stored bytes that were requested by an expected layout.
struct ExpectedRange<'a> {
    /// The object that the layout is expected of. Nothing else here counts for another one.
    identity: &'a ObjectIdentity,
    proven: Result<ProvenRange, Error>,
}

/// How the wanted plaintext is opened from a response.
struct ReadPlan {
    plaintext_total: u64,
    selection: Selection,
    /// `None` for an empty part.
    opener: Option<(BoxOpener, PlaintextWindow)>,
    parts_count: Option<usize>,
    /// The layout of a multipart object, if it was read.
    known: Option<Arc<ProvenLayout>>,
}

impl Reader<'_> {
    async fn attempt(&self, assumption: &Assumption) -> Result<Attempt, Error> {
        let window = self.window(assumption)?;
        let request = || self.request(assumption, window);
        let upstreams = &self.resources.upstreams;
        let (response, expected) = match assumption {
            Assumption::Nothing | Assumption::Span(_) => (upstreams.send(request()).await?, None),
            Assumption::Layout(expected) => {
                // On the heap, as all that most reads don't need: it would be room in the future of each.
                let (response, proven) = Box::pin(async {
                    tokio::join!(upstreams.send(request()), expected.prove(self.resources, &self.at, window))
                })
                .await;
                (response?, Some(Box::new(ExpectedRange { identity: expected.identity(), proven })))
            }
        };
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => self.open(response, expected).await,
            StatusCode::RANGE_NOT_SATISFIABLE if self.read.wanted != RequestedRange::Whole => {
                Box::pin(self.after_unsatisfiable(assumption)).await
            }
            _ => Err(Box::pin(upstream_response::refusal(response)).await),
        }
    }

    fn request(&self, assumption: &Assumption, window: Option<MultipartWindow>) -> UpstreamRequest {
        let mut request = UpstreamRequest {
            query: self.read.query.clone(),
            headers: self.read.headers.clone(),
            ..UpstreamRequest::new(Method::GET, self.read.bucket, self.read.object_key)
        };
        if let Some(range) = self.stored_range(assumption, window) {
            request.headers.insert(RANGE, range);
            if let (RequestedRange::Range(_), Some(condition)) = (self.read.wanted, &self.read.if_range) {
                request.headers.extend(condition.to_header().map(|value| (IF_RANGE, value)));
            }
        }
        request
    }

    /// Opens a response; `expected` goes with an assumed layout.
    async fn open(
        &self,
        response: Response<BoxBody>,
        expected: Option<Box<ExpectedRange<'_>>>,
    ) -> Result<Attempt, Error> {
        let (head, ciphertext) = response.into_parts();
        let run = ReceivedRange::from_response(head.status, &head.headers, &ciphertext)?;
        if run.partial && self.is_replaced(&head.headers) {
            return Ok(Attempt::Whole);
        }
        let stored = match foreign::detect(self.rule, &head.headers)? {
            DetectedFormat::Native(stored) => stored,
            DetectedFormat::Foreign(metadata) => {
                let wanted = if self.wants_whole(run) { RequestedRange::Whole } else { self.read.wanted };
                let first = FirstResponse { head, stored: run.total, content: Some((run, ciphertext)) };
                return self.foreign(metadata, wanted, first).await;
            }
        };
        let OpenedNative { opened, key_id } = self.unlock(&stored).await?;
        let Opened { content_key, attributes, body } = opened;
        let plan = if let Some(plaintext_total) = body.put_length(run.total)? {
            if expected.is_some() && run.partial {
                return Ok(Attempt::Again(Assumption::Nothing));
            }
            self.put(run, plaintext_total, &content_key)?
        } else {
            let identity = ObjectIdentity::from_headers(&head.headers, &stored, run.total)?;
            let content_key = Arc::new(content_key);
            match expected {
                _ if self.wants_whole(run) => {
                    let looks = self.read.needs_checksum && checksums::may_carry_checksum(&attributes);
                    Box::pin(self.whole_of_multipart(&identity, run, content_key, looks)).await?
                }
                Some(expected) if *expected.identity == identity => {
                    match Box::pin(self.range_of_multipart(expected.proven?, run, content_key)).await? {
                        Ok(plan) => plan,
                        Err(known) => return Ok(Attempt::Again(Assumption::Layout(known))),
                    }
                }
                Some(_) | None => {
                    let response = (run, ciphertext);
                    let found =
                        layout::expect_layout(self.resources, &self.at, identity, content_key, response);
                    return Ok(Attempt::Again(Assumption::Layout(Box::pin(found).await?)));
                }
            }
        };
        let ReadPlan { plaintext_total, selection, opener, parts_count, known } = plan;
        let (length, body) = match opener {
            None => (0, BoxBody::default()),
            Some((opener, plaintext_window)) => {
                let plaintext = OpenBody::new(ciphertext, opener, plaintext_window).primed().await?;
                (plaintext_window.length, boxed(plaintext))
            }
        };
        let checksums = checksums::kept_checksums(&attributes, known.as_deref())?;
        let opened = OpenedObject {
            head,
            plaintext_total,
            selection,
            length,
            body,
            sse: stored.envelope().sse(),
            key_id: Some(key_id),
            checksums,
            parts_count,
        };
        count_opened(ReadFormat::Native);
        Ok(Attempt::Done(Box::new(opened)))
    }

    /// Opens an object whose format is not the native one.
    async fn foreign(
        &self,
        metadata: ForeignMetadata,
        wanted: RequestedRange,
        first: FirstResponse,
    ) -> Result<Attempt, Error> {
        if self.read.customer_key.is_some() {
            return Err(FormatError::CustomerKeySurplus.into());
        }
        let source = Source { resources: self.resources, rule: self.rule, at: &self.at };
        let opened = Box::pin(foreign::open(source, metadata, wanted, first)).await?;
        Ok(Attempt::Done(Box::new(opened)))
    }

    async fn unlock(&self, stored: &NativeMetadata) -> Result<OpenedNative, Error> {
        let Self { resources, rule, read, .. } = self;
        let name = (read.bucket, read.object_key);
        stored.unlock(&resources.keyring, rule, name, read.customer_key.as_ref()).await
    }

    /// Whether If-Range fails for the object that these response headers describe. A storage that ignores
    /// If-Range sends the range nevertheless.
    fn is_replaced(&self, object: &HeaderMap) -> bool {
        let condition =
            self.read.if_range.as_ref().filter(|_| matches!(self.read.wanted, RequestedRange::Range(_)));
        condition.is_some_and(|condition| !condition.holds(object))
    }

    /// Whether a response that holds this range is to be read as the whole object. A response to If-Range
    /// that holds the whole object means that the object changed.
    fn wants_whole(&self, run: ReceivedRange) -> bool {
        match self.read.wanted {
            RequestedRange::Whole => true,
            RequestedRange::Range(_) => self.read.if_range.is_some() && !run.partial,
            RequestedRange::Part(_) => false,
        }
    }

    /// The stored bytes that are wanted of an object of the assumed layout; `None` without one, and where it
    /// has no such bytes.
    fn window(&self, assumption: &Assumption) -> Result<Option<MultipartWindow>, Error> {
        let Assumption::Layout(expected) = assumption else { return Ok(None) };
        let layout = expected.layout();
        match self.read.wanted.select(layout.plaintext_total(), Some(layout)) {
            Ok(Selection::Span(range)) => Ok(Some(layout.window(range.first(), range.last())?)),
            Ok(Selection::Whole | Selection::EmptyPart) | Err(_) => Ok(None),
        }
    }

    /// The Range to request; `None`: the whole object.
    fn stored_range(&self, assumption: &Assumption, window: Option<MultipartWindow>) -> Option<HeaderValue> {
        match (assumption, window) {
            (Assumption::Nothing, _) => self.read.wanted.guess(),
            (Assumption::Span(span), _) => Some(stored_range(span.first(), span.last())),
            (Assumption::Layout(_), Some(window)) => {
                Some(stored_range(window.ciphertext_first, window.ciphertext_last))
            }
            // Only the head of the response is needed: it shows whether the object was replaced since its
            // layout showed that it has no such bytes.
            (Assumption::Layout(_), None) => Some(stored_range(0, SEGMENT_HEADER as u64 - 1)),
        }
    }

    /// Handles a 416 to the range of stored bytes. The client's error has to contain the plaintext's length,
    /// so the object's length is requested and authenticated; a range that lies within it after all (some
    /// storages refuse a suffix longer than the object) is requested again, with both ends.
    ///
    /// # Errors
    /// `InvalidRange` with the plaintext's length when the range lies outside the object.
    async fn after_unsatisfiable(&self, assumption: &Assumption) -> Result<Attempt, Error> {
        match assumption {
            Assumption::Nothing => {}
            // The object for which the bytes were computed was replaced.
            Assumption::Layout(_) | Assumption::Span(_) => return Ok(Attempt::Again(Assumption::Nothing)),
        }
        let mut request = self.at.request(Method::HEAD);
        request.query.clone_from(&self.read.query);
        request.headers.clone_from(&self.read.headers);
        let response = self.resources.upstreams.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() => {
                return Err(Error::UpstreamFailed { status: status.as_u16() });
            }
            // The object may be replaced or deleted. Another GET gets the storage's own error for the client.
            _ => return Err(Error::Replaced),
        }
        if self.is_replaced(response.headers()) {
            return Ok(Attempt::Whole);
        }
        let run = ReceivedRange::from_head(response.headers())?;
        let stored = match foreign::detect(self.rule, response.headers())? {
            DetectedFormat::Native(stored) => stored,
            DetectedFormat::Foreign(metadata) => {
                let (head, _) = response.into_parts();
                let first = FirstResponse { head, stored: run.total, content: None };
                return self.foreign(metadata, self.read.wanted, first).await;
            }
        };
        let opened = self.unlock(&stored).await?.opened;
        if let Some(total) = opened.body.put_length(run.total)? {
            let Selection::Span(range) = self.read.wanted.select(total, None)? else { return Err(PARTIAL) };
            let window = ReadWindow::slice(total, 0, range.first(), range.last())?;
            let span = ByteRange::new(window.discard, window.discard + window.ciphertext_needed() - 1);
            return Ok(Attempt::Again(Assumption::Span(span.ok_or(OTHER_BYTES)?)));
        }
        let identity = ObjectIdentity::from_headers(response.headers(), &stored, run.total)?;
        let known = layout::layout_of(self.resources, &self.at, &identity, &opened.content_key).await?;
        self.read.wanted.select(known.layout.plaintext_total(), Some(&known.layout))?;
        Ok(Attempt::Again(Assumption::Layout(ExpectedLayout::Proven(known))))
    }
}

const PARTIAL: Error = Error::UnexpectedResponse(UnexpectedResponse::WrongRange);
const OTHER_BYTES: Error = Error::UnexpectedResponse(UnexpectedResponse::WrongRange);

#[cfg(test)]
mod tests;
