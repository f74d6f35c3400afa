//! Responses about a bucket whose name in the storage is not the one that clients use.
//!
//! It must not know routes or operations. It promises that a refusal does not name the stored bucket; the
//! documents of successful responses are left to those who read them.

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, Response};
use http_body_util::{BodyExt, Full};

use crate::s3::BucketName;
use crate::s3::xml::{MAX_ERROR_DOCUMENT, rename_bucket};
use crate::upstream::{BoxBody, UpstreamError};

/// `arn:aws:s3:::` and the stored name.
const BUCKET_ARN: HeaderName = HeaderName::from_static("x-amz-bucket-arn");

/// The response with the client's name of the bucket in the place of the stored one, in its headers and in an
/// error document. A document that can't be read, and names the stored bucket, is left out.
///
/// # Errors
/// [`UpstreamError::Protocol`] when the document breaks off, or is longer than [`MAX_ERROR_DOCUMENT`].
pub(super) async fn restore(
    response: Response<BoxBody>,
    stored: &BucketName,
    client: &BucketName,
) -> Result<Response<BoxBody>, UpstreamError> {
    let (mut head, mut body) = response.into_parts();
    head.headers.remove(BUCKET_ARN);
    if !(head.status.is_client_error() || head.status.is_server_error()) {
        return Ok(Response::from_parts(head, body));
    }
    let mut document = BytesMut::new();
    while let Some(frame) = body.frame().await {
        document.extend_from_slice(&frame.map_err(UpstreamError::Protocol)?.into_data().unwrap_or_default());
        if document.len() > MAX_ERROR_DOCUMENT {
            return Err(UpstreamError::Protocol("an endless error document".into()));
        }
    }
    if document.is_empty() {
        // Of a response to HEAD, whose Content-Length describes no body.
        return Ok(Response::from_parts(head, BoxBody::default()));
    }
    head.headers.remove(CONTENT_LENGTH);
    let (stored, client) = (stored.as_str(), client.as_str());
    let document = match rename_bucket(&document, stored, client) {
        Ok(renamed) => renamed.into(),
        Err(_) if String::from_utf8_lossy(&document).contains(stored) => bytes::Bytes::new(),
        Err(_) => document.freeze(),
    };
    let body = Full::new(document).map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(head, body))
}
