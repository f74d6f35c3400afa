//! ListObjects, ListObjectsV2 and ListObjectVersions: the storage's own answer, with the sizes that readers
//! get.

use crate::object;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName};
use http::{Method, Response};

use super::Resources;
use super::request::Call;
use crate::body::{BoxBody, ListingBody, ListingError, boxed};
use crate::error::{Error, UnexpectedResponse};
use crate::object::listed_size::SizeReader;
use crate::object::location::account_headers;
use crate::object::upstream_response;
use crate::s3::xml::NameEncoding;
use crate::s3::{ErrorCode, S3Error, headers};

/// Headers that describe the storage's body, which is rewritten.
const BODY_HEADERS: [HeaderName; 2] = [CONTENT_LENGTH, HeaderName::from_static(headers::CONTENT_MD5)];

pub(crate) async fn list_objects(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>, Error> {
    let Some(bucket) = call.path.bucket() else {
        return Err(S3Error::new(ErrorCode::MethodNotAllowed, "This operation needs a bucket.").into());
    };
    resources.policies.serve_bucket(bucket)?;
    let requested = match call.query.first("encoding-type") {
        Some("url") => NameEncoding::Url,
        Some("") | None => NameEncoding::Verbatim,
        Some(other) => {
            let message = "Invalid Encoding Method specified in Request";
            return Err(S3Error::invalid_argument("encoding-type", other, message).into());
        }
    };
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    let response = upstream_response::pass(resources.upstreams.fetch(request).await?).await?;
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Error::UnexpectedResponse(UnexpectedResponse::ContentEncoding));
    }
    let headers = account_headers(&call.headers);
    let sizes = Arc::new(SizeReader::new(object::Resources::clone(resources), bucket.clone(), headers));
    let (mut parts, listing) = response.into_parts();
    for name in BODY_HEADERS {
        parts.headers.remove(name);
    }
    let mut rewritten = ListingBody::new(listing, requested, move |entry| sizes.view(entry));
    if resources.upstreams.is_renamed(bucket) {
        rewritten = rewritten.with_bucket(bucket.as_str());
    }
    let rewritten = rewritten.primed().await.map_err(into_error)?;
    Ok(Response::from_parts(parts, boxed(rewritten)))
}

fn into_error(error: ListingError) -> Error {
    match error {
        ListingError::Upstream(cause) | ListingError::Entry(cause) => Error::UpstreamBody(cause),
        ListingError::Xml(_) => Error::UnexpectedResponse(UnexpectedResponse::Document("ListBucketResult")),
    }
}

#[cfg(test)]
mod tests;
