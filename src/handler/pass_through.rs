//! Operations without object content: verified, then passed on as they are.

use http::header::{HeaderName, HeaderValue, LOCATION};
use http::{Method, Response};

use super::{Call, NamedKeys, Resources, bucket_encryption, client_etags, document, upstream_answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{BucketName, DeclaredIntegrity, Operation, S3Error, encode_path, headers, xml};
use crate::upstream::UpstreamBody;

pub(super) async fn pass_through(resources: &Resources, mut call: Call) -> Result<Response<BoxBody>, Error> {
    if let Some(bucket) = call.path.bucket() {
        match call.path.object() {
            Some(object_key) => resources.policies.of_object(bucket, object_key).map(|_| ())?,
            None => resources.policies.serve_bucket(bucket)?,
        }
    }
    let mut request = call.upstream_request(call.method.clone());
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    let declared = DeclaredIntegrity::from_headers(&call.headers)?;
    let limit = document::limit_of(call.operation);
    let (document, verdict) = call.document(resources, limit, &declared).await?;
    let named = match call.operation == Operation::DeleteObjects {
        true => Some(named_keys(&document)?),
        false => None,
    };
    let encryption = call.path.bucket().filter(|_| is_about_encryption(call.operation));
    if let Some(bucket) = encryption
        && call.operation == Operation::PutBucketEncryption
    {
        bucket_encryption::admit(resources, bucket, &document).await?;
    }
    // A checksum that came in a trailer goes on in a header: the document is buffered and verified.
    for checksum in verdict.checksums().unwrap_or_default() {
        let name = HeaderName::from_static(checksum.algorithm().header());
        let value = HeaderValue::from_str(&checksum.to_string()).expect("base64 is a header value");
        request.headers.insert(name, value);
    }
    let document = client_etags::take_back_deletions(resources, &call, document, &mut request.headers)?;
    if !document.is_empty() {
        request.body = UpstreamBody::Buffered(document);
    }
    let response = match call.method {
        Method::GET => resources.upstream.fetch(request).await,
        Method::DELETE => resources.upstream.send(request).await.map(upstream_answer::deleted),
        _ => resources.upstream.send(request).await,
    };
    if let Some(bucket) = encryption {
        // Also where the answer was lost.
        resources.default_keys.forget(bucket).await;
    }
    let mut response = upstream_answer::pass(response?).await?;
    if let (Operation::CreateBucket, Some(bucket), true) =
        (call.operation, call.path.bucket(), response.status().is_success())
    {
        response.headers_mut().insert(LOCATION, location(bucket));
    }
    if let Some(named) = named {
        response.extensions_mut().insert(named);
    }
    Ok(response)
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

/// The objects that are to be deleted.
///
/// # Errors
/// `NotImplemented` for deletions on condition of a size, which is the plaintext's; `MalformedXML` for a list of objects
/// that is none.
fn named_keys(document: &[u8]) -> Result<NamedKeys, Error> {
    let objects = xml::delete_objects_request(document)?.objects;
    if objects.iter().any(|object| object.size.is_some()) {
        let message =
            "Deleting on condition of a size is not implemented: stored sizes are not the objects' own.";
        return Err(S3Error::not_implemented(message).into());
    }
    Ok(NamedKeys::new(objects.iter().map(|object| object.object.as_str())))
}
