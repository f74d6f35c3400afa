//! The S3 operations: dispatch of requests, and the table of what is refused.
//!
//! It must not know sockets or configuration files. Dispatch is exhaustive, so an operation that is not
//! understood can't compile, and content that can't be sealed is refused and never forwarded.

mod copy_object;
mod delete_objects;
mod get_object;
mod get_object_attributes;
mod head_object;
mod list_buckets;
mod list_objects;
mod multipart;
mod pass_through;
pub mod post_object;
mod preflight;
mod put_object;
pub mod request;
pub mod response;
mod restore_object;

use std::future::ready;
use std::ops::Deref;
#[cfg(test)]
use std::ops::DerefMut;
use std::pin::Pin;
use std::time::Duration;

use http::Response;

pub use self::post_object::post_object;
pub use self::preflight::preflight;
use self::request::{Call, append, customer_key};
use self::response::client_etags::ClientEtags;
use self::response::cors::CorsCache;
use crate::body::BoxBody;
use crate::buffers::Budget;
use crate::error::Error;
use crate::s3::{Operation, S3Error, headers};
use crate::upload;

/// The resources of every operation. Cloning shares them.
#[derive(Clone)]
pub struct Resources {
    /// The resources of uploads and objects.
    pub upload: upload::Resources,
    /// The storage's CORS responses, cached.
    pub cors: CorsCache,
    /// Max time between two frames of a client's request body.
    pub client_idle_timeout: Duration,
    /// The budget for buffered documents of clients.
    pub documents: Budget,
}

/// Every operation may use what uploads and objects may use.
impl Deref for Resources {
    type Target = upload::Resources;

    fn deref(&self) -> &upload::Resources {
        &self.upload
    }
}

#[cfg(test)]
impl DerefMut for Resources {
    fn deref_mut(&mut self) -> &mut upload::Resources {
        &mut self.upload
    }
}

/// Carries out an authenticated, authorized call and returns the response.
///
/// # Errors
/// Every failure that becomes an S3 error document. After an `Ok`, a failure can only abort the connection.
pub async fn handle(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>, Error> {
    let with_tab = headers::first_with_tab(&call.headers);
    admit_customer_keys(resources, &call)?;
    let echo = call.customer_keys.echo(call.operation);
    if call.is_append {
        Box::pin(append::restrict(resources, &mut call)).await?;
    }
    let etags = ClientEtags::map_request(resources, &mut call);
    match (response::pass_refusal(dispatch(resources, call).await), with_tab) {
        (Ok(mut response), _) => {
            etags.map_response(&mut response);
            if response.status().is_success() {
                response.headers_mut().extend(echo);
            }
            Ok(response)
        }
        // Storages differ in how they fold a signed tab, so this error is not about the proxy's credentials.
        (Err(Error::UpstreamCredentials { code }), Some(name)) if code == "SignatureDoesNotMatch" => {
            let message = format!("The storage does not accept the tab in the header {name}.");
            Err(S3Error::invalid_argument(name.as_str(), "", message).into())
        }
        (Err(error), _) => Err(error),
    }
}

/// Checks that the rules of the call's objects allow its customer keys.
///
/// # Errors
/// The errors of [`customer_key::admit`].
fn admit_customer_keys(resources: &Resources, call: &Call) -> Result<(), Error> {
    if !call.customer_keys.is_used() {
        return Ok(());
    }
    let request = (call.operation, call.addressing);
    let source = call.copy_source.as_ref();
    customer_key::admit(&resources.policies, request, call.object()?, source, &call.customer_keys)
}

/// On the heap: a connection keeps the memory of its last request's future for as long as it lives.
fn dispatch(
    resources: &Resources,
    call: Box<Call>,
) -> Pin<Box<dyn Future<Output = Result<Response<BoxBody>, Error>> + Send + '_>> {
    match family(call.operation) {
        Family::PutObject => Box::pin(put_object::put_object(resources, call)),
        Family::CopyObject => Box::pin(copy_object::copy_object(resources, call)),
        Family::GetObject => Box::pin(get_object::get_object(resources, call)),
        Family::GetObjectAttributes => {
            Box::pin(get_object_attributes::get_object_attributes(resources, call))
        }
        Family::HeadObject => Box::pin(head_object::head_object(resources, call)),
        Family::ListBuckets => Box::pin(list_buckets::list_buckets(resources, call)),
        Family::CreateMultipartUpload => {
            Box::pin(multipart::create_multipart_upload::create_multipart_upload(resources, call))
        }
        Family::UploadPart => Box::pin(multipart::upload_part::upload_part(resources, call)),
        Family::UploadPartCopy => Box::pin(multipart::upload_part_copy::upload_part_copy(resources, call)),
        Family::CompleteMultipartUpload => {
            Box::pin(multipart::complete_multipart_upload::complete_multipart_upload(resources, call))
        }
        Family::AbortMultipartUpload => {
            Box::pin(multipart::abort_multipart_upload::abort_multipart_upload(resources, call))
        }
        Family::ListParts => Box::pin(multipart::list_parts::list_parts(resources, call)),
        Family::ListMultipartUploads => {
            Box::pin(multipart::list_multipart_uploads::list_multipart_uploads(resources, call))
        }
        Family::ListObjects => Box::pin(list_objects::list_objects(resources, call)),
        Family::DeleteObjects => Box::pin(delete_objects::delete_objects(resources, call)),
        Family::RestoreObject => Box::pin(restore_object::restore_object(resources, call)),
        Family::PassThrough => Box::pin(pass_through::pass_through(resources, call)),
        Family::Refused(why) => {
            let message = format!("s3veil does not implement {}: {why}", call.operation.name());
            Box::pin(ready(Err(S3Error::not_implemented(message).into())))
        }
    }
}

/// How an operation is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    PutObject,
    CopyObject,
    GetObject,
    GetObjectAttributes,
    HeadObject,
    ListBuckets,
    ListObjects,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    DeleteObjects,
    RestoreObject,
    /// Carries no object content, and is passed through.
    PassThrough,
    /// Impossible on ciphertext, or not implemented; never forwarded.
    Refused(&'static str),
}

const NEEDS_PLAINTEXT: &str = "the storage would have to read the plaintext.";
const UNKNOWN_CONTENT: &str = "its content could not be sealed.";

#[rustfmt::skip]
fn family(operation: Operation) -> Family {
    use Operation as Op;
    match operation {
        Op::PutObject => Family::PutObject,
        Op::CopyObject => Family::CopyObject,
        Op::GetObject => Family::GetObject,
        Op::GetObjectAttributes => Family::GetObjectAttributes,
        Op::HeadObject => Family::HeadObject,
        Op::ListBuckets => Family::ListBuckets,
        Op::ListObjects | Op::ListObjectsV2 | Op::ListObjectVersions => Family::ListObjects,

        Op::CreateMultipartUpload => Family::CreateMultipartUpload,
        Op::UploadPart => Family::UploadPart,
        Op::CompleteMultipartUpload => Family::CompleteMultipartUpload,
        Op::AbortMultipartUpload => Family::AbortMultipartUpload,
        Op::ListParts => Family::ListParts,
        Op::ListMultipartUploads => Family::ListMultipartUploads,
        Op::UploadPartCopy => Family::UploadPartCopy,
        Op::DeleteObjects => Family::DeleteObjects,
        Op::RestoreObject => Family::RestoreObject,

        Op::SelectObjectContent | Op::GetObjectTorrent => Family::Refused(NEEDS_PLAINTEXT),
        Op::WriteGetObjectResponse | Op::AppendObject | Op::GetObjectAnnotation | Op::PutObjectAnnotation => {
            Family::Refused(UNKNOWN_CONTENT)
        }
        // Forms with a signature in their fields are handled by `post_object`.
        Op::PostObject => Family::Refused("a form has to carry its signature in its fields, and no other."),
        Op::RenameObject => Family::Refused("an object is sealed for its name."),
        Op::CreateSession | Op::ListDirectoryBuckets => {
            Family::Refused("directory buckets hand out credentials that lead past the proxy.")
        }
        Op::UpdateObjectEncryption => Family::Refused("objects are encrypted by the proxy, under the keys of its rules."),
        Op::CorsPreflight => Family::Refused("a preflight carries Origin and Access-Control-Request-Method."),

        Op::CreateBucket | Op::HeadBucket | Op::DeleteBucket | Op::GetBucketLocation | Op::DeleteObject
        | Op::GetObjectAcl | Op::PutObjectAcl | Op::GetObjectTagging | Op::PutObjectTagging | Op::DeleteObjectTagging
        | Op::GetObjectRetention | Op::PutObjectRetention | Op::GetObjectLegalHold | Op::PutObjectLegalHold
        | Op::ListObjectAnnotations | Op::DeleteObjectAnnotation
        | Op::GetBucketAbac | Op::PutBucketAbac
        | Op::GetBucketAccelerateConfiguration | Op::PutBucketAccelerateConfiguration
        | Op::GetBucketAcl | Op::PutBucketAcl
        | Op::ListBucketAnalyticsConfigurations | Op::GetBucketAnalyticsConfiguration
        | Op::PutBucketAnalyticsConfiguration | Op::DeleteBucketAnalyticsConfiguration
        | Op::GetBucketCors | Op::PutBucketCors | Op::DeleteBucketCors
        | Op::GetBucketEncryption | Op::PutBucketEncryption | Op::DeleteBucketEncryption
        | Op::ListBucketIntelligentTieringConfigurations | Op::GetBucketIntelligentTieringConfiguration
        | Op::PutBucketIntelligentTieringConfiguration | Op::DeleteBucketIntelligentTieringConfiguration
        | Op::ListBucketInventoryConfigurations | Op::GetBucketInventoryConfiguration
        | Op::PutBucketInventoryConfiguration | Op::DeleteBucketInventoryConfiguration
        | Op::GetBucketLifecycleConfiguration | Op::PutBucketLifecycleConfiguration | Op::DeleteBucketLifecycle
        | Op::GetBucketLogging | Op::PutBucketLogging
        | Op::CreateBucketMetadataConfiguration | Op::GetBucketMetadataConfiguration
        | Op::DeleteBucketMetadataConfiguration | Op::UpdateBucketMetadataAnnotationTableConfiguration
        | Op::UpdateBucketMetadataInventoryTableConfiguration | Op::UpdateBucketMetadataJournalTableConfiguration
        | Op::CreateBucketMetadataTableConfiguration | Op::GetBucketMetadataTableConfiguration
        | Op::DeleteBucketMetadataTableConfiguration
        | Op::ListBucketMetricsConfigurations | Op::GetBucketMetricsConfiguration
        | Op::PutBucketMetricsConfiguration | Op::DeleteBucketMetricsConfiguration
        | Op::GetBucketNotificationConfiguration | Op::PutBucketNotificationConfiguration
        | Op::GetObjectLockConfiguration | Op::PutObjectLockConfiguration
        | Op::GetBucketOwnershipControls | Op::PutBucketOwnershipControls | Op::DeleteBucketOwnershipControls
        | Op::GetBucketPolicy | Op::PutBucketPolicy | Op::DeleteBucketPolicy | Op::GetBucketPolicyStatus
        | Op::GetPublicAccessBlock | Op::PutPublicAccessBlock | Op::DeletePublicAccessBlock
        | Op::GetBucketReplication | Op::PutBucketReplication | Op::DeleteBucketReplication
        | Op::GetBucketRequestPayment | Op::PutBucketRequestPayment
        | Op::GetBucketTagging | Op::PutBucketTagging | Op::DeleteBucketTagging
        | Op::GetBucketVersioning | Op::PutBucketVersioning
        | Op::GetBucketWebsite | Op::PutBucketWebsite | Op::DeleteBucketWebsite => Family::PassThrough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No plaintext body ever goes upstream.
    #[test]
    fn nothing_that_carries_object_content_is_passed_through() {
        for operation in Operation::ALL {
            if operation.carries_object_content() {
                assert_ne!(family(*operation), Family::PassThrough, "This is a security issue: {operation}.");
            }
        }
    }
}
