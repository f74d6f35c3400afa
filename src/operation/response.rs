//! Responses to clients: their headers, responses that take long, CORS and the client's ETags.
//!
//! It must not know what an operation does. No header of the storage's own bookkeeping reaches a client.

pub mod client_etags;
pub mod cors;
pub mod deferred;
pub mod forward;

use http::header::{CONTENT_RANGE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::body::BoxBody;
use crate::error::{Result, UpstreamRefusal};
use crate::object::range::{RequestedRange, Selection};
use crate::wire::header::{self, name};

/// Converts a refusal by the storage that the client may read into a response.
pub(crate) fn pass_refusal(outcome: Result<Response<BoxBody>>) -> Result<Response<BoxBody>> {
    outcome.or_else(|error| error.into_refusal().map(UpstreamRefusal::into_response))
}

/// Whether the client requests checksums and all of the object: ranges and parts have none.
pub(crate) fn wants_checksums(request: &HeaderMap, wanted: &RequestedRange) -> bool {
    let mode = header::find(request, &name::CHECKSUM_MODE).map(HeaderValue::as_bytes);
    *wanted == RequestedRange::Whole && mode.is_some_and(|mode| mode.eq_ignore_ascii_case(b"enabled"))
}

/// Sets the headers that say which bytes of the plaintext a response has, and returns the response's status.
/// There must be none of these headers yet.
pub(crate) fn set_selection(
    headers: &mut HeaderMap,
    selection: Selection,
    plaintext_total: u64,
    parts_count: Option<usize>,
) -> StatusCode {
    if let Some(count) = parts_count {
        headers.insert(&name::PARTS_COUNT, HeaderValue::from(count));
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
