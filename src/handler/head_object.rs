//! HeadObject: the plaintext's length and the client's own metadata, mostly without a call of the key service.

use http::Response;
use http::header::IF_RANGE;

use super::described_object::{DescribeRequest, DescribedObject, Description, describe_object};
use super::get_object::tell_selection;
use super::wanted::{Selection, Wanted};
use super::{Call, Resources, answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::{IfRange, S3Error, headers};

pub(super) async fn head_object(resources: &Resources, call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.of_object(bucket, object_key)?;
    let wanted = Wanted::of(&call.headers, &call.query)?;
    let is_part = matches!(wanted, Wanted::Part(_));
    let asked = DescribeRequest {
        bucket,
        object_key,
        query: read_parameters(&call)?,
        headers: headers::read_headers(&call.headers)?,
        needs_layout: is_part,
        needs_checksum: answer::wants_checksums(&call.headers, &wanted),
    };
    let DescribedObject { mut head, keys, plaintext_total, layout, checksums } =
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
    if let Some((checksums, unlocked_by)) = checksums {
        checksums.iter().for_each(|checksum| answer::tell_checksum(&mut head.headers, checksum));
        key_id = Some(unlocked_by);
    }
    if keys.is_encrypted() {
        answer::tell_encrypted(&mut head.headers, keys.sse(), key_id.as_deref());
    }
    Ok(Response::from_parts(head, BoxBody::default()))
}

/// The query parameters of GET and HEAD that the storage handles itself.
///
/// # Errors
/// `InvalidArgument` for a `response-` parameter that is not a valid header value: it has control characters,
/// or characters beyond Latin-1.
pub(super) fn read_parameters(call: &Call) -> Result<Vec<(String, Option<String>)>, Error> {
    for (name, value) in call.query.iter().filter(|(name, _)| name.starts_with("response-")) {
        if !value.chars().all(is_of_a_header) {
            let message = "Header value cannot be represented using ISO-8859-1.";
            return Err(S3Error::invalid_argument(name, value, message).into());
        }
    }
    Ok(call.upstream_query(|name| name == "versionId" || name.starts_with("response-")))
}

fn is_of_a_header(letter: char) -> bool {
    letter == '\t' || (u32::from(letter) <= 0xff && !letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_header() {
        assert!("attachment; filename=\"gro\u{df}.txt\"\t".chars().all(is_of_a_header));
        for letter in ['\r', '\n', '\0', '\u{7f}', '\u{85}', '\u{2013}', '\u{4e2d}'] {
            assert!(!is_of_a_header(letter), "{letter:?}");
        }
    }
}
