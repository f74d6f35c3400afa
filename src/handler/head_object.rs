//! HeadObject: the plaintext's length and the client's own metadata, without a call of the key service.

use http::header::{CONTENT_RANGE, HeaderValue};
use http::{Method, Response, StatusCode};

use super::get_object::{Asked, StoredRun};
use super::stored::StoredKeys;
use super::{Call, Resources, answer, upstream_answer};
use crate::body::BoxBody;
use crate::error::Error;
use crate::s3::headers;

pub(super) async fn head_object(resources: &Resources, call: Call) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.of_object(bucket, object_key)?;
    let asked = Asked::of(&call)?;
    let mut request = call.upstream_request(Method::HEAD);
    request.headers = headers::read_headers(&call.headers)?;
    request.query = call.upstream_query(is_read_parameter);
    let response = resources.upstream.send(request).await?;
    if response.status() != StatusCode::OK {
        return upstream_answer::pass(response).await;
    }
    let (mut parts, _) = response.into_parts();
    let stored = StoredKeys::from_headers(&parts.headers)?;
    if stored.envelope().is_multipart() {
        return Err(Error::MultipartBody);
    }
    let reading = asked.reading(&StoredRun::of_head(&parts.headers)?, false)?;
    let mut key_id = stored.likely_key_id(&resources.keyring, rule, bucket).await;

    answer::clean(&mut parts.headers);
    answer::tell_length(&mut parts.headers, reading.window.length);
    if let Some(range) = reading.partial {
        parts.status = StatusCode::PARTIAL_CONTENT;
        let value = range.content_range(reading.window.plaintext_total);
        parts.headers.insert(CONTENT_RANGE, HeaderValue::try_from(value).expect("digits are a header value"));
    }
    if answer::wants_checksums(&call.headers, parts.status) {
        let unlocked = stored.unlock(&resources.keyring, rule, bucket, object_key).await?;
        answer::tell_checksums(&mut parts.headers, &unlocked.checksums());
        key_id = Some(unlocked.key_id);
    }
    answer::tell_encrypted(&mut parts.headers, key_id.as_deref());
    Ok(Response::from_parts(parts, BoxBody::default()))
}

/// The query parameters of GET and HEAD that the storage answers itself.
pub(super) fn is_read_parameter(name: &str) -> bool {
    name == "versionId" || name.starts_with("response-")
}
