//! The tags of a stored object, which S3 keeps apart from its metadata.
//!
//! It must not know requests of clients. It promises the tags as the header of an upload, which takes tags
//! from its first request only.

use http::{Method, StatusCode};

use crate::error::Result;
use crate::object::location::ObjectLocation;
use crate::object::upstream_response;
use crate::s3::xml;
use crate::upstream::Upstreams;

/// The object's tags as the value of `x-amz-tagging`; empty where it has none, or the storage has no tags.
///
/// # Errors
/// The storage's refusal or failure.
pub(crate) async fn object_tags(upstreams: &Upstreams, at: &ObjectLocation<'_>) -> Result<String> {
    let mut request = at.request(Method::GET);
    request.query.push(("tagging".to_owned(), None));
    let response = upstreams.fetch(request).await?;
    match response.status() {
        StatusCode::OK => (),
        // The storage does not implement tags, or the object has none.
        StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND => return Ok(String::new()),
        _ => return Err(upstream_response::refusal(response).await),
    }
    let (body, limit) = (response.into_body(), xml::MAX_COPY_RESPONSE);
    upstream_response::parse_body(body, limit, "Tagging", xml::tagging_to_query).await
}
