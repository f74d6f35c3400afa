//! Operations without object content: verified, then passed to the storage unchanged.

use http::Response;
use http::header::{HeaderValue, LOCATION};

use super::Resources;
use super::request::Call;
use super::request::document::{read_document, request_with_document};
use super::response::forward::exchange;
use crate::body::BoxBody;
use crate::error::Result;
use crate::object::selected_key::allowed_key;
use crate::object::upstream_response;
use crate::s3::{BucketName, ErrorCode, Operation, S3Error, encode_path, xml};

pub(crate) async fn pass_through(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>> {
    if let Some(bucket) = call.path.bucket() {
        match call.path.object() {
            Some(object_key) => resources.policies.for_object(bucket, object_key).map(|_| ())?,
            None => resources.policies.serve_bucket(bucket)?,
        }
    }
    let document = read_document(resources, &mut call).await?;
    let encryption = call.path.bucket().filter(|_| is_about_encryption(call.operation));
    if let Some(bucket) = encryption
        && call.operation == Operation::PutBucketEncryption
    {
        admit(resources, bucket, &document.bytes).await?;
    }
    let response = exchange(resources, request_with_document(&call, document)?).await;
    if let Some(bucket) = encryption {
        // Also where the response was lost.
        resources.default_keys.forget(bucket).await;
    }
    let mut response = upstream_response::pass(response?).await?;
    if let (Operation::CreateBucket, Some(bucket)) = (call.operation, call.path.bucket()) {
        response.headers_mut().insert(LOCATION, location(bucket));
    }
    Ok(response)
}

/// The Location of a new bucket, as us-east-1 returns it. The storage's own may name the storage's host.
fn location(bucket: &BucketName) -> HeaderValue {
    HeaderValue::try_from(encode_path(Some(bucket), None)).expect("a bucket's name is ASCII")
}

/// Whether an operation changes the key of objects whose requests name none.
fn is_about_encryption(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutBucketEncryption | Operation::DeleteBucketEncryption | Operation::DeleteBucket
    )
}

/// Checks the document of PutBucketEncryption.
///
/// # Errors
/// `MalformedXML`; `AccessDenied` for a KMS key that no rule of the bucket allows.
async fn admit(resources: &Resources, bucket: &BucketName, document: &[u8]) -> Result<()> {
    let requested = xml::default_kms_key(document).map_err(|_| S3Error::from(ErrorCode::MalformedXML))?;
    let Some(requested) = requested else { return Ok(()) };
    for rule in resources.policies.for_bucket(bucket) {
        if allowed_key(resources, rule, bucket, &requested).await?.is_some() {
            return Ok(());
        }
    }
    let message = "The KMS key of the bucket's default encryption is not among key_id and allowed_key_ids of the \
                   bucket's rule in the proxy's configuration, so no object would be encrypted with it.";
    Err(S3Error::new(ErrorCode::AccessDenied, message).into())
}
