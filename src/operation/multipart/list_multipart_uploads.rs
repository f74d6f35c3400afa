//! ListMultipartUploads: the storage's own page; uploads that this process knows have the ids that clients
//! were given.

use std::collections::HashMap;

use http::{Method, Response};

use crate::access::Right;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::UploadToken;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::upstream_response::{pass, with_document};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::{ErrorCode, S3Error, headers, xml};

const MARKER: &str = "upload-id-marker";

pub(crate) async fn list_multipart_uploads(
    resources: &Resources,
    call: Box<Call>,
) -> Result<Response<BoxBody>> {
    let Some(bucket) = call.path.bucket() else {
        return Err(S3Error::new(ErrorCode::MethodNotAllowed, "This operation needs a bucket.").into());
    };
    resources.policies.serve_bucket(bucket)?;
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    for (name, value) in &mut request.query {
        // Only a place in the storage's order: it opens nothing, so it need not be proved.
        if name == MARKER
            && let Some(Ok(token)) = value.as_deref().map(UploadToken::parse)
        {
            *value = Some(token.upstream_id().to_owned());
        }
    }
    let response = pass(resources.upstreams.send(request).await?).await?;
    let (head, body) = response.into_parts();
    let document = read_bounded(body, xml::MAX_UPLOAD_DOCUMENT).await.map_err(Error::UpstreamBody)?;
    let unexpected = |_| UnexpectedResponse::Document("ListMultipartUploadsResult");
    let mut tokens = HashMap::new();
    // With its id anyone may abort an upload, so the ids are for those who may delete.
    let prefix = call.query.first("prefix").unwrap_or_default();
    let may_delete = call.grants.for_prefix(bucket, prefix).has(Right::Delete);
    for id in xml::upload_ids(&document).map_err(unexpected)? {
        if may_delete && let Some(token) = resources.upload_cache.token(bucket, &id).await {
            tokens.insert(id, token);
        }
    }
    let known = |id: &str| tokens.get(id).map(|token| token.to_string());
    Ok(with_document(head, xml::rewrite_uploads(&document, bucket.as_str(), known).map_err(unexpected)?))
}
