//! DeleteObjects: the storage receives only the keys that a rule serves and that the client may delete; each
//! other key gets an error.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::Resources;
use super::request::Call;
use super::request::document::{NamedKeys, read_document, request_with_document};
use super::response::client_etags;
use super::response::forward::forward;
use crate::access::check_deletion;
use crate::body::{BoxBody, read_bounded};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::slow_down;
use crate::object::upstream_response::buffered;
use crate::s3::xml::{self, DeleteError, ObjectIdentifier};
use crate::s3::{BucketName, ErrorCode, S3Error};

pub(crate) async fn delete_objects(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>> {
    let Some(bucket) = call.path.bucket().cloned() else {
        return Err(S3Error::new(ErrorCode::MethodNotAllowed, "This operation needs a bucket.").into());
    };
    resources.policies.serve_bucket(&bucket)?;
    let mut document = read_document(resources, &mut call).await?;
    let mut requested = xml::delete_objects_request(&document.bytes)?;
    refuse_sizes(&requested.objects)?;
    let named = NamedKeys::new(requested.objects.iter().map(|object| object.object.as_str()));
    let refusals: Vec<Option<DeleteError>> =
        requested.objects.iter().map(|object| refusal(resources, &call, &bucket, object)).collect();
    let refused_keys = refused_keys(&requested.objects, &refusals);
    if refusals.iter().all(Option::is_some) {
        let mut response = Response::new(buffered(xml::delete_result(refusals.iter().flatten())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response.extensions_mut().insert(named.with_refused(refused_keys));
        return Ok(response);
    }
    let is_whole = refusals.iter().all(Option::is_none);
    let mut served = refusals.iter().map(Option::is_none);
    requested.objects.retain(|_| served.next().unwrap_or(false));
    let is_mapped = client_etags::map_deletions(resources, &bucket, &mut requested.objects);
    if is_mapped || !is_whole || !is_plain(&document.bytes) {
        let kept = Bytes::from(requested.to_xml());
        let share = resources.documents.take(kept.len() as u64).ok_or_else(slow_down)?;
        document.replace(share.with(kept));
    }
    let mut response = forward(resources, request_with_document(&call, document)?).await?;
    response.extensions_mut().insert(named.with_refused(refused_keys));
    if is_whole {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let result = read_bounded(body, xml::MAX_DELETE_REQUEST).await.map_err(Error::UpstreamBody)?;
    let result = xml::add_delete_errors(&result, refusals.iter().flatten())
        .map_err(|_| UnexpectedResponse::Document("DeleteResult"))?;
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, buffered(result)))
}

/// Whether every storage can read the document. s3s, of which the embedded store is made, reads neither
/// namespace prefixes nor CDATA sections.
fn is_plain(document: &[u8]) -> bool {
    let contains = |text: &[u8]| document.windows(text.len()).any(|window| window == text);
    contains(b"<Delete") && !contains(b"<![CDATA[")
}

/// The error that is returned to the client for a key that it may not delete, or that no rule serves.
fn refusal(
    resources: &Resources,
    call: &Call,
    bucket: &BucketName,
    object: &ObjectIdentifier,
) -> Option<DeleteError> {
    let allowed = check_deletion(&call.grants, &call.headers, (bucket, &object.object));
    let served = || resources.policies.for_object(bucket, &object.object);
    let refused = allowed.map_err(Error::from).and_then(|()| served()).err()?.to_s3();
    Some(DeleteError {
        object: object.object.clone(),
        version_id: object.version_id.clone(),
        code: refused.code,
        message: refused.message.into_owned(),
    })
}

/// The keys that are refused, for the log; `None` if all are passed on.
fn refused_keys(objects: &[ObjectIdentifier], refusals: &[Option<DeleteError>]) -> Option<String> {
    let refused = objects.iter().zip(refusals).filter(|(_, refusal)| refusal.is_some());
    let keys: Vec<_> = refused.map(|(object, _)| object.object.as_str()).collect();
    (!keys.is_empty()).then(|| NamedKeys::new(keys.into_iter()).to_string())
}

/// # Errors
/// `NotImplemented` for deletions on condition of a size: the client's sizes are of plaintexts, the storage's
/// of ciphertexts.
fn refuse_sizes(objects: &[ObjectIdentifier]) -> Result<(), S3Error> {
    if objects.iter().all(|object| object.size.is_none()) {
        return Ok(());
    }
    let message =
        "Deleting on condition of a size is not implemented: stored sizes are not the objects' own.";
    Err(S3Error::not_implemented(message))
}
