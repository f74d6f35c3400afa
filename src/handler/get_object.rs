//! GetObject: what was wanted of the object, in plaintext, opened while it streams.

use http::header::{CONTENT_RANGE, HeaderValue, IF_RANGE};
use http::{HeaderMap, Response, StatusCode};

use super::head_object;
use super::opened_object::{OpenedObject, Opening, ReadRequest, open_object};
use super::wanted::{Selection, Wanted};
use super::{Call, Resources, answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{Hashed, IfRange, headers};

pub(super) async fn get_object(resources: &Resources, call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let style = resources.policies.of_object(bucket, object_key)?.etag;
    let wanted = Wanted::of(&call.headers, &call.query)?;
    let read = ReadRequest {
        bucket,
        object_key,
        needs_checksum: answer::wants_checksums(&call.headers, &wanted),
        wanted,
        query: head_object::read_parameters(&call)?,
        headers: headers::read_headers(&call.headers)?,
        if_range: call.headers.get(IF_RANGE).map(IfRange::parse),
    };
    let is_told = read.needs_checksum;
    let opened = match open_object(resources, read).await? {
        Opening::Answered(response) => return Ok(response),
        Opening::Opened(opened) => *opened,
    };
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
    answer::clean(&mut head.headers);
    let hashed = if key_id.is_some() { Hashed::Ciphertext } else { Hashed::Plaintext };
    answer::tell_etag(&mut head.headers, style, hashed);
    if let Some(key_id) = key_id {
        answer::tell_encrypted(&mut head.headers, sse, Some(&key_id));
    }
    answer::tell_length(&mut head.headers, length);
    head.status = tell_selection(&mut head.headers, selection, plaintext_total, parts_count);
    if is_told {
        checksums.iter().for_each(|checksum| answer::tell_checksum(&mut head.headers, checksum));
    }
    Ok(Response::from_parts(head, body))
}

/// Which bytes of plaintext the answer is about; gives its status.
pub(super) fn tell_selection(
    headers: &mut HeaderMap,
    selection: Selection,
    plaintext_total: u64,
    parts_count: Option<usize>,
) -> StatusCode {
    headers.remove(CONTENT_RANGE);
    headers.remove("x-amz-mp-parts-count");
    if let Some(count) = parts_count {
        headers.insert("x-amz-mp-parts-count", HeaderValue::from(count));
    }
    match selection {
        Selection::Whole => StatusCode::OK,
        Selection::EmptyPart => StatusCode::PARTIAL_CONTENT,
        Selection::Span(range) => {
            let value = range.content_range(plaintext_total);
            headers.insert(CONTENT_RANGE, HeaderValue::try_from(value).expect("digits are a header value"));
            StatusCode::PARTIAL_CONTENT
        }
    }
}
