//! HeadObject: the plaintext's length and the client's own metadata, mostly without a call of the key
//! service.

use http::Response;
use http::header::IF_RANGE;

use super::request::Call;
use super::{Resources, response};
use crate::body::BoxBody;
use crate::error::Result;
use crate::object::head::{DescribeRequest, DescribedObject, describe_object};
use crate::object::range::RequestedRange;
use crate::object::response_headers;
use crate::s3::{IfRange, headers};

pub(crate) async fn head_object(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.for_object(bucket, object_key)?;
    let wanted = RequestedRange::from_request(&call.headers, &call.query)?;
    let is_part = matches!(wanted, RequestedRange::Part(_));
    let request = DescribeRequest {
        bucket,
        object_key,
        query: call.read_parameters()?,
        headers: headers::read_headers(&call.headers)?,
        needs_layout: is_part,
        needs_checksum: response::wants_checksums(&call.headers, &wanted),
        customer_key: call.customer_keys.object.clone(),
    };
    let DescribedObject { mut head, keys, plaintext_total, layout, checksums, key_id } =
        *describe_object(resources, request).await?;
    let is_range = matches!(wanted, RequestedRange::Range(_));
    let if_range = call.headers.get(IF_RANGE).filter(|_| is_range).map(IfRange::parse);
    let is_replaced = if_range.is_some_and(|condition| !condition.holds(&head.headers));
    let wanted = if is_replaced { RequestedRange::Whole } else { wanted };
    let selection = wanted.select(plaintext_total, layout.as_deref())?;
    let key_id = match key_id {
        Some(key_id) => Some(key_id),
        None => keys.likely_key_id(resources, rule, bucket).await,
    };

    response_headers::retain_object(&mut head.headers);
    response_headers::set_etag(&mut head.headers, rule.etag, keys.hashed());
    response_headers::set_length(&mut head.headers, selection.extent(plaintext_total).1);
    let parts_count = layout.filter(|_| is_part).map(|layout| layout.parts().len());
    head.status = response::set_selection(&mut head.headers, selection, plaintext_total, parts_count);
    for checksum in checksums.iter().flatten() {
        response_headers::set_checksum(&mut head.headers, checksum);
    }
    if keys.is_encrypted() {
        response_headers::set_sse(&mut head.headers, keys.sse(), key_id.as_deref());
    }
    Ok(Response::from_parts(head, BoxBody::default()))
}
