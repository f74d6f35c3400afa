//! AbortMultipartUpload: by a token, or, with the right to delete, by the storage's own id. Works on any
//! node.

use http::{Method, Response};

use crate::access::Right;
use crate::body::BoxBody;
use crate::error::Result;
use crate::object::upstream_response::{deleted, pass};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::headers;
use crate::upload::session::{name_upload, upstream_id};

pub(crate) async fn abort_multipart_upload(
    resources: &Resources,
    call: Box<Call>,
) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    resources.policies.for_object(bucket, object_key)?;
    call.check_listed_upload(Right::Delete)?;
    let mut request = call.upstream_request(Method::DELETE);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    name_upload(&mut request, &upstream_id(resources, bucket, object_key, call.upload_id()).await?);
    pass(deleted(resources.upstreams.send(request).await?)).await
}
