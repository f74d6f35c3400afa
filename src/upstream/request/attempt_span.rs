//! The span of one attempt of a request to the storage, from its first byte to the end of the response's
//! body. It must not know why a request is made. It promises that a request without a trace costs nothing
//! here.

use http::{HeaderMap, StatusCode, header, request};

use super::Prepared;
use crate::s3::{BucketName, ObjectKey};
use crate::trace::{OpenSpan, client_span};
use crate::wire::header::name::REQUEST_ID;

/// Begins the span of an attempt at the storage of this name; `None` outside of a trace.
pub(in crate::upstream) fn begin(upstream: &str, request: &Prepared) -> Option<OpenSpan> {
    let mut span = client_span(request.method().as_str().to_owned())?;
    if span.is_recorded() {
        span.text("http.request.method", request.method().as_str().to_owned());
        span.text("s3veil.upstream", upstream.to_owned());
        span.text("aws.s3.bucket", request.bucket().map_or("", BucketName::as_str).to_owned());
        span.text("aws.s3.key", request.object().map_or("", ObjectKey::as_str).to_owned());
    }
    Some(span)
}

/// Adds the span's context to a request that is signed already: the signature does not cover these headers,
/// which systems in between may change.
pub(in crate::upstream) fn inject(span: Option<&mut OpenSpan>, head: &mut request::Parts) {
    let Some(span) = span else { return };
    if span.is_recorded() {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        span.text("server.address", host.unwrap_or_default().to_owned());
    }
    span.inject(&mut head.headers);
}

/// Keeps what the head of the response says.
pub(in crate::upstream) fn respond(span: Option<&mut OpenSpan>, status: StatusCode, headers: &HeaderMap) {
    let Some(span) = span.filter(|span| span.is_recorded()) else { return };
    span.number("http.response.status_code", status.as_u16().into());
    let request_id = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    span.text("aws.request_id", request_id.unwrap_or_default().to_owned());
    if status.is_client_error() || status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}
