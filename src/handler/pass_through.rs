//! Operations without object content: verified, then passed on as they are.

use bytes::Bytes;
use http::Response;
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt;

use super::{Call, Resources, upstream_answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{ErrorCode, Operation, S3Error, headers, xml};
use crate::upstream::UpstreamBody;

/// A conditional delete by size speaks of plaintext bytes, and the storage would compare stored ones.
const IF_MATCH_SIZE: &str = "x-amz-if-match-size";

/// The largest configuration document is a DeleteObjects of 1,000 keys of 1,024 bytes, each escaped in XML.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

pub(super) async fn pass_through(resources: &Resources, mut call: Call) -> Result<Response<BoxBody>, Error> {
    if let Some(bucket) = call.path.bucket() {
        match call.path.object() {
            Some(object_key) => resources.policies.of_object(bucket, object_key).map(|_| ())?,
            None => resources.policies.serve_bucket(bucket)?,
        }
    }
    let mut request = call.upstream_request(call.method.clone());
    request.headers = headers::passthrough_headers(&call.headers);
    request.query = call.upstream_query(|name| name != "x-id");
    let length = call.content_length()?.unwrap_or(0);
    if length > MAX_DOCUMENT {
        return Err(S3Error::new(ErrorCode::MaxMessageLengthExceeded, "Your request was too large.").into());
    }
    let (body, verdict) = call.ingest(resources, length)?;
    let document: Bytes = body.collect().await?.to_bytes();
    refuse_sizes(&call, &document)?;
    // A checksum that came in a trailer goes on in a header: the document is buffered and verified.
    for checksum in verdict.checksums().unwrap_or_default() {
        let name = HeaderName::from_static(checksum.algorithm().header());
        let value = HeaderValue::from_str(&checksum.to_string()).expect("base64 is a header value");
        request.headers.insert(name, value);
    }
    if !document.is_empty() {
        request.body = UpstreamBody::Buffered(document);
    }
    upstream_answer::pass(resources.upstream.send(request).await?).await
}

/// # Errors
/// `NotImplemented` for deletions on condition of a size, `MalformedXML` for a list of objects that is none.
fn refuse_sizes(call: &Call, document: &[u8]) -> Result<(), Error> {
    let listed = call.operation == Operation::DeleteObjects
        && xml::delete_objects_request(document)?.objects.iter().any(|object| object.size.is_some());
    if listed || call.headers.contains_key(IF_MATCH_SIZE) {
        let message =
            "Deleting on condition of a size is not implemented: stored sizes are not the objects' own.";
        return Err(S3Error::not_implemented(message).into());
    }
    Ok(())
}
