//! CORS preflight: browsers send it without credentials, and the bucket's CORS rules alone answer it.

use http::{HeaderMap, Method, Response};

use super::{Resources, upstream_answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{S3Path, headers};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Passes a preflight on. It carries no content, reads none, and changes nothing.
///
/// # Errors
/// When the storage can't be reached, or no rule serves the bucket.
pub async fn preflight(
    resources: &Resources,
    path: &S3Path,
    request_headers: &HeaderMap,
) -> Result<Response<BoxBody>, Error> {
    if let Some(bucket) = path.bucket() {
        resources.policies.serve_bucket(bucket)?;
    }
    let request = UpstreamRequest {
        method: Method::OPTIONS,
        bucket: path.bucket().cloned(),
        object: path.object().cloned(),
        query: Vec::new(),
        headers: headers::passthrough_headers(request_headers),
        body: UpstreamBody::Empty,
    };
    upstream_answer::pass(resources.upstream.send(request).await?).await
}
