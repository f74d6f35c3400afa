//! What the audit log says of a request: which keys it used on which object, or that it was refused such a
//! use. It must not know how lines are written. It promises one line for each request that carries object
//! content or used a key, but for listings, when its response and its work have ended; and no secret in a
//! line.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, HeaderValue};

use crate::audit::{Audit, Entry, KeyUseList, KeyUses};
use crate::clock;
use crate::log::field;
use crate::s3::{BucketName, CopySource, ErrorCode, ObjectKey, Operation, Query, S3Error};
use crate::sigv4::AccessKeyId;

/// Why a request is refused while its line can't be written.
const UNRECORDABLE: &str =
    "The proxy's audit log can't be written, so requests that use keys are refused. Please try again.";

/// A request whose response has ended, and its outcome.
pub(super) struct EndedRequest {
    /// Hexadecimal digits.
    pub(super) request_id: [u8; 16],
    pub(super) peer: SocketAddr,
    pub(super) client: Option<AccessKeyId>,
    /// The access key id named by a request that was not authenticated.
    pub(super) claimed: Option<String>,
    /// The operation, also of a request that was not authenticated.
    pub(super) operation: Option<Operation>,
    pub(super) bucket: Option<BucketName>,
    pub(super) object_key: Option<ObjectKey>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) status: u16,
    /// The error code; empty if there is none.
    pub(super) code: String,
    /// The version that the response names.
    pub(super) version: Option<HeaderValue>,
    pub(super) end: &'static str,
}

impl EndedRequest {
    /// Adds who requested what.
    fn describe_request(&self, entry: &mut Entry, operation: Operation) {
        entry.text(field!("request_id"), std::str::from_utf8(&self.request_id).unwrap_or_default());
        entry.address(field!("peer"), self.peer);
        entry.optional_text(field!("client"), self.client.as_ref().map(AccessKeyId::as_str));
        entry.optional_text(field!("claimed_client"), self.claimed.as_deref());
        entry.word(field!("operation"), operation.name());
        entry.optional_text(field!("bucket"), self.bucket.as_ref().map(BucketName::as_str));
        entry.optional_text(field!("key"), self.object_key.as_ref().map(ObjectKey::as_str));
    }

    /// Adds what became of it; `failure` is the code of an error that came after the head of the response.
    fn describe_outcome(&self, entry: &mut Entry, failure: Option<&str>) {
        entry.number(field!("request_bytes"), self.request_bytes);
        entry.number(field!("response_bytes"), self.response_bytes);
        entry.number(field!("status"), self.status.into());
        let code = Some(self.code.as_str()).filter(|code| !code.is_empty());
        entry.optional_text(field!("code"), code.or(failure));
        entry.word(field!("end"), self.end);
    }
}

/// What a request is about, for the audit log.
pub(super) struct AuditedRequest {
    audit: Audit,
    uses: KeyUses,
    is_admitted: bool,
    /// The version that the request names.
    version: Option<String>,
    part: Option<String>,
    source: Option<CopySource>,
    /// Whether the request has a customer key.
    has_customer_key: bool,
    /// The bytes of the object that the response has.
    range: Option<HeaderValue>,
}

impl AuditedRequest {
    pub(super) fn new(audit: &Audit) -> Self {
        Self {
            audit: *audit,
            uses: KeyUses::default(),
            is_admitted: false,
            version: None,
            part: None,
            source: None,
            has_customer_key: false,
            range: None,
        }
    }

    /// Collects the keys that the request uses.
    pub(super) fn uses(&self) -> KeyUses {
        self.uses.clone()
    }

    pub(super) fn set_target(&mut self, query: &Query, source: Option<&CopySource>, has_customer_key: bool) {
        let parameter = |name| query.first(name).filter(|value| !value.is_empty()).map(str::to_owned);
        (self.version, self.part) = (parameter("versionId"), parameter("partNumber"));
        self.source = source.cloned();
        self.has_customer_key = has_customer_key;
    }

    /// Refuses an operation that uses keys while its line can't be written. A request that was refused here
    /// has no line.
    ///
    /// # Errors
    /// `ServiceUnavailable`.
    pub(super) fn admit(&mut self, operation: Operation) -> Result<(), S3Error> {
        if may_use_keys(operation) {
            self.audit.admit().map_err(|_| S3Error::new(ErrorCode::ServiceUnavailable, UNRECORDABLE))?;
        }
        self.is_admitted = true;
        Ok(())
    }

    /// Keeps what the head of the response says about the object.
    pub(super) fn responded(&mut self, headers: &HeaderMap) {
        self.range = headers.get(CONTENT_RANGE).cloned();
    }

    /// Writes the line as soon as all work for the request has ended.
    pub(super) fn end(self, ended: EndedRequest) {
        let Self { audit, uses, is_admitted, version, part, source, range, .. } = self;
        let has_customer_key = self.has_customer_key;
        uses.end_with(move |uses, failure| {
            let Some(operation) = ended.operation.filter(|operation| is_recorded(*operation, &uses)) else {
                return;
            };
            let fields = |entry: &mut Entry| {
                ended.describe_request(entry, operation);
                let response_version = ended.version.as_ref().and_then(|version| version.to_str().ok());
                entry.optional_text(field!("version"), response_version.or(version.as_deref()));
                entry.optional_text(field!("part"), part.as_deref());
                describe_source(entry, source.as_ref());
                let range = range.as_ref().and_then(|range| range.to_str().ok());
                entry.optional_text(field!("range"), range.and_then(|range| range.strip_prefix("bytes ")));
                entry.flag(field!("customer_key"), has_customer_key);
                entry.keys(field!("keys"), &uses);
                ended.describe_outcome(entry, failure.as_deref());
            };
            // The work may have gone on after the response.
            let time = clock::time_of_day();
            if is_admitted {
                audit.record(time, fields);
            } else {
                audit.record_refusal(time, fields);
            }
        });
    }
}

fn describe_source(entry: &mut Entry, source: Option<&CopySource>) {
    let Some(CopySource { bucket, object, version_id }) = source else { return };
    entry.text(field!("source_bucket"), BucketName::as_str(bucket));
    entry.text(field!("source_key"), ObjectKey::as_str(object));
    entry.optional_text(field!("source_version"), version_id.as_deref());
}

/// Whether a request of this operation has a line whatever became of it.
fn carries_content(operation: Operation) -> bool {
    use Operation as Op;
    operation.carries_object_content()
        || matches!(operation, Op::CreateMultipartUpload | Op::CompleteMultipartUpload)
}

/// Whether a request of this operation may use the key of an object. Listings may too, where nothing else
/// shows the size of an object.
fn may_use_keys(operation: Operation) -> bool {
    use Operation as Op;
    carries_content(operation)
        || matches!(
            operation,
            Op::HeadObject
                | Op::GetObjectAttributes
                | Op::ListParts
                | Op::AbortMultipartUpload
                | Op::RestoreObject
        )
}

fn is_recorded(operation: Operation, uses: &KeyUseList) -> bool {
    carries_content(operation) || (may_use_keys(operation) && !uses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_always_recorded_and_a_head_if_it_used_a_key() {
        let (used, unused) = (KeyUseList::for_test("k"), KeyUseList::default());
        for operation in Operation::ALL {
            if operation.carries_object_content() {
                assert!(is_recorded(*operation, &unused), "This is a security issue: {operation}");
            }
        }
        assert!(!is_recorded(Operation::HeadObject, &unused) && is_recorded(Operation::HeadObject, &used));
        assert!(!is_recorded(Operation::ListObjectsV2, &used));
        assert!(!is_recorded(Operation::DeleteObject, &unused));
        assert!(is_recorded(Operation::CompleteMultipartUpload, &unused));
    }
}
