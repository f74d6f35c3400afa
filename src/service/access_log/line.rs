//! The fields of a request's line.
//! It must not know which requests have one.
//! It promises the names that docs/OPERATING.md has.

use std::time::Duration;

use super::RequestRecord;
use super::response::ResponseRecord;
use crate::access::REQUIRED_RIGHT;
use crate::error::Error;
use crate::log::{Line, field};
use crate::s3::{BucketName, ObjectKey, Operation};
use crate::trace::Facts;

impl RequestRecord {
    /// Adds who asked for what.
    pub(super) fn describe_request(&self, line: &mut Line, response: &ResponseRecord) {
        line.word(field!("msg"), "request");
        line.text(field!("request_id"), self.request_id());
        line.address(field!("peer"), self.peer);
        line.text(field!("client"), self.client());
        line.optional_text(field!("claimed_client"), self.claimed.as_deref());
        line.text(field!("method"), self.method.as_str());
        line.optional_word(field!("operation"), self.operation.map(Operation::name));
        line.optional_word(field!("asked_operation"), self.claimed_operation.map(Operation::name));
        line.text(field!("bucket"), self.bucket.as_ref().map_or("", BucketName::as_str));
        line.text(field!("object_key"), self.object_key.as_ref().map_or("", ObjectKey::as_str));
        self.details.describe_target(line, response.version_id.as_ref());
        if let Some(keys) = &response.keys {
            line.display(field!("keys"), keys);
            line.optional_text(field!("refused_keys"), keys.refused());
        }
    }

    /// Adds the outcome, and why it is none.
    pub(super) fn describe_failure(&self, line: &mut Line, response: &ResponseRecord, cause: &str) {
        let error = self.error.as_ref();
        let storage_code = response.storage_code(error);
        let refused = error.map(Error::to_s3);
        line.number(field!("status"), response.status.into());
        line.text(field!("code"), refused.as_ref().map_or(storage_code, |error| error.code.code()));
        line.optional_text(field!("right"), refused.as_ref().and_then(|error| error.field(REQUIRED_RIGHT)));
        line.text(field!("storage_code"), storage_code);
        line.text(field!("cause"), cause);
    }

    /// Adds what was transferred, what took its time, and how the request came.
    pub(super) fn describe_work(
        &self,
        line: &mut Line,
        response: &ResponseRecord,
        (response_bytes, elapsed): (u64, Duration),
    ) {
        line.number(field!("request_bytes"), self.request_bytes);
        line.number(field!("response_bytes"), response_bytes);
        line.number(field!("duration_ms"), milliseconds(elapsed));
        let Facts { storage, retries, keys, format, .. } = &self.facts;
        line.number(field!("first_byte_ms"), milliseconds(response.first_byte));
        if storage.number > 0 {
            line.number(field!("storage_requests"), storage.number.into());
            line.number(field!("storage_ms"), milliseconds(storage.taken));
        }
        if *retries > 0 {
            line.number(field!("retries"), u64::from(*retries));
        }
        if keys.number > 0 {
            line.number(field!("keys_ms"), milliseconds(keys.taken));
        }
        line.optional_word(field!("format"), *format);
        self.details.describe_arrival(line);
        let storage_id = response.storage_id.as_ref().and_then(|id| id.to_str().ok());
        line.text(field!("storage_request_id"), storage_id.unwrap_or_default());
        if let Some(trace) = &self.trace {
            line.text(field!("trace_id"), &trace.trace_id());
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
