//! RestoreObject: restores an archived object as it is stored. Requests that would read content are refused.

use http::Response;

use super::Resources;
use super::request::Call;
use super::request::document::{read_document, request_with_document};
use super::response::forward::forward;
use crate::body::BoxBody;
use crate::error::Result;
use crate::s3::xml;

pub(crate) async fn restore_object(resources: &Resources, mut call: Box<Call>) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    resources.policies.for_object(bucket, object_key)?;
    let document = read_document(resources, &mut call).await?;
    xml::check_restore_request(&document.bytes)?;
    forward(resources, request_with_document(&call, document)?).await
}
