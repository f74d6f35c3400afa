//! The fields of a request's line.
//! It must not know which requests have one.
//! It promises the names that docs/OPERATING.md has.

use std::time::Duration;

use super::RequestRecord;
use super::response::ResponseRecord;
use crate::access::REQUIRED_RIGHT;
use crate::error::Error;
use crate::log::Line;
use crate::s3::{BucketName, ObjectKey, Operation};
use crate::trace::Facts;

impl RequestRecord {
    /// Adds who asked for what.
    pub(super) fn describe_request(&self, line: &mut Line, response: &ResponseRecord) {
        line.text("msg", "request");
        line.text("request_id", self.request_id());
        line.address("peer", self.peer);
        line.text("client", self.client());
        line.optional_text("claimed_client", self.claimed.as_deref());
        line.text("method", self.method.as_str());
        line.optional_text("operation", self.operation.map(Operation::name));
        line.optional_text("asked_operation", self.claimed_operation.map(Operation::name));
        line.text("bucket", self.bucket.as_ref().map_or("", BucketName::as_str));
        line.text("object_key", self.object_key.as_ref().map_or("", ObjectKey::as_str));
        self.details.describe_target(line, response.version_id.as_ref());
        if let Some(keys) = &response.keys {
            line.display("keys", keys);
            line.optional_text("refused_keys", keys.refused());
        }
    }

    /// Adds the outcome, and why it is none.
    pub(super) fn describe_failure(&self, line: &mut Line, response: &ResponseRecord, cause: &str) {
        let error = self.error.as_ref();
        let storage_code = response.storage_code(error);
        let refused = error.map(Error::to_s3);
        line.number("status", response.status.into());
        line.text("code", refused.as_ref().map_or(storage_code, |error| error.code.code()));
        line.optional_text("right", refused.as_ref().and_then(|error| error.field(REQUIRED_RIGHT)));
        line.text("storage_code", storage_code);
        line.text("cause", cause);
    }

    /// Adds what was transferred, what took its time, and how the request came.
    pub(super) fn describe_work(
        &self,
        line: &mut Line,
        response: &ResponseRecord,
        (response_bytes, elapsed): (u64, Duration),
    ) {
        line.number("request_bytes", self.request_bytes);
        line.number("response_bytes", response_bytes);
        line.number("duration_ms", milliseconds(elapsed));
        let Facts { storage, retries, keys, format, .. } = &self.facts;
        line.number("first_byte_ms", milliseconds(response.first_byte));
        if storage.number > 0 {
            line.number("storage_requests", storage.number.into());
            line.number("storage_ms", milliseconds(storage.taken));
        }
        if *retries > 0 {
            line.number("retries", u64::from(*retries));
        }
        if keys.number > 0 {
            line.number("keys_ms", milliseconds(keys.taken));
        }
        line.optional_text("format", *format);
        self.details.describe_arrival(line);
        let storage_id = response.storage_id.as_ref().and_then(|id| id.to_str().ok());
        line.text("storage_request_id", storage_id.unwrap_or_default());
        if let Some(trace) = &self.trace {
            line.text("trace_id", &trace.trace_id());
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
