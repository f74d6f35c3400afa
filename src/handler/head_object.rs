//! HeadObject: the plaintext's length and the client's own metadata, mostly without a call of the key service.

use http::Response;
use http::header::IF_RANGE;

use super::described_object::{DescribeRequest, DescribedObject, Description, describe_object};
use super::get_object::tell_selection;
use super::wanted::{Selection, Wanted};
use super::{Call, Resources, answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{IfRange, headers};

pub(super) async fn head_object(resources: &Resources, call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.of_object(bucket, object_key)?;
    let wanted = Wanted::of(&call.headers, &call.query)?;
    let is_part = matches!(wanted, Wanted::Part(_));
    let asked = DescribeRequest {
        bucket,
        object_key,
        query: call.upstream_query(is_read_parameter),
        headers: headers::read_headers(&call.headers)?,
        needs_layout: is_part,
    };
    let DescribedObject { mut head, keys, plaintext_total, layout } =
        match describe_object(resources, asked).await? {
            Description::Answered(response) => return Ok(response),
            Description::Described(described) => *described,
        };
    let if_range = call.headers.get(IF_RANGE).map(IfRange::parse);
    let wanted = match wanted {
        Wanted::Range(_) if if_range.is_some_and(|condition| !condition.holds(&head.headers)) => {
            Wanted::Whole
        }
        Wanted::Whole | Wanted::Range(_) | Wanted::Part(_) => wanted,
    };
    let selection = wanted.select(plaintext_total, layout.as_deref())?;
    let mut key_id = keys.likely_key_id(resources, rule, bucket).await;

    answer::clean(&mut head.headers);
    answer::tell_etag(&mut head.headers, rule.etag, keys.hashed());
    let length = match selection {
        Selection::Whole => plaintext_total,
        Selection::EmptyPart => 0,
        Selection::Span(range) => range.len(),
    };
    answer::tell_length(&mut head.headers, length);
    let parts_count = layout.filter(|_| is_part).map(|layout| layout.parts().len());
    head.status = tell_selection(&mut head.headers, selection, plaintext_total, parts_count);
    if answer::wants_checksums(&call.headers, head.status)
        && let Some(unlocked) = keys.unlock(resources, rule, bucket, object_key).await?
    {
        answer::tell_checksums(&mut head.headers, &unlocked.checksums());
        key_id = Some(unlocked.key_id);
    }
    if keys.is_encrypted() {
        answer::tell_encrypted(&mut head.headers, keys.sse(), key_id.as_deref());
    }
    Ok(Response::from_parts(head, BoxBody::default()))
}

/// The query parameters of GET and HEAD that the storage answers itself.
pub(super) fn is_read_parameter(name: &str) -> bool {
    name == "versionId" || name.starts_with("response-")
}
