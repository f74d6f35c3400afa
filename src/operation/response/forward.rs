//! Sends a request to the storage and passes the response on to the client.
//!
//! It must not be used for requests or responses that carry object content.

use http::{Method, Response};

use crate::body::BoxBody;
use crate::error::Result;
use crate::object::upstream_response;
use crate::operation::Resources;
use crate::upstream::{UpstreamError, UpstreamRequest};

/// Sends a request to the storage and passes the response on.
///
/// # Errors
/// As [`upstream_response::pass`], and an upstream error when the storage sends no response.
pub(crate) async fn forward(resources: &Resources, request: UpstreamRequest) -> Result<Response<BoxBody>> {
    upstream_response::pass(exchange(resources, request).await?).await
}

/// Sends a request to the storage and returns the response unchecked. GET is retried, DELETE succeeds for
/// what is already deleted.
///
/// # Errors
/// An upstream error when the storage sends no response.
pub(crate) async fn exchange(
    resources: &Resources,
    request: UpstreamRequest,
) -> Result<Response<BoxBody>, UpstreamError> {
    match request.method {
        Method::GET => resources.upstreams.fetch(request).await,
        Method::DELETE => resources.upstreams.send(request).await.map(upstream_response::deleted),
        _ => resources.upstreams.send(request).await,
    }
}
