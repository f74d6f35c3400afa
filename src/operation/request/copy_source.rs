//! The source of a copy: where it is, what it is now, and its content.
//!
//! It must not know the destination. Refusals of the source become the errors that S3 has for copies.

use http::header::{ETAG, HeaderValue, RANGE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use crate::body::read_bounded;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::foreign::{self, DetectedFormat};
use crate::object::location::{ObjectIdentity, ObjectLocation, ReceivedRange, account_headers};
use crate::object::native::NativeMetadata;
use crate::object::opened::OpenedObject;
use crate::object::range::RequestedRange;
use crate::object::read::{ReadRequest, open_object};
use crate::object::rule::BucketRule;
use crate::object::rule::formats::ReadFormat;
use crate::object::upstream_response;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::{CopySource, CustomerKey, ErrorCode, S3Error, headers};
use crate::upstream::{UpstreamRequest, Upstreams};

/// S3's message for a delete marker as the source of a copy.
const DELETE_MARKER: &str =
    "The source of a copy request may not specifically refer to a delete marker by version id.";

/// Reads the source of a copy under the source's rule.
pub(crate) struct SourceReader {
    upstreams: Upstreams,
    pub(crate) named: CopySource,
    pub(crate) rule: BucketRule,
    /// The client's conditions on the source, as those of a read.
    conditions: HeaderMap,
    /// The customer key that the request has for the source.
    pub(crate) customer_key: Option<CustomerKey>,
}

/// The kind of object that the source is.
pub(crate) enum SourceKind {
    /// A native object.
    Native(Box<NativeSource>),
    /// An object of another format, as its metadata claim.
    Foreign(ReadFormat),
}

/// A source in the native format, as it is now.
pub(crate) struct NativeSource {
    /// The ETag that the copy is pinned to.
    pub(crate) etag: HeaderValue,
    /// The envelope and the wrapped key: well-formed, not yet authenticated.
    pub(crate) keys: NativeMetadata,
    pub(crate) identity: ObjectIdentity,
    pub(crate) metadata: SourceMetadata,
}

/// The metadata that S3 copies with an object, without the proxy's own.
pub(crate) struct SourceMetadata {
    pub(crate) headers: HeaderMap,
    /// Whether the object has more metadata, which are not valid as headers.
    pub(crate) is_incomplete: bool,
}

impl SourceMetadata {
    /// Takes the metadata from a response to GET or HEAD.
    pub(crate) fn from_headers(response: &HeaderMap) -> Self {
        let copied = response.iter().filter(|(name, _)| headers::is_copied_metadata(name));
        let copied = copied.map(|(name, value)| (name.clone(), value.clone()));
        Self { headers: copied.collect(), is_incomplete: response.contains_key("x-amz-missing-meta") }
    }
}

impl SourceReader {
    /// The source that a copy names, under the rule that serves it.
    pub(crate) fn from_call(resources: &Resources, call: &Call) -> Result<Self> {
        let named = call.source()?.clone();
        let rule = resources.policies.for_object(&named.bucket, &named.object)?.clone();
        let conditions = headers::source_read_headers(&call.headers);
        let customer_key = call.customer_keys.source.clone();
        Ok(Self { upstreams: resources.upstreams.clone(), named, rule, conditions, customer_key })
    }

    /// Finds out what the source is now. A GET of the first byte is sent instead of a HEAD, so that a refusal
    /// has S3's error document, and an archived object is refused as a copy of it is.
    ///
    /// # Errors
    /// `PreconditionFailed` when a condition of the client does not hold, and as a read when the source is of
    /// another kind.
    pub(crate) async fn examine(&self) -> Result<SourceKind> {
        let mut request = self.request(Method::GET);
        request.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let mut response = self.upstreams.fetch(request).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            response = self.upstreams.send(self.request(Method::HEAD)).await?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => (),
            _ => return Err(source_error(upstream_response::refusal(response).await)),
        }
        let is_head = response.status() == StatusCode::OK;
        let (head, body) = response.into_parts();
        let run = if is_head {
            ReceivedRange::from_head(&head.headers)?
        } else {
            ReceivedRange::from_response(head.status, &head.headers, &body)?
        };
        if run.partial {
            // Read to its end, the connection can serve another request.
            read_bounded(body, 1).await.map_err(Error::UpstreamBody)?;
        }
        match foreign::detect(&self.rule, &head.headers)? {
            DetectedFormat::Native(keys) => NativeSource::from_headers(&head.headers, keys, run.total)
                .map(Box::new)
                .map(SourceKind::Native),
            DetectedFormat::Foreign(marks) => Ok(SourceKind::Foreign(marks.format())),
        }
    }

    /// The location of the source, for further requests, to which the client's conditions do not apply.
    pub(crate) fn at(&self) -> ObjectLocation<'_> {
        let CopySource { bucket, object, version_id } = &self.named;
        let version_id = version_id.as_deref();
        ObjectLocation { bucket, object_key: object, version_id, headers: account_headers(&self.conditions) }
    }

    /// Opens all of it, whatever its format: metadata and content are of one response.
    ///
    /// # Errors
    /// As [`open_object`], and `PreconditionFailed` when a condition of the client does not hold.
    pub(crate) async fn open(&self, resources: &Resources) -> Result<Box<OpenedObject>> {
        let how = (RequestedRange::Whole, true);
        open_source(resources, &self.named, how, self.conditions.clone(), self.customer_key.clone()).await
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = self.at().request(method);
        request.headers = self.conditions.clone();
        request
    }
}

/// Opens the `wanted` part of a copy's source; `headers` are conditions, and what every request repeats.
///
/// # Errors
/// As [`open_object`], and as [`source_error`].
pub(crate) async fn open_source(
    resources: &Resources,
    source: &CopySource,
    (wanted, needs_checksum): (RequestedRange, bool),
    headers: HeaderMap,
    customer_key: Option<CustomerKey>,
) -> Result<Box<OpenedObject>> {
    let CopySource { bucket, object: object_key, version_id } = source;
    let version = version_id.iter().map(|version| ("versionId".to_owned(), Some(version.clone())));
    let query = version.collect();
    let read = ReadRequest {
        bucket,
        object_key,
        wanted,
        query,
        headers,
        needs_checksum,
        if_range: None,
        customer_key,
    };
    open_object(resources, read).await.map_err(source_error)
}

/// The error of a copy whose source the storage refuses to read: `PreconditionFailed` for what a read calls
/// unmodified; `InvalidRequest` for a delete marker that is named by its version; else the refusal.
fn source_error(error: Error) -> Error {
    let Error::PassThrough(refusal) = error else { return error };
    match refusal.status {
        StatusCode::NOT_MODIFIED => S3Error::from(ErrorCode::PreconditionFailed).into(),
        StatusCode::METHOD_NOT_ALLOWED if refusal.headers.contains_key("x-amz-delete-marker") => {
            S3Error::invalid_request(DELETE_MARKER).into()
        }
        _ => Error::PassThrough(refusal),
    }
}

impl NativeSource {
    fn from_headers(headers: &HeaderMap, keys: NativeMetadata, stored_total: u64) -> Result<Self> {
        Ok(Self {
            identity: ObjectIdentity::from_headers(headers, &keys, stored_total)?,
            keys,
            etag: headers.get(ETAG).cloned().ok_or(UnexpectedResponse::Missing("ETag"))?,
            metadata: SourceMetadata::from_headers(headers),
        })
    }
}

/// Reads the empty body of a copy to its end, which verifies its signature.
///
/// # Errors
/// `InvalidRequest` when the request has a body.
pub(crate) async fn refuse_body(resources: &Resources, call: &mut Call) -> Result<()> {
    if call.content_length()?.is_some_and(|length| length > 0) {
        let message = "A copy has its content from its source, and no body of its own.";
        return Err(S3Error::invalid_request(message).into());
    }
    let (body, _) = call.ingest(resources, 0)?;
    body.collect().await?;
    Ok(())
}
