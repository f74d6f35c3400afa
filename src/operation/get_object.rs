//! GetObject: the requested bytes of the object's plaintext, opened while they stream.

use crate::object::response_headers;
use http::Response;
use http::header::IF_RANGE;

use super::request::Call;
use super::{Resources, response};
use crate::body::BoxBody;
use crate::error::Error;
use crate::object::opened::OpenedObject;
use crate::object::range::RequestedRange;
use crate::object::read::{ReadRequest, open_object};
use crate::s3::{Hashed, IfRange, headers};

pub(crate) async fn get_object(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let style = resources.policies.for_object(bucket, object_key)?.etag;
    let wanted = RequestedRange::from_request(&call.headers, &call.query)?;
    let read = ReadRequest {
        bucket,
        object_key,
        needs_checksum: response::wants_checksums(&call.headers, &wanted),
        wanted,
        query: call.read_parameters()?,
        headers: headers::read_headers(&call.headers)?,
        if_range: call.headers.get(IF_RANGE).map(IfRange::parse),
        customer_key: call.customer_keys.object.clone(),
    };
    let has_checksums = read.needs_checksum;
    let opened = *open_object(resources, read).await?;
    let OpenedObject {
        mut head,
        plaintext_total,
        selection,
        length,
        body,
        sse,
        key_id,
        checksums,
        parts_count,
    } = opened;
    response_headers::retain_object(&mut head.headers);
    let hashed = if key_id.is_some() { Hashed::Ciphertext } else { Hashed::Plaintext };
    response_headers::set_etag(&mut head.headers, style, hashed);
    if let Some(key_id) = key_id {
        response_headers::set_sse(&mut head.headers, sse, Some(&key_id));
    }
    response_headers::set_length(&mut head.headers, length);
    head.status = response::set_selection(&mut head.headers, selection, plaintext_total, parts_count);
    if has_checksums {
        checksums.iter().for_each(|checksum| response_headers::set_checksum(&mut head.headers, checksum));
    }
    Ok(Response::from_parts(head, body))
}
