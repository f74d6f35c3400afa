//! The span of a request, when its response has ended.
//! It must not know the spans of its calls.
//! It promises no part of a signature or a secret.

use super::RequestRecord;
use super::response::ResponseRecord;
use crate::body::BodyEnd;
use crate::s3::{BucketName, ObjectKey, Operation};

impl RequestRecord {
    /// Ends the span of the request.
    pub(super) fn end_span(&self, response: &ResponseRecord, response_bytes: u64, end: &BodyEnd) {
        let Some(trace) = self.trace.as_ref().filter(|trace| trace.is_sampled()) else { return };
        let operation = self.operation.or(self.claimed_operation).map(Operation::name);
        let name = operation.map_or_else(|| "S3".to_owned(), |operation| format!("S3/{operation}"));
        let mut span = trace.request_span(name, self.started_at);
        span.text("rpc.system", "aws-api");
        span.text("rpc.service", "S3");
        span.text("rpc.method", operation.unwrap_or_default());
        span.text("http.request.method", self.method.as_str().to_owned());
        span.number("http.response.status_code", response.status.into());
        span.number("http.response.body.size", response_bytes);
        span.text("aws.s3.bucket", self.bucket.as_ref().map_or("", BucketName::as_str).to_owned());
        span.text("aws.s3.key", self.object_key.as_ref().map_or("", ObjectKey::as_str).to_owned());
        span.text("aws.request_id", self.request_id().to_owned());
        span.text("client.address", self.peer.ip().to_string());
        span.text("user_agent.original", self.details.user_agent().unwrap_or_default().to_owned());
        span.text("s3veil.client", self.client().to_owned());
        span.text("s3veil.format", self.facts.format.unwrap_or_default());
        let code = self.code(response);
        match end {
            BodyEnd::Failed { .. } => span.fail("cut"),
            BodyEnd::Complete | BodyEnd::Dropped if response.status >= 500 => span.fail(code.to_owned()),
            BodyEnd::Complete | BodyEnd::Dropped if response.status >= 400 => {
                span.text("error.type", code.to_owned());
            }
            BodyEnd::Complete | BodyEnd::Dropped => {}
        }
    }
}
