//! Operations without object content: verified, then passed on as they are.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, Response};

use super::{Call, Resources, bucket_encryption, document, upstream_answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{BucketName, DeclaredIntegrity, Operation, encode_path, headers};
use crate::upstream::{UpstreamBody, UpstreamError, UpstreamRequest};

pub(super) async fn pass_through(resources: &Resources, mut call: Call) -> Result<Response<BoxBody>, Error> {
    if let Some(bucket) = call.path.bucket() {
        match call.path.object() {
            Some(object_key) => resources.policies.of_object(bucket, object_key).map(|_| ())?,
            None => resources.policies.serve_bucket(bucket)?,
        }
    }
    let document = read_document(resources, &mut call).await?;
    let encryption = call.path.bucket().filter(|_| is_about_encryption(call.operation));
    if let Some(bucket) = encryption
        && call.operation == Operation::PutBucketEncryption
    {
        bucket_encryption::admit(resources, bucket, &document.bytes).await?;
    }
    let answer = exchange(resources, with_document(&call, document)?).await;
    if let Some(bucket) = encryption {
        // Also where the answer was lost.
        resources.default_keys.forget(bucket).await;
    }
    let mut response = upstream_answer::pass(answer?).await?;
    if let (Operation::CreateBucket, Some(bucket), true) =
        (call.operation, call.path.bucket(), response.status().is_success())
    {
        response.headers_mut().insert(LOCATION, location(bucket));
    }
    Ok(response)
}

/// The document of a request, whole and verified.
pub(super) struct Document {
    pub(super) bytes: Bytes,
    /// What the client said of the bytes in a trailer, as headers.
    trailers: HeaderMap,
    is_original: bool,
}

impl Document {
    /// Replaces the document with another, to which the client's digests do not apply.
    pub(super) fn replace(&mut self, bytes: impl Into<Bytes>) {
        self.bytes = bytes.into();
        self.is_original = false;
    }
}

/// Takes the document out of a call.
///
/// # Errors
/// As [`Call::document`].
pub(super) async fn read_document(resources: &Resources, call: &mut Call) -> Result<Document, Error> {
    let declared = DeclaredIntegrity::from_headers(&call.headers)?;
    let (bytes, verdict) = call.document(resources, document::limit_of(call.operation), &declared).await?;
    let mut trailers = HeaderMap::new();
    for checksum in verdict.checksums().unwrap_or_default() {
        let name = HeaderName::from_static(checksum.algorithm().header());
        let value = HeaderValue::from_str(&checksum.to_string()).expect("base64 is a header value");
        trailers.insert(name, value);
    }
    Ok(Document { bytes, trailers, is_original: true })
}

/// What the storage is asked: the client's question, with the document.
///
/// # Errors
/// As [`headers::passthrough_headers`].
pub(super) fn with_document(call: &Call, document: Document) -> Result<UpstreamRequest, Error> {
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

/// Asks the storage and passes its answer on.
///
/// # Errors
/// As [`upstream_answer::pass`], and an upstream error when the storage sends no response.
pub(super) async fn forward(
    resources: &Resources,
    request: UpstreamRequest,
) -> Result<Response<BoxBody>, Error> {
    upstream_answer::pass(exchange(resources, request).await?).await
}

async fn exchange(
    resources: &Resources,
    request: UpstreamRequest,
) -> Result<Response<BoxBody>, UpstreamError> {
    match request.method {
        Method::GET => resources.upstream.fetch(request).await,
        Method::DELETE => resources.upstream.send(request).await.map(upstream_answer::deleted),
        _ => resources.upstream.send(request).await,
    }
}

/// Where a new bucket is, as us-east-1 says it; the storage might name itself.
fn location(bucket: &BucketName) -> HeaderValue {
    HeaderValue::try_from(encode_path(Some(bucket), None)).expect("a bucket's name is ASCII")
}

/// Whether an operation changes the key that objects get where their requests name none.
fn is_about_encryption(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutBucketEncryption | Operation::DeleteBucketEncryption | Operation::DeleteBucket
    )
}
