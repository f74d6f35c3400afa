//! The documents that clients send: buffered, verified, and counted against the memory for documents.
//!
//! It must not know what a document says. No operation sees a byte of a document before all of it is
//! verified.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;
use http_body_util::BodyExt;

use super::Call;
use crate::body::Verdict;
use crate::error::Result;
use crate::object::slow_down;
use crate::operation::Resources;
use crate::s3::{DeclaredIntegrity, ErrorCode, Operation, S3Error, headers};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Memory is taken in steps of this many bytes, as the document arrives.
const STEP: usize = 64 << 10;

/// The objects that a document names, for the log: how many, and the first few keys.
#[derive(Debug, Clone)]
pub struct NamedKeys {
    number: usize,
    first: String,
    refused: Option<String>,
}

impl NamedKeys {
    /// Max bytes of keys that are kept.
    const KEPT: usize = 256;

    /// Counts the keys that a document names, and keeps the first few.
    pub(crate) fn new<'k>(keys: impl ExactSizeIterator<Item = &'k str>) -> Self {
        let number = keys.len();
        let mut first = String::new();
        for key in keys {
            if first.len() + key.len() > Self::KEPT && !first.is_empty() {
                break;
            }
            first.push(' ');
            first.push_str(key);
        }
        Self { number, first, refused: None }
    }

    /// Adds the keys that were refused, counted as these.
    pub(crate) fn with_refused(self, refused: Option<String>) -> Self {
        Self { refused, ..self }
    }

    /// The keys that were refused, for the log; `None` if none was.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl fmt::Display for NamedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.first)
    }
}

/// Max bytes of the documents of operations whose limit is not [`DEFAULT_LIMIT`].
const LIMITS: [(Operation, u64); 3] = [
    // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html>
    (Operation::PutBucketPolicy, 20 << 10),
    // Ten tags of 128 and 256 characters, each escaped.
    // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>
    (Operation::PutObjectTagging, 32 << 10),
    // 1,000 keys of 1,024 bytes, each escaped.
    // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
    (Operation::DeleteObjects, 8 << 20),
];

/// Max bytes of other documents: a list of a thousand rules fits.
const DEFAULT_LIMIT: u64 = 1 << 20;

/// Max bytes of the document that a client may send with `operation`.
pub(crate) fn document_limit(operation: Operation) -> u64 {
    LIMITS.iter().find(|(limited, _)| *limited == operation).map_or(DEFAULT_LIMIT, |(_, limit)| *limit)
}

impl Call {
    /// Returns the whole body, verified against `declared`, and the handle to its verdict. Takes the body out
    /// of the call. The memory counts until the bytes are dropped.
    ///
    /// # Errors
    /// `MaxMessageLengthExceeded` for a body of more than `limit` bytes, `SlowDown` when documents hold too
    /// much memory, and the errors of the body.
    pub(crate) async fn document(
        &mut self,
        resources: &Resources,
        limit: u64,
        declared: &DeclaredIntegrity,
    ) -> Result<(Bytes, Verdict)> {
        let length = self.content_length()?.unwrap_or(0);
        if length > limit {
            return Err(S3Error::from(ErrorCode::MaxMessageLengthExceeded).into());
        }
        let (mut body, verdict) = self.ingest_declared(resources, length, declared);
        let mut share = resources.documents.take(0).ok_or_else(slow_down)?;
        let mut document = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            let needed = (document.len() + data.len()).next_multiple_of(STEP);
            if !share.grow_to(needed as u64) {
                return Err(slow_down().into());
            }
            if document.is_empty() {
                // Reserved at once, so that nothing is moved; memory that is not written to is not in use
                // yet.
                document.reserve(usize::try_from(length).expect("the limit is one of memory"));
            }
            document.extend_from_slice(&data);
        }
        let document = if document.is_empty() { Bytes::new() } else { share.with(document.freeze()) };
        Ok((document, verdict))
    }
}

/// The document of a request, buffered and verified.
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    /// The checksums that the client sent in trailers, as headers.
    trailers: HeaderMap,
    is_original: bool,
}

impl Document {
    /// Replaces the document with another, to which the client's digests do not apply.
    pub(crate) fn replace(&mut self, bytes: impl Into<Bytes>) {
        self.bytes = bytes.into();
        self.is_original = false;
    }
}

/// Takes the document out of a call.
///
/// # Errors
/// As [`Call::document`].
pub(crate) async fn read_document(resources: &Resources, call: &mut Call) -> Result<Document> {
    let declared = DeclaredIntegrity::from_headers(&call.headers)?;
    let (bytes, verdict) = call.document(resources, document_limit(call.operation), &declared).await?;
    let mut trailers = HeaderMap::new();
    for checksum in verdict.checksums().unwrap_or_default() {
        trailers.insert(checksum.algorithm().header_name(), checksum.header_value());
    }
    Ok(Document { bytes, trailers, is_original: true })
}

/// The client's request as a request to the storage, with the document.
///
/// # Errors
/// As [`headers::passthrough_headers`].
pub(crate) fn request_with_document(call: &Call, document: Document) -> Result<UpstreamRequest> {
    let mut request = call.upstream_request(call.method.clone());
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    if document.is_original {
        // A checksum that came in a trailer goes on in a header: the document is buffered and verified.
        request.headers.extend(document.trailers);
    } else {
        headers::remove_digests(&mut request.headers);
    }
    if !document.bytes.is_empty() {
        request.body = UpstreamBody::Buffered(document.bytes);
    }
    Ok(request)
}
