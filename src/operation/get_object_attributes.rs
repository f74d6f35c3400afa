//! GetObjectAttributes: built from HEAD and from sealed attributes, since the storage's own are of the
//! ciphertext.
//!
//! It must not call the storage's operation of that name, so it works with storages that do not have it. All
//! attributes describe the plaintext.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};

use super::Resources;
use super::request::Call;
use crate::body::BoxBody;
use crate::envelope::native::multipart::Layout;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::head::{DescribeRequest, DescribedObject, describe_object};
use crate::object::location::{ObjectLocation, account_headers, etag_of};
use crate::object::range::stored_range;
use crate::object::upstream_response;
use crate::s3::xml::{ObjectAttributes, PartsPage};
use crate::s3::{ErrorCode, S3Error, headers};
use crate::wire::header::{REQUEST_CHARGED, VERSION_ID};

const ATTRIBUTES: &str = "x-amz-object-attributes";
const MAX_PARTS: &str = "x-amz-max-parts";
const MARKER: &str = "x-amz-part-number-marker";

/// S3's limit to a page of parts.
const MAX_PAGE: u64 = 1000;
/// Headers of the storage's response to HEAD that are returned unchanged.
const FORWARDED: [HeaderName; 4] = [
    LAST_MODIFIED,
    HeaderName::from_static(VERSION_ID),
    HeaderName::from_static("x-amz-delete-marker"),
    HeaderName::from_static(REQUEST_CHARGED),
];

pub(crate) async fn get_object_attributes(
    resources: &Resources,
    call: Box<Call>,
) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let rule = resources.policies.for_object(bucket, object_key)?;
    let requested = RequestedAttributes::from_headers(&call.headers)?;
    headers::read_headers(&call.headers)?;
    let query = call.upstream_query(|name| name == "versionId");
    let headers = account_headers(&call.headers);
    let at = ObjectLocation::from_request(bucket, object_key, &query, &headers);
    let describe = |needs_layout| {
        let (query, headers) = (query.clone(), headers.clone());
        let request = DescribeRequest {
            bucket,
            object_key,
            query,
            headers,
            needs_layout,
            needs_checksum: requested.checksum,
            customer_key: call.customer_keys.object.clone(),
        };
        describe_object(resources, request)
    };
    let description = match describe(requested.parts).await {
        // The parts of an archived object are unknown: its layout can't be read.
        Err(error) if error.is_archived() => describe(false).await,
        description => description,
    };
    if let Some(status) = description.as_ref().err().and_then(Error::refusal_status) {
        return refusal(resources, &at, status).await;
    }
    let DescribedObject { head, keys, plaintext_total, layout, checksums, .. } = *description?;
    let mut attributes = ObjectAttributes::default();
    if requested.etag {
        let etag = etag_of(&head.headers);
        attributes.etag = etag.map(|etag| rule.etag.to_client(etag, keys.hashed()));
    }
    if let Some(checksums) = checksums {
        attributes.checksums = checksums;
    }
    if requested.parts {
        attributes.parts = layout.as_deref().map(|layout| requested.page(layout));
    }
    if requested.storage_class {
        let class = head.headers.get("x-amz-storage-class").and_then(|class| class.to_str().ok());
        attributes.storage_class = Some(class.unwrap_or("STANDARD").to_owned());
    }
    attributes.size = requested.size.then_some(plaintext_total);
    let mut response = Response::new(upstream_response::buffered(attributes.to_xml()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    for name in FORWARDED {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

/// The storage's refusal of a HEAD as a document, which the storage sends only in response to GET.
async fn refusal(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    status: StatusCode,
) -> Result<Response<BoxBody>> {
    let mut request = at.request(Method::GET);
    request.headers.insert(RANGE, stored_range(0, 0));
    let response = resources.upstreams.send(request).await?;
    upstream_response::pass(response).await?;
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NoSuchKey,
        StatusCode::FORBIDDEN => ErrorCode::AccessDenied,
        _ => return Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("HeadObject"))),
    };
    Err(S3Error::from(code).into())
}

/// The attributes that a request names, and the page of parts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a set of five names")]
struct RequestedAttributes {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
    max_parts: u64,
    marker: u64,
}

impl RequestedAttributes {
    /// # Errors
    /// As S3: `InvalidRequest` when nothing is requested for, `InvalidArgument` for an unknown name and for a
    /// page that is not a number.
    fn from_headers(headers: &HeaderMap) -> Result<Self> {
        let page = |name| match headers.get(name) {
            None => Ok(None),
            Some(value) => {
                let text = String::from_utf8_lossy(value.as_bytes());
                let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = is_number.then(|| text.parse().unwrap_or(u64::MAX));
                let message = "The value must be a number that is not negative";
                number.map(Some).ok_or_else(|| S3Error::invalid_argument(name, text, message))
            }
        };
        let max_parts = page(MAX_PARTS)?.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut requested = Self { max_parts, marker: page(MARKER)?.unwrap_or(0), ..Self::default() };
        let lines = headers.get_all(ATTRIBUTES).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let lines: Vec<_> = lines.collect();
        let names = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
        let mut names = names.filter(|name| !name.is_empty()).peekable();
        if names.peek().is_none() {
            let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either \
                           missing or empty";
            return Err(S3Error::invalid_request(message).into());
        }
        for name in names {
            match name {
                "ETag" => requested.etag = true,
                "Checksum" => requested.checksum = true,
                "ObjectParts" => requested.parts = true,
                "StorageClass" => requested.storage_class = true,
                "ObjectSize" => requested.size = true,
                _ => {
                    let message = "Invalid attribute name specified.";
                    return Err(S3Error::invalid_argument(ATTRIBUTES, name, message).into());
                }
            }
        }
        Ok(requested)
    }

    /// The requested page of the parts that the client uploaded.
    fn page(&self, layout: &Layout) -> PartsPage {
        let max = usize::try_from(self.max_parts).expect("at most 1,000");
        let mut rest = layout.parts().iter().filter(|part| u64::from(part.number.value()) > self.marker);
        let parts: Vec<_> = rest.by_ref().take(max).map(|part| (part.number.value(), part.length)).collect();
        let end = parts.last().map_or(self.marker, |(number, _)| u64::from(*number));
        let next_marker = rest.next().map(|_| end);
        PartsPage { total: layout.parts().len(), marker: self.marker, max, next_marker, parts }
    }
}

#[cfg(test)]
mod tests;
