//! What a request may bring although its operation takes none of it: a body, a header about a body.
//! It must not know what an operation does.
//! It promises that S3 would refuse what is refused, and ignore what is removed.

use http::{HeaderMap, Method};
use http_body::Body;

use crate::body::BoxBody;
use crate::s3::headers::name::SDK_CHECKSUM_ALGORITHM;
use crate::s3::{Operation, S3Error};
use crate::wire::header;

/// Refuses a body with a method that takes none: it would occupy memory without use.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn refuse_unread_body(method: &Method, body: &BoxBody) -> Result<(), S3Error> {
    let takes_none = [Method::GET, Method::HEAD, Method::DELETE].contains(method);
    if takes_none && !body.is_end_stream() {
        return Err(S3Error::invalid_request(format!("A {method} request takes no body.")));
    }
    Ok(())
}

/// Removes a header that S3 reads only with a body: on PutObject and UploadPart, and for documents.
pub(super) fn remove_ignored(operation: Operation, headers: &mut HeaderMap) {
    if operation.is_without_content() && header::find(headers, &SDK_CHECKSUM_ALGORITHM).is_some() {
        headers.remove(&SDK_CHECKSUM_ALGORITHM);
    }
}
