//! ListBuckets: passed through, without the buckets that no grant of the client reaches.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};

use super::Resources;
use super::request::Call;
use crate::body::{BoxBody, read_bounded};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::upstream_response;
use crate::s3::{headers, xml};

/// 10,000 buckets (S3's page) of less than 1 KiB each.
const MAX_LISTING: usize = 16 * 1024 * 1024;

pub(crate) async fn list_buckets(resources: &Resources, call: Call) -> Result<Response<BoxBody>> {
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    let response = upstream_response::pass(resources.upstream.send(request).await?).await?;
    if call.grants.reach_all_buckets() {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let listing: Bytes = read_bounded(body, MAX_LISTING).await.map_err(Error::UpstreamBody)?;
    let kept = xml::retain_buckets(&listing, |name| call.grants.reach(name))
        .map_err(|_| UnexpectedResponse::Document("ListAllMyBucketsResult"))?;
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, upstream_response::buffered(kept)))
}
